"""Control of a run: other parameters for a node, and what an interrupt reaches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from penstock.engine.plan import Plan, PlannedEdge, PlannedNode
from penstock.engine.problems import did_you_mean
from penstock.engine.values import Unfit, plain, settle
from penstock.executors.contract import Json, Validation
from penstock.executors.host import configurable

__all__ = ["changed_params", "edges_at_and_behind", "node_of"]


def node_of(plan: Plan, node_id: str) -> PlannedNode:
    """A node by its name.

    Raises:
        Validation: there is none.
    """
    for node in plan.nodes:
        if node.node_id == node_id:
            return node
    raise Validation(f"there is no node {node_id!r}: {did_you_mean(node_id, [node.node_id for node in plan.nodes])}")


def changed_params(node: PlannedNode, params: Mapping[str, Any]) -> dict[str, Json]:
    """Parameters for a node that runs, checked as at the start.

    Raises:
        Validation: with everything that is wrong with them.
    """
    known = configurable(node.factory)
    if known is None:
        raise Validation(f"node {node.node_id!r}: {node.type_name} has no configure(): see docs/python-nodes.md")
    settled: dict[str, Json] = {}
    problems: list[str] = []
    for name, value in params.items():
        if name not in known.parameters and not known.takes_any:
            problems.append(f"{node.type_name} has no parameter {name!r}: {did_you_mean(name, known.parameters)}")
            continue
        try:
            parameter = known.parameters.get(name)
            settled[name] = plain(value) if parameter is None else settle(value, parameter.annotation, "")
        except Unfit as error:
            problems.append(f"parameter {name!r}: {error}")
    if problems:
        raise Validation("\n".join(f"node {node.node_id!r}: {text}" for text in problems))
    return settled


def edges_at_and_behind(node: PlannedNode) -> Iterator[PlannedEdge]:
    """The edges into a node, and every edge that its data can get to, in the order of the stream."""
    yield from node.edges_in
    reached = [node]
    for here in reached:  # grows while it is walked
        for edge in here.edges_out:
            yield edge
            if isinstance(edge.target, PlannedNode) and edge.target not in reached:
                reached.append(edge.target)
