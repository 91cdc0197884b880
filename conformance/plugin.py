"""The pytest plugin of a child process: collects the checks of an order, runs each in its lab, writes the journal."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from multiprocessing import resource_tracker
from typing import Any

import psutil
import pytest

from penstock.conformance import evidence
from penstock.conformance.adapter import Adapter
from penstock.conformance.checking import applicability, marking_of
from penstock.conformance.claims import Claims
from penstock.conformance.importing import make_importable
from penstock.conformance.journal import Journal
from penstock.conformance.lab import Settings
from penstock.conformance.order import AdapterError, Order, load_adapter
from penstock.conformance.requirements import CATALOGUE
from penstock.conformance.results import Outcome
from penstock.conformance.running import run_check
from penstock.conformance.scale import measure
from penstock.conformance.smoke import smoke
from penstock.conformance.watchdog import Watchdog
from penstock.executors.contract import ExecutorType

__all__ = ["pytest_addoption", "pytest_configure"]

_BACKSTOP = 2.0
"""The watchdog ends the process when a check takes this many times its budget."""
_STANDSTILL_S = 20.0
"""Or when its loop has not turned for so long, on an idle machine."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The one option: where the order is."""
    parser.addoption("--conformance-order", metavar="FILE", help="what the parent wants (internal)")


def pytest_configure(config: pytest.Config) -> None:
    """Do nothing unless there is an order."""
    path = config.getoption("--conformance-order")
    if path:
        config.pluginmanager.register(_Session(Order.read(path)), "conformance session")


class _Session:
    """One child's work."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.journal = Journal(order.journal)
        self.adapter: Adapter | None = None
        self.settings = Settings(order.seed)
        self.claims = Claims(order.claims)
        self.left: set[str] | None = None
        """The items that are still to be done; None before they are known."""

    def pytest_sessionstart(self) -> None:
        """Import the adapter and try it, before anything is collected."""
        scale, noise_ms = (self.order.scale, 0.0) if self.order.scale else measure()
        latency = self.order.latency_budget_ms
        self.settings = Settings(self.order.seed, round(scale or 1.0, 2), latency, self.order.adapter)
        resource_tracker.ensure_running()
        self.journal.write("stage", stage=f"importing {self.order.adapter}")
        try:
            make_importable(self.order.path)
            adapter = load_adapter(self.order.adapter)
        except AdapterError as error:
            self._stop(str(error))
        claims = adapter.capabilities
        self.journal.write(
            "adapter",
            name=adapter.name or type(adapter).__name__,
            version=adapter.version,
            url=adapter.url,
            scale=self.settings.scale,
            noise_p99_ms=round(noise_ms, 3),
            claims=_plain(claims),
        )
        if self.order.smoke != "no":
            self.journal.write("stage", stage="trying the adapter (smoke gate)")
            if problem := smoke(adapter, self.settings, call=self.order.smoke == "call"):
                self._stop(problem)
        self.journal.write("smoke", problem="")
        self.adapter = adapter

    def _stop(self, problem: str) -> None:
        self.journal.write("smoke", problem=problem)
        self.journal.write("footer")
        pytest.exit("the adapter does not work", returncode=3)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One item for each kind of bridge, and for each repetition."""
        assert self.adapter is not None
        kinds = marking_of(metafunc.function).kinds(self.adapter.capabilities)
        turns = [(kind, turn) for turn in range(self.order.repeat) for kind in kinds]
        metafunc.parametrize("lab", turns, ids=[f"{kind or 'once'}-{turn}" for kind, turn in turns])

    def pytest_collection_modifyitems(self, items: list[pytest.Function]) -> None:
        """Keep what was ordered and is not done, in the order of the catalogue; timing last, undisturbed."""
        assert self.adapter is not None
        claims = self.adapter.capabilities
        asked = [name for name in self.order.requirements if not applicability(CATALOGUE[name], claims)]
        wanted = {name: position for position, name in enumerate(asked)}
        done = set(self.order.done)
        kept = [item for item in items if self._requirement(item) in wanted and item.nodeid not in done]
        items[:] = sorted(kept, key=lambda item: (wanted[self._requirement(item)], item.name))
        self.left = {item.nodeid for item in items}

    @staticmethod
    def _requirement(item: pytest.Function) -> str:
        marking = getattr(item.obj, "marking", None)
        return marking.requirement.id if marking else ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool:
        """Run the check; the journal gets the truth, pytest the exception."""
        assert self.left is not None
        self.left.discard(pyfuncitem.nodeid)
        if not self.claims.take(pyfuncitem.nodeid):
            return True  # another lane has it
        params: Any = pyfuncitem.callspec.params
        kind, turn = params["lab"]
        requirement = self._requirement(pyfuncitem)
        self.journal.write(
            "begin", item=pyfuncitem.nodeid, requirement=requirement, check=pyfuncitem.function.__name__,
            kind=str(kind or ""), turn=turn,
        )  # fmt: skip
        scale = self.settings.scale
        bound_s, standstill_s = marking_of(pyfuncitem.obj).budget_s * scale * _BACKSTOP, _STANDSTILL_S * scale
        with Watchdog(bound_s, standstill_s, self._last_words) as watchdog:
            error = self._run(pyfuncitem, requirement, kind, turn, watchdog.beat)
        if error is not None and self.order.repeat == 1:
            raise error
        return True

    def _run(
        self,
        item: pytest.Function,
        requirement: str,
        kind: ExecutorType | None,
        turn: int,
        beat: Callable[[], None],
    ) -> BaseException | None:
        assert self.adapter is not None
        settings = Settings(
            self.settings.seed + turn, self.settings.scale, self.settings.latency_budget_ms, self.settings.adapter
        )
        blocker = min(_before(requirement) & self.claims.stuck(), default=None)
        if blocker:
            fields = {"requirement": requirement, "check": item.function.__name__, "kind": str(kind or "")}
            said = f"{blocker}, on which this stands, hangs or crashes"
            result = {**fields, "outcome": Outcome.NOT_EXERCISED.value, "actual": said, "turn": turn}
            self.journal.write("end", item=item.nodeid, result=result)
            return None
        result_, error = run_check(item.obj, self.adapter, settings, kind, turn, beat)
        if result_.outcome is Outcome.HANG:
            self.claims.add_stuck(requirement)
        self.journal.write("end", item=item.nodeid, result=result_.as_json())
        return error

    def _last_words(self, stacks: str) -> None:
        self.journal.write("watchdog", stacks=stacks)
        _kill_descendants()

    def pytest_sessionfinish(self) -> None:
        """Leave nothing behind, whatever the implementation did."""
        _kill_descendants()
        if self.left is not None and not self.left:
            self.journal.write("footer")


def _before(requirement: str) -> set[str]:
    """Everything that a requirement stands on."""
    found: set[str] = set()
    todo = list(CATALOGUE[requirement].after)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += CATALOGUE[name].after
    return found


def _kill_descendants() -> None:
    for process in evidence.descendants().values():
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)


def _plain(claims: Any) -> dict[str, Any]:
    """The claims as JSON."""
    return {
        "profiles": sorted(profile.value for profile in claims.claimed),
        "runtime": claims.runtime,
        "kinds": [kind.value for kind in claims.bridge_kinds],
        "data_types": sorted(claims.data_types),
        "wasm": claims.wasm,
        "process_per_node": claims.process_per_node,
        "params_at_execute": claims.params_at_execute,
        "backpressure_timeout": claims.backpressure_timeout,
        "zero_copy": claims.zero_copy,
        "max_payload": claims.max_payload,
        "respawns": claims.respawns,
        "cancellation": claims.cancels,
        "nodes": None if claims.nodes is None else sorted(claims.nodes),
    }
