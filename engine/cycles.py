"""Finds the cycles of a graph."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.engine.plan import Cycle, PlannedNode

__all__ = ["find_cycles"]


def find_cycles(nodes: Sequence[PlannedNode]) -> list[Cycle]:
    """The strongly connected components that have an edge within."""
    found = []
    for members in _components(nodes):
        inner = [edge for node in members for edge in node.edges_out if edge.target in members]
        if inner:
            feeding = [edge for node in members for edge in node.edges_in if edge.source not in members]
            found.append(Cycle([node for node in nodes if node in members], inner, feeding))
    return found


def _components(nodes: Sequence[PlannedNode]) -> list[set[PlannedNode]]:
    """Sets of nodes that reach each other: along the edges in order of finishing, then against them (Kosaraju)."""
    finished: list[PlannedNode] = []
    seen: set[PlannedNode] = set()
    for node in nodes:
        _walk(node, seen, finished, forward=True)
    components: list[set[PlannedNode]] = []
    seen = set()
    for node in reversed(finished):
        members: list[PlannedNode] = []
        _walk(node, seen, members, forward=False)
        if members:
            components.append(set(members))
    return components


def _walk(start: PlannedNode, seen: set[PlannedNode], finished: list[PlannedNode], *, forward: bool) -> None:
    """Add what is reached and was not seen, each node behind those that it leads to."""
    if start in seen:
        return
    seen.add(start)
    stack = [(start, iter(start.edges_out if forward else start.edges_in))]
    while stack:
        node, edges = stack[-1]
        for edge in edges:
            following = edge.target if forward else edge.source
            if isinstance(following, PlannedNode) and following not in seen:
                seen.add(following)
                stack.append((following, iter(following.edges_out if forward else following.edges_in)))
                break
        else:
            finished.append(node)
            stack.pop()
