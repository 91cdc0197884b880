"""Edges on which nothing moves: which, who holds what is there, since when, and what he is doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from penstock.engine.activity import Activity, Flow
from penstock.engine.plan import PlannedEdge, PlannedNode

__all__ = ["Stall", "Stalls"]


@dataclass(frozen=True, slots=True)
class Stall:
    """An edge whose oldest datum has not moved for some time."""

    edge: str
    holder: str
    """The node that has it in hand, or is to take it; empty for the program that does not receive it."""
    pid: int
    """The process of that node; 0: the engine's own."""
    seconds: float
    """For how long, at least."""
    in_flight: int
    doing: str
    """What the holder does: it is in its own code, waits for room on another edge, or for data on another one."""

    def __str__(self) -> str:
        who = f"node {self.holder!r}" if self.holder else "the program"
        where = f" (pid {self.pid})" if self.pid else ""
        still = f"edge {self.edge}: none of {self.in_flight} data has moved for {self.seconds:.1f} s"
        return f"{still}: {who}{where} {self.doing}"


class Stalls:
    """Remembers when each edge moved last, as far as it was looked at."""

    def __init__(self, after_s: float, pid_of: Callable[[PlannedNode], int]) -> None:
        """Begin.

        Args:
            after_s: an edge that stands still for as long has stalled.
            pid_of: the process of a node; 0 for this one.
        """
        self._after_s = after_s
        self._pid_of = pid_of
        self._seen: dict[PlannedEdge, tuple[int, bool]] = {}
        self._moved_s: dict[PlannedEdge, float] = {}
        self._told: set[PlannedEdge] = set()

    def look(self, flows: Mapping[PlannedEdge, Flow], now_s: float) -> None:
        """Note what has moved since the last look. What comes to an edge that was empty moves."""
        for edge, flow in flows.items():
            seen = (flow.received + flow.dropped, flow.in_flight > 0)
            if not flow.in_flight or self._seen.get(edge) != seen:
                self._seen[edge], self._moved_s[edge] = seen, now_s
                self._told.discard(edge)

    def stalled(self, flows: Mapping[PlannedEdge, Flow], now_s: float) -> list[PlannedEdge]:
        """The edges that have stalled, as of the last look."""
        return [edge for edge in flows if now_s - self._moved_s[edge] >= self._after_s]

    def is_new(self, edge: PlannedEdge) -> bool:
        """Whether this is asked for the first time since the edge has moved."""
        is_new = edge not in self._told
        self._told.add(edge)
        return is_new

    def describe(self, edge: PlannedEdge, flow: Flow, waits: Mapping[PlannedNode, Activity], now_s: float) -> Stall:
        """What there is to say of an edge that has stalled."""
        holder, seconds = edge.target, now_s - self._moved_s[edge]
        if isinstance(holder, PlannedNode):
            pid, doing = self._pid_of(holder), str(waits[holder])
            return Stall(edge.name, holder.node_id, pid, seconds, flow.in_flight, doing)
        return Stall(edge.name, "", 0, seconds, flow.in_flight, "does not receive them")
