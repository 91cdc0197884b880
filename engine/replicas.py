"""What a node with replicas has to be, and its edges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from penstock.engine.catalogue import FoundType
from penstock.engine.declarations import NodeDecl
from penstock.engine.plan import PlannedEdge, PlannedNode
from penstock.executors.contract import Node

__all__ = ["MOST_REPLICAS", "problems_of_edges", "problems_of_replicas"]

MOST_REPLICAS = 64


def problems_of_replicas(
    decl: NodeDecl, found: FoundType, inputs: Mapping[str, str], *, in_worker: bool
) -> Iterator[str]:
    """What is wrong with a node's `replicas`; whether it is to run in a worker does not count with `only_native`."""
    count: object = decl.replicas
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_REPLICAS:
        yield f"replicas is a whole number from 1 to {MOST_REPLICAS}, not {count!r}"
        return
    if count == 1:
        return
    if not in_worker:
        yield "replicas are workers: say `executor: multiprocess`, or leave replicas out"
    if found.signature.is_source:
        yield "replicas share the data that a node is given: a source has none"
        return
    if len(inputs) > 1:
        yield f"replicas are for nodes with one input, not {len(inputs)}: leave replicas out"
    if decl.delivery.snapshot_every is not None:
        yield "snapshot_every is for nodes with a state, which replicas have not: leave one of them out"
    if not _is_stateless(found):
        yield (
            f"replicas need to know that it does not matter which of them gets a datum: say `stateless = True` in the "
            f"class {found.shown_name}, if its outputs depend on nothing but the datum in hand"
        )
    if found.guest_params is None:
        for method in ("flush", "ended"):
            if getattr(found.factory, method, None) not in {None, getattr(Node, method, None)}:
                yield f"each replica would have a {method}() of its own: {found.shown_name} is for one worker"


def problems_of_edges(node: PlannedNode) -> Iterator[tuple[PlannedEdge, str]]:
    """What is wrong with the edges of a node with replicas, each with its edge."""
    name = node.node_id
    for edge in node.edges_in[1:]:
        yield edge, f"{name} has replicas, whose order is that of one edge into them: merge in a node before {name}"
    for edge in node.edges_in:
        if edge.source.replicas > 1:
            yield edge, "both nodes have replicas: put a node between them, which puts the data in order"
    for edge in (*node.edges_in, *node.edges_out):
        policy = edge.decl.policy
        if policy != "block":
            yield edge, f"edges of replicas block: say the policy {policy} at an edge before or behind them"


def _is_stateless(found: FoundType) -> bool:
    """A function is taken at its user's word, and so is a guest, whose class nobody can write in."""
    return found.signature.stateless or found.signature.is_function or found.guest_params is not None
