"""Finds nodes that wait for each other, and the edge that has to hold more for them to go on.

A node that waits for room goes on only when the reader of that edge does. A node that waits for data, which it takes
from whichever edge they come by, stands still only as long as all who write those edges do. Nodes of which that is
true, among themselves, are *stuck*: nobody outside can help them, whatever else goes on in the run. A program that
sends into a run, or receives from it, is outside.

Who is stuck waits, directly or not, for a circle of nodes. If one of the circle waits for room, the circle is there
only because its edge holds no more: with enough capacity the same graph would not have stood still. So the smallest
such edge grows, and if that was not enough, the next one does (Parks 1995, Bounded Scheduling of Process Networks;
Geilen and Basten 2003, for a part of a graph that stands still while the rest goes on). Edges of nodes that only wait
for the circle do not help, and do not grow. A circle in which all wait for data is none of capacity.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.engine.activity import Activity
from penstock.engine.plan import PlannedEdge, PlannedNode

__all__ = ["circles", "narrowest", "stuck"]

Waits = Mapping[PlannedNode, Activity]


def stuck(waits: Waits) -> set[PlannedNode]:
    """The nodes that can not go on by themselves."""
    found = {node for node, activity in waits.items() if activity.waits}
    while True:
        free = {node for node in found if not found.issuperset(_waited_for(waits[node]))}
        if not free:
            return found
        found -= free


def circles(waits: Waits) -> list[list[PlannedNode]]:
    """The circles of stuck nodes that wait for nobody but each other."""
    rest = stuck(waits)
    reached = {node: _reach(node, waits) for node in rest}
    # Who waits for somebody that does not wait for him is behind a circle, and not in one.
    inner = [node for node in rest if all(node in reached[other] for other in reached[node])]
    found: list[list[PlannedNode]] = []
    for node in waits:  # in the order of the stream
        if node in inner and not any(node in circle for circle in found):
            found.append([other for other in waits if other in reached[node]])
    return found


def narrowest(circle: list[PlannedNode], waits: Waits, capacity: Mapping[PlannedEdge, int]) -> PlannedEdge | None:
    """The full edge of a circle that holds least; None where nobody in it waits for room."""
    full = [edge for node in circle if (edge := waits[node].room_on) is not None]
    return min(full, key=lambda edge: capacity[edge], default=None)


def _waited_for(activity: Activity) -> set[object]:
    if activity.room_on is not None:
        return {activity.room_on.target}
    return {edge.source for edge in activity.data_on}


def _reach(start: PlannedNode, waits: Waits) -> set[PlannedNode]:
    """Whom a stuck node waits for, directly or not."""
    reached: set[PlannedNode] = set()
    todo = [start]
    while todo:
        for node in _waited_for(waits[todo.pop()]) - reached:
            assert isinstance(node, PlannedNode)
            reached.add(node)
            todo.append(node)
    return reached
