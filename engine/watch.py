"""Watches a run from outside: lets an edge grow where nodes wait for each other, and says where nothing moves.

It costs the nodes nothing, and looks seldom. Whether nodes wait for each other is asked only of graphs in which they
can: a node that takes whatever comes never holds up one edge for the sake of another, so along edges that lead forward
somebody can always go on. That leaves graphs with cycles, and with nodes that choose what they take.

One look is not enough, as what it sees is not of one moment. But if nothing at all has moved from one look to the next,
whoever waited at both waited in between. A worker might still have been rung and not be awake yet, on a machine that
has no time for it: so its process must be asleep, and its doorbell silent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import trio

from penstock.engine.activity import Activity, Flow, activities
from penstock.engine.deadlock import circles, narrowest
from penstock.engine.plan import Plan, PlannedEdge, PlannedNode
from penstock.engine.stall import Stall, Stalls
from penstock.executors.contract import ServiceError
from penstock.shm.errors import GrowthRefused, OutOfSharedMemory

__all__ = ["Deadlock", "Parts", "Watch", "can_deadlock"]

_log = logging.getLogger("penstock")

_FIRST_PAUSE_S: Final = 0.025
_PAUSE_S: Final = 0.25
"""While somebody waits for room; while nobody does it becomes longer and longer."""
_LONGEST_PAUSE_S: Final = 1.0
_CONFIRM_PAUSE_S: Final = 0.02
"""Ten times as long as a writer waits for several acknowledgements, which need not come."""
_CERTAIN_S: Final = 0.5
"""An edge that grows for nothing does no harm; a run that fails for nothing does."""
_REMEDY: Final = "give the edge a larger capacity (or max_bytes), or the pipeline a larger max_growth"


class Deadlock(ServiceError):
    """Nodes wait for each other, and the edge that would have to hold more may not."""


class Parts(Protocol):
    """What is watched: the parts of a run."""

    @property
    def plan(self) -> Plan: ...

    def statistics(self, edge: PlannedEdge) -> Flow:
        """The counts of an edge."""
        ...

    def grow(self, edge: PlannedEdge) -> int:
        """Let an edge hold twice as much; raises `GrowthRefused`, `OutOfSharedMemory`."""
        ...

    def works(self, node: PlannedNode) -> bool:
        """Whether a node is in its own code, although it listens to some of its edges."""
        ...

    def pid(self, node: PlannedNode) -> int:
        """The process of a node; 0: this one."""
        ...

    def is_asleep(self, node: PlannedNode) -> bool:
        """Whether the process of a node sleeps, and nobody has rung it."""
        ...


def can_deadlock(plan: Plan) -> bool:
    """Whether nodes of a graph can come to wait for each other for want of room."""
    return bool(plan.cycles) or any(node.chooses for node in plan.nodes)


class Watch:
    """Watches one run.

    Attributes:
        grown: the edges that have grown, each with the capacity that it had at first.
    """

    def __init__(self, parts: Parts, stall_after_s: float, fail: Callable[[ServiceError], None]) -> None:
        """Prepare; `run` watches.

        Args:
            parts: of the run.
            stall_after_s: an edge on which nothing moves for as long is reported.
            fail: ends the run with an error.
        """
        self._parts = parts
        self._plan = parts.plan
        self._fail = fail
        self._stall_after_s = stall_after_s
        self._stalls = Stalls(stall_after_s, parts.pid)
        self._looks_for_circles = can_deadlock(parts.plan)
        self._before: Mapping[PlannedEdge, Flow] = {}
        self._still_since_s = 0.0
        self._idle_pause_s = _FIRST_PAUSE_S
        self.grown: dict[PlannedEdge, int] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            flows, now_s = self._look(), trio.current_time()
            if flows != self._before:
                self._before, self._still_since_s = flows, now_s
            self._tell_stalls(flows, now_s)
            suspected = self._looks_for_circles and self._resolve(flows, now_s - self._still_since_s)
            await trio.sleep(_CONFIRM_PAUSE_S if suspected else self._pause_s(flows))

    def stalls(self) -> list[Stall]:
        """The edges on which nothing has moved for some time."""
        flows, now_s = self._look(), trio.current_time()
        return [self._stall(edge, flows, now_s) for edge in self._stalls.stalled(flows, now_s)]

    def _look(self) -> dict[PlannedEdge, Flow]:
        flows = {edge: self._parts.statistics(edge) for edge in self._plan.edges}
        self._stalls.look(flows, trio.current_time())
        return flows

    def _pause_s(self, flows: Mapping[PlannedEdge, Flow]) -> float:
        if not self._looks_for_circles:
            return self._stall_after_s / 2
        if any(flow.writer_waiting for flow in flows.values()):
            self._idle_pause_s = _PAUSE_S
        else:
            self._idle_pause_s = min(2 * self._idle_pause_s, _LONGEST_PAUSE_S)
        return min(self._idle_pause_s, self._stall_after_s / 2)

    def _waits(self, flows: Mapping[PlannedEdge, Flow]) -> dict[PlannedNode, Activity]:
        return activities(self._plan.nodes, flows, self._parts.works)

    def _tell_stalls(self, flows: Mapping[PlannedEdge, Flow], now_s: float) -> None:
        for edge in self._stalls.stalled(flows, now_s):
            if self._stalls.is_new(edge):
                _log.warning("%s", self._stall(edge, flows, now_s))

    def _stall(self, edge: PlannedEdge, flows: Mapping[PlannedEdge, Flow], now_s: float) -> Stall:
        return self._stalls.describe(edge, flows[edge], self._waits(flows), now_s)

    def _resolve(self, flows: Mapping[PlannedEdge, Flow], still_s: float) -> bool:
        """Let an edge of each circle of nodes that wait for each other grow; whether there seems to be one."""
        if not any(flow.writer_waiting for flow in flows.values()):
            return False
        waits = self._waits(flows)
        capacity = {edge: flow.capacity for edge, flow in flows.items()}
        found = False
        for circle in circles(waits):
            edge = narrowest(circle, waits, capacity)
            if edge is not None:
                found = True
                if still_s > 0 and all(map(self._parts.is_asleep, circle)):
                    self._grow(edge, capacity[edge], circle, waits, still_s)
        return found

    def _grow(
        self,
        edge: PlannedEdge,
        capacity: int,
        circle: list[PlannedNode],
        waits: Mapping[PlannedNode, Activity],
        still_s: float,
    ) -> None:
        try:
            grown = self._parts.grow(edge)
        except (GrowthRefused, OutOfSharedMemory) as error:
            if still_s >= _CERTAIN_S:
                who = ", ".join(f"{node.node_id} {waits[node]}" for node in circle)
                full = f"edge {edge.name} is full with a capacity of {capacity}, and nodes wait for each other: {who}"
                self._fail(Deadlock(f"{full}; {error}: {_REMEDY}"))
            return
        self.grown.setdefault(edge, capacity)
        _log.warning("edge %s grew from %d to %d data, as nodes waited for each other", edge.name, capacity, grown)
