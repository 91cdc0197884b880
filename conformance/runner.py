"""The parent: runs an adapter's checks in child processes, and knows what happened whatever becomes of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from penstock.conformance.adapter import Capabilities, Profile
from penstock.conformance.journal import Record, read
from penstock.conformance.order import Order
from penstock.conformance.requirements import CATALOGUE, PROFILE_AREAS
from penstock.conformance.results import Outcome, Result
from penstock.conformance.verdict import Run
from penstock.conformance.watchdog import EXIT_HUNG
from penstock.executors.contract import ExecutorType

__all__ = ["Options", "run"]

_HERE = Path(__file__).parent
_MOST_CHILDREN = 40
_SILENCE_S = 120.0
"""A child whose journal has not grown for this long (times its scale) is stuck beyond its own watchdog's reach."""
_IMPORT_S = 45.0
_HOSTILE = ("PYTEST_", "PYTHONOPTIMIZE", "PYTHONWARNINGS", "PYTHONINSPECT", "PYTHONSTARTUP", "PYTHONPROFILE")
_NAMESPACE = 'mount -t tmpfs tmpfs /dev/shm && exec "$@"'


@dataclass(frozen=True)
class Options:
    """What a run is asked for.

    Attributes:
        profile: check what this profile has, of what is claimed.
        require: ids to check; empty: all.
        isolate: "process"; "ns": also a /dev/shm of its own, where the kernel allows it.
        smoke_only: try the adapter, check nothing.
        on_event: told of each result as it is there.
    """

    profile: Profile = Profile.FULL
    require: Sequence[str] = ()
    seed: int = 1
    repeat: int = 1
    time_scale: float | None = None
    latency_budget_ms: float | None = None
    isolate: str = "process"
    smoke_only: bool = False
    path: Sequence[str] = field(default_factory=lambda: (os.getcwd(),))
    on_event: Callable[[Result], None] = lambda _: None

    def selected(self) -> list[str]:
        """The ids, in the order in which they are checked: timing last."""
        if self.smoke_only:
            return []
        ids = list(self.require) or [
            name for name, requirement in CATALOGUE.items() if requirement.area in PROFILE_AREAS[self.profile]
        ]
        late = [name for name in CATALOGUE if CATALOGUE[name].area == "LT" or name in {"R-BP-14", "R-MT-08"}]
        return [name for name in CATALOGUE if name in ids and name not in late] + [name for name in late if name in ids]


def run(adapter: str, options: Options) -> Run:
    """Run the checks on an adapter. Never raises for what the adapter does."""
    scratch = Path(tempfile.mkdtemp(prefix="conformance-run-"))
    try:
        return _Supervisor(adapter, options, scratch).run()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Supervisor:
    """Starts children one after the other until every item is done."""

    def __init__(self, adapter: str, options: Options, scratch: Path) -> None:
        self.options = options
        self.scratch = scratch
        self.order = Order(
            adapter,
            "",
            options.selected(),
            seed=options.seed,
            scale=options.time_scale,
            repeat=options.repeat,
            latency_budget_ms=options.latency_budget_ms,
            path=list(options.path),
        )
        self.results: list[Result] = []
        self.about: dict[str, Any] = {}
        self.output = ""

    def run(self) -> Run:
        start = time.monotonic()
        problem, complete = "", False
        for number in range(_MOST_CHILDREN):
            record, code = self._child(number)
            self.about = record.adapter or self.about
            if record.smoke is None:
                problem = self._no_start(record, code)
                break
            if record.smoke:
                problem = record.smoke
                break
            if record.complete:
                complete = True
                break
            if not self._died(record, code):
                break
        claims = _claims(self.about)
        not_claimed = _not_claimed(claims) if claims else {}
        return Run(
            self.order.adapter,
            self.about,
            [name for name in self.order.requirements if name not in not_claimed],
            not_claimed,
            self.results,
            problem,
            complete,
            {"scale": self.about.get("scale", 1.0), "noise_p99_ms": self.about.get("noise_p99_ms", 0.0)},
            round(time.monotonic() - start, 2),
        )

    def _child(self, number: int) -> tuple[Record, int]:
        journal, order = self.scratch / f"journal-{number}.jsonl", self.scratch / f"order-{number}.json"
        self.order = replace(
            self.order, journal=str(journal), smoke="no" if number else "make" if self.options.require else "call"
        )
        self.order.write(order)
        log = self.scratch / f"output-{number}.txt"
        with open(log, "wb") as output:
            child = subprocess.Popen(
                self._command(order),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,
            )
            try:
                self._watch(child, journal)
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
                code = child.wait()
        self.output = log.read_text(encoding="utf-8", errors="replace")
        record = read(journal)
        self._deliver(record)
        return record, code

    def _command(self, order: Path) -> list[str]:
        command = [
            *(sys.executable, "-P", "-m", "pytest", "-c", str(_HERE / "suite.ini"), "--rootdir", str(_HERE)),
            *("--noconftest", "-p", "penstock.conformance.plugin", "--import-mode=importlib"),
            *("--conformance-order", str(order), str(_HERE / "checks")),
        ]
        return ["unshare", "-Urm", "sh", "-c", _NAMESPACE, "sh", *command] if self.options.isolate == "ns" else command

    def _watch(self, child: subprocess.Popen[bytes], journal: Path) -> None:
        """Wait for its end; give up on it when its journal stops growing."""
        size, since, told = 0, time.monotonic(), 0
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.05)
                return
            now = journal.stat().st_size if journal.exists() else 0
            if now != size:
                size, since = now, time.monotonic()
                told = self._tell(journal, told)
            if time.monotonic() - since > self._patience_s(journal):
                return

    def _patience_s(self, journal: Path) -> float:
        adapter = read(journal).adapter
        return _IMPORT_S if adapter is None else _SILENCE_S * float(adapter["scale"])

    def _tell(self, journal: Path, told: int) -> int:
        results = read(journal).results
        for result in results[told:]:
            self.options.on_event(result)
        return len(results)

    def _deliver(self, record: Record) -> None:
        self.results += record.results
        self.order = replace(self.order, done=sorted({*self.order.done, *record.done}))

    def _no_start(self, record: Record, code: int) -> str:
        how = "it did not come to an end" if code == -signal.SIGKILL else _ending(code)
        tail = "\n".join(self.output.strip().splitlines()[-12:])
        return f"while {record.stage}: the process ended before anything could be tested ({how})\n{tail}".strip()

    def _suite_failed(self, code: int) -> None:
        """The adapter works, and not one check has begun: that is nobody's fault but the suite's."""
        said = f"the process that runs the checks ended before the first of them ({_ending(code)})"
        tail = self.output.splitlines()[-40:]
        first = self.order.requirements[0] if self.order.requirements else next(iter(CATALOGUE))
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
            witness=(record.stacks or self.output).splitlines()[-60:],
        )
        self.results.append(result)
        self.options.on_event(result)
        done, blocked = {*self.order.done, running["item"]}, {*self.order.blocked, running["requirement"]}
        self.order = replace(self.order, done=sorted(done), blocked=sorted(blocked))
        return True


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _environment() -> dict[str, str]:
    """The user's environment, without what would change how the suite is run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_HOSTILE)}
    return {
        **kept,
        "PYTEST_ADDOPTS": "",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONFAULTHANDLER": "1",
    }


def _claims(about: dict[str, Any]) -> Capabilities | None:
    said = dict(about.get("claims") or {})
    if not said:
        return None
    profiles = {Profile(name) for name in said.pop("profiles")}
    kinds = [ExecutorType(name) for name in said.pop("kinds")]
    return Capabilities(profiles=profiles, kinds=kinds, **said)


def _not_claimed(claims: Capabilities) -> dict[str, str]:
    from penstock.conformance.checking import applicability

    reasons = {name: applicability(requirement, claims) for name, requirement in CATALOGUE.items()}
    return {name: reason for name, reason in reasons.items() if reason}
