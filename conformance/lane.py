"""One lane of a run: child processes one after the other, and what happened to them, whatever they did."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from penstock.conformance.claims import Claims
from penstock.conformance.journal import Record, read
from penstock.conformance.order import Order
from penstock.conformance.requirements import CATALOGUE
from penstock.conformance.results import Outcome, Result
from penstock.conformance.watchdog import EXIT_HUNG

__all__ = ["Lane"]

_HERE = Path(__file__).parent
_MOST_CHILDREN = 40
_SILENCE_S = 120.0
"""A child whose journal has not grown for this long (times its scale) is stuck beyond its own watchdog's reach."""
_IMPORT_S = 45.0
_HOSTILE = ("PYTEST_", "PYTHONOPTIMIZE", "PYTHONWARNINGS", "PYTHONINSPECT", "PYTHONSTARTUP", "PYTHONPROFILE")
_NAMESPACE = 'mount -t tmpfs tmpfs /dev/shm && exec "$@"'


class Lane:
    """Starts a child after the other until every item is done, here or in another lane.

    Attributes:
        results: of the checks that ran here.
        about: what the adapter said of itself.
        problem: why nothing could be tried; empty where that is not so.
        complete: the end was reached.
    """

    def __init__(self, order: Order, isolate: str, folder: Path, on_event: Callable[[Result], None]) -> None:
        self.results: list[Result] = []
        self.about: dict[str, Any] = {}
        self.problem = ""
        self.complete = False
        self._order = order
        self._isolate = isolate
        self._folder = folder
        self._on_event = on_event
        self._output = ""
        self._begun = threading.Event()
        self._stopped = threading.Event()

    @property
    def scale(self) -> float | None:
        """What the first child has measured."""
        return self.about.get("scale")

    def works(self) -> bool:
        """Wait until the adapter has passed the smoke gate, or the lane has ended without."""
        self._begun.wait()
        return not self.complete and not self.problem

    def stop(self) -> None:
        """End the child soon; `run` returns then."""
        self._stopped.set()

    def run(self) -> None:
        """Run all of its children."""
        try:
            for number in range(_MOST_CHILDREN):
                record, code = self._child(number)
                self.problem = self._no_start(record, code) if record.smoke is None else record.smoke
                self.complete = record.complete and not self.problem
                if self.problem or self.complete or self._stopped.is_set() or not self._died(record, code):
                    break
        finally:
            self._begun.set()

    def _child(self, number: int) -> tuple[Record, int]:
        journal, order = self._folder / f"journal-{number}.jsonl", self._folder / f"order-{number}.json"
        self._order = replace(self._order, journal=str(journal), smoke="no" if number else self._order.smoke)
        self._order.write(order)
        log = self._folder / f"output-{number}.txt"
        code = self._here(order, journal) if self._isolate == "none" else self._apart(order, journal, log)
        with contextlib.suppress(OSError):
            self._output = log.read_text(encoding="utf-8", errors="replace")
        record = read(journal)
        self.about = record.adapter or self.about
        self.results += record.results
        self._order = replace(self._order, done=sorted({*self._order.done, *record.done}))
        return record, code

    def _here(self, order: Path, journal: Path) -> int:
        """In this process: where it hangs or crashes, that is the end of everything."""
        import pytest

        with _environment_of(self._environment()), contextlib.redirect_stdout(sys.stderr):
            code = int(pytest.main(_arguments(order)))
        self._tell(journal, 0)
        return code

    def _apart(self, order: Path, journal: Path, log: Path) -> int:
        with open(log, "wb") as output:
            child = subprocess.Popen(
                self._command(order),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )
            try:
                self._watch(child, journal)
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
                code = child.wait()
        return code

    def _command(self, order: Path) -> list[str]:
        command = [sys.executable, "-P", "-m", "pytest", *_arguments(order)]
        return ["unshare", "-Urm", "sh", "-c", _NAMESPACE, "sh", *command] if self._isolate == "ns" else command

    def _environment(self) -> dict[str, str]:
        """The user's environment, without what would change how the suite is run.

        numpy's threads are of no use to the suite's nodes, and starting them costs as much CPU time as the rest of a
        worker. Bytecode is never written beside sources; where it is not there already, it is kept for the run.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_HOSTILE)}
        compiled = os.path.exists(importlib.util.cache_from_source(__file__))
        bytecode = {"PYTHONPYCACHEPREFIX": str(self._folder.parent / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
        return {
            "OPENBLAS_NUM_THREADS": "1",
            **kept,
            "PYTEST_ADDOPTS": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONFAULTHANDLER": "1",
            **({} if compiled else bytecode),
        }

    def _watch(self, child: subprocess.Popen[bytes], journal: Path) -> None:
        """Wait for its end; give up on it when its journal stops growing."""
        size, since, told = 0, time.monotonic(), 0
        while not self._stopped.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.05)
                return
            now = journal.stat().st_size if journal.exists() else 0
            if now != size:
                size, since = now, time.monotonic()
                told = self._tell(journal, told)
            if time.monotonic() - since > self._patience_s():
                return

    def _patience_s(self) -> float:
        return _SILENCE_S * float(self.about["scale"]) if self.about else _IMPORT_S

    def _tell(self, journal: Path, told: int) -> int:
        record = read(journal)
        self.about = record.adapter or self.about
        if record.smoke == "":
            self._begun.set()
        for result in record.results[told:]:
            self._on_event(result)
        return len(record.results)

    def _no_start(self, record: Record, code: int) -> str:
        how = "it did not come to an end" if code == -signal.SIGKILL else _ending(code)
        tail = "\n".join(self._output.strip().splitlines()[-12:])
        return f"while {record.stage}: the process ended before anything could be tested ({how})\n{tail}".strip()

    def _suite_failed(self, code: int) -> None:
        """The adapter works, and not one check has begun: that is nobody's fault but the suite's."""
        said = f"the process that runs the checks ended before the first of them ({_ending(code)})"
        tail = self._output.splitlines()[-40:]
        first = self._order.requirements[0] if self._order.requirements else next(iter(CATALOGUE))
        self.results.append(Result(first, "collection", Outcome.ERROR, "", "the checks are run", said, witness=tail))

    def _died(self, record: Record, code: int) -> bool:
        """The child died in an item: say so, and go on with the others. False where that makes no sense."""
        running = record.running
        if running is None:
            if not record.done:
                self._suite_failed(code)
            return bool(record.done)
        hung = code in {EXIT_HUNG, -signal.SIGKILL}
        result = Result(
            requirement=running["requirement"],
            check=running["check"],
            outcome=Outcome.HANG if hung else Outcome.CRASH,
            kind=running["kind"],
            expected="the check comes to its end" if hung else "the process of the bridge's user survives",
            actual="the whole process stood still" if hung else f"the process ended ({_ending(code)})",
            turn=running["turn"],
            witness=(record.stacks or self._output).splitlines()[-60:],
        )
        self.results.append(result)
        self._on_event(result)
        Claims(self._order.claims).add_stuck(running["requirement"])
        self._order = replace(self._order, done=sorted({*self._order.done, running["item"]}))
        return True


def _arguments(order: Path) -> list[str]:
    """Of pytest: nothing of where we are, nothing of what is installed beside."""
    return [
        *("-c", str(_HERE / "suite.ini"), "--rootdir", str(_HERE), "--noconftest"),
        *("-p", "penstock.conformance.plugin", "--import-mode=importlib"),
        *("--conformance-order", str(order), str(_HERE / "checks")),
    ]


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


@contextlib.contextmanager
def _environment_of(changed: dict[str, str]) -> Iterator[None]:
    """Have another environment for the length of a block."""
    saved = dict(os.environ)
    os.environ.clear()
    os.environ.update(changed)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)
