"""What each node of a run waits for, as far as it can be seen from outside: from the words of its edges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from penstock.engine.plan import PlannedEdge, PlannedNode

__all__ = ["WORKING", "Activity", "Flow", "activities"]


class Flow(Protocol):
    """What can be seen of an edge."""

    @property
    def capacity(self) -> int: ...
    @property
    def sent(self) -> int: ...
    @property
    def received(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def writer_waiting(self) -> bool: ...
    @property
    def reader_waiting(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Activity:
    """What a node is doing: it waits for room on one edge, or for data on any of some, or it works.

    A node that is busy with one of its inputs may still listen to the others: that is no waiting.
    """

    room_on: PlannedEdge | None = None
    data_on: tuple[PlannedEdge, ...] = ()

    @property
    def waits(self) -> bool:
        return self.room_on is not None or bool(self.data_on)

    def __str__(self) -> str:
        if self.room_on is not None:
            return f"waits for room on {self.room_on.name}"
        if self.data_on:
            return f"waits for data on {', '.join(edge.name for edge in self.data_on)}"
        return "is in its own code"


WORKING = Activity()


def activities(
    nodes: Iterable[PlannedNode], flows: Mapping[PlannedEdge, Flow], works: Callable[[PlannedNode], bool]
) -> dict[PlannedNode, Activity]:
    """What every node is doing.

    Args:
        nodes: of the run.
        flows: what was seen of each edge.
        works: whether a node is in its own code, or is about to be, whatever its edges say.
    """
    return {node: _activity(node, flows, works) for node in nodes}


def _activity(node: PlannedNode, flows: Mapping[PlannedEdge, Flow], works: Callable[[PlannedNode], bool]) -> Activity:
    for edge in node.edges_out:
        if flows[edge].writer_waiting:
            return Activity(room_on=edge)
    if works(node):
        return WORKING
    return Activity(data_on=tuple(edge for edge in node.edges_in if flows[edge].reader_waiting))
