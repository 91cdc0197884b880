"""A checked pipeline: every type found, every port named, every node placed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.engine.cycles import Cycle
from penstock.engine.pipeline import EdgeDecl, NodeDecl
from penstock.executors.contract import ExecutorType, Json
from penstock.executors.registry import NodeFactory

__all__ = ["Plan", "PlannedEdge", "PlannedNode"]


@dataclass(slots=True, eq=False)
class PlannedNode:
    """A node that can be started."""

    decl: NodeDecl
    type_name: str
    """As it is shown to people."""
    factory: NodeFactory
    import_name: str
    """The name under which a worker finds the type."""
    params: Mapping[str, Json]
    executor: ExecutorType
    in_worker: bool
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    is_source: bool
    edges_in: list[PlannedEdge] = field(default_factory=list)
    edges_out: list[PlannedEdge] = field(default_factory=list)

    @property
    def node_id(self) -> str:
        return self.decl.node_id


@dataclass(slots=True, eq=False)
class PlannedEdge:
    """An edge between two ports."""

    decl: EdgeDecl
    source: PlannedNode
    source_port: str
    target: PlannedNode
    target_port: str

    @property
    def name(self) -> str:
        return f"{self.source.node_id}.{self.source_port} -> {self.target.node_id}.{self.target_port}"

    @property
    def shared(self) -> bool:
        """Whether it crosses a process border, and so is a ring in shared memory."""
        return self.source.in_worker or self.target.in_worker


@dataclass(slots=True)
class Plan:
    """Nodes in the order of the stream, sources first; edges that are declared to lead back do not count for it."""

    name: str
    nodes: list[PlannedNode]
    edges: list[PlannedEdge]
    cycles: list[Cycle]
