"""A checked pipeline: every type found, every port named, every node placed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from penstock.engine.declarations import DEFAULT_GROWTH, EdgeDecl, NodeDecl
from penstock.engine.problems import did_you_mean
from penstock.executors.contract import DataType, ExecutorType, Json, Validation
from penstock.executors.host import Signature
from penstock.executors.multiprocess.delivery import Delivery
from penstock.executors.multiprocess.surroundings import Surroundings
from penstock.executors.registry import NodeFactory
from penstock.shm.patience import WaitMode

if TYPE_CHECKING:
    from penstock.engine.options import RunOptions
    from penstock.engine.running import Run

__all__ = ["Cycle", "Plan", "PlannedEdge", "PlannedNode", "PlannedPort", "accepted_types", "edge_named"]


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
    delivery: Delivery
    surroundings: Surroundings = field(default_factory=Surroundings)
    edges_in: list[PlannedEdge] = field(default_factory=list)
    edges_out: list[PlannedEdge] = field(default_factory=list)
    signature: Signature | None = None
    """Of the factory; read again for each run where it is not given."""

    @property
    def node_id(self) -> str:
        return self.decl.node_id

    @property
    def replicas(self) -> int:
        """Workers that run it; 1 also where it runs in this process."""
        return self.decl.replicas if self.in_worker else 1

    @property
    def chooses(self) -> bool:
        """Whether it takes from one input rather than another, and so may hold up who writes the other."""
        return len(self.edges_in) > 1 and hasattr(self.factory, "wants")


@dataclass(slots=True, eq=False)
class PlannedPort:
    """An external input or output: the end of edges that the program holds."""

    in_worker: ClassVar[bool] = False
    replicas: ClassVar[int] = 1

    name: str
    edges: list[PlannedEdge] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class PlannedEdge:
    """An edge between two ports."""

    decl: EdgeDecl
    source: PlannedNode | PlannedPort
    source_port: str
    target: PlannedNode | PlannedPort
    target_port: str

    @property
    def name(self) -> str:
        """`node.port -> node.port`; an external end has its name alone."""
        return f"{_end_of(self.source, self.source_port)} -> {_end_of(self.target, self.target_port)}"

    @property
    def shared(self) -> bool:
        """Whether it crosses a process border, and so is a ring in shared memory."""
        return self.source.in_worker or self.target.in_worker

    @property
    def strands(self) -> int:
        """Rings that it consists of, where it crosses a process border: one for each replica at an end of it."""
        return max(self.source.replicas, self.target.replicas)


@dataclass(frozen=True, slots=True, eq=False)
class Cycle:
    """Nodes that can all reach each other: one cycle, or several that share nodes.

    Attributes:
        nodes: in the order of the plan.
        inner: the edges among them.
        feeding: the edges into them from outside: from other nodes, or from the program.
    """

    nodes: list[PlannedNode]
    inner: list[PlannedEdge]
    feeding: list[PlannedEdge]

    @property
    def feedback(self) -> list[PlannedEdge]:
        """The edges that close it."""
        return [edge for edge in self.inner if edge.decl.feedback]

    def __str__(self) -> str:
        return ", ".join(node.node_id for node in self.nodes)


@dataclass(slots=True)
class Plan:
    """Nodes in the order of the stream, sources first; edges that are declared to lead back do not count for it."""

    name: str
    nodes: list[PlannedNode]
    edges: list[PlannedEdge]
    cycles: list[Cycle] = field(default_factory=list)
    inputs: dict[str, PlannedPort] = field(default_factory=dict)
    outputs: dict[str, PlannedPort] = field(default_factory=dict)
    wait: WaitMode = "adaptive"
    max_growth: int = DEFAULT_GROWTH

    def open(self, options: RunOptions | None = None) -> AbstractAsyncContextManager[Run]:
        """Start a run, as `Pipeline.open`, without another check: for programs that open one pipeline many times.

        Raises:
            Validation: `only_native` or `record` is asked for: `Pipeline.check` or `Pipeline.open` do that.
            AllocationFailed, NodeExecution: as `Pipeline.open`.
        """
        from penstock.engine.opening import open_plan

        if options is not None and options.only_native and any(node.in_worker for node in self.nodes):
            raise Validation("the nodes are placed already: say pipeline.check(only_native=True)")
        if options is not None and options.record:
            raise Validation("the edges are planned already, without a recorder: say pipeline.open(options)")
        return open_plan(self, options)


def accepted_types(port: PlannedPort) -> frozenset[DataType]:
    """What can be sent to an external input: the types that each of its targets takes."""
    accepted = frozenset(DataType)
    for edge in port.edges:
        assert isinstance(edge.target, PlannedNode)
        takes = {part.strip() for part in edge.target.inputs[edge.target_port].split("|")}
        if "any" not in takes:
            accepted &= {kind for kind in DataType if kind.value.lower() in takes}
    return accepted


def edge_named(edges: Sequence[PlannedEdge], said: str) -> PlannedEdge:
    """The edge that is called `a.out -> b.in`; a port may be left out where that is clear.

    Raises:
        Validation: there is none, or there are several.
    """
    parts = [part.strip() for part in said.split("->")]
    found = [edge for edge in edges if len(parts) == 2 and _is_called(edge, *parts)]
    if len(found) == 1:
        return found[0]
    names = [edge.name for edge in edges]
    if found:
        raise Validation(f"there are several edges {said!r}: {', '.join(edge.name for edge in found)}; say which")
    raise Validation(f"there is no edge {said!r}: {did_you_mean(said, names)}")


def _is_called(edge: PlannedEdge, source: str, target: str) -> bool:
    ends = (source, edge.source, edge.source_port), (target, edge.target, edge.target_port)
    return all(said in {_end_of(end, port), _end_of(end, port).partition(".")[0]} for said, end, port in ends)


def _end_of(end: PlannedNode | PlannedPort, port: str) -> str:
    return end.name if isinstance(end, PlannedPort) else f"{end.node_id}.{port}"
