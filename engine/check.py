"""The check of a whole pipeline before anything starts: every problem at once, each with its place and its remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace

from penstock.engine.catalogue import Catalogue, FoundType
from penstock.engine.cycles import find_cycles
from penstock.engine.declarations import POLICIES, EdgeDecl, NodeDecl, PortRef
from penstock.engine.delivery import delivery_of
from penstock.engine.faults import problems_of_faults
from penstock.engine.flatten import NAME, flatten
from penstock.engine.nodes import BUILTIN
from penstock.engine.pipeline import Pipeline
from penstock.engine.plan import Cycle, Plan, PlannedEdge, PlannedNode, PlannedPort, accepted_types, edge_named
from penstock.engine.problems import PipelineInvalid, Problem, Where, did_you_mean
from penstock.engine.replicas import problems_of_edges, problems_of_replicas
from penstock.engine.surroundings import surroundings_of
from penstock.executors.contract import DataType, ExecutorType, Json, ServiceError, Validation
from penstock.shm.patience import WAIT_MODES
from penstock.shm.ring import LARGEST_CAPACITY, LARGEST_GROWTH

__all__ = ["check"]

_TYPES = {data_type.value.lower() for data_type in DataType}


def check(
    pipeline: Pipeline, *, only_native: bool, alone: bool = False, record: Mapping[str, str] | None = None
) -> Plan:
    """The plan of a pipeline.

    Args:
        pipeline: as it was described.
        only_native: place every node in this process.
        alone: nobody is there to send and receive: external inputs and outputs are problems.
        record: files by edge, into which what is sent along it is recorded.

    Raises:
        PipelineInvalid: with all the problems there are.
    """
    return _Checker(flatten(pipeline), only_native=only_native).plan(alone=alone, record=record or {})


class _Checker:
    """Collects problems while it plans."""

    def __init__(self, pipeline: Pipeline, *, only_native: bool) -> None:
        self._pipeline = pipeline
        self._only_native = only_native
        self._catalogue = Catalogue(os.path.dirname(pipeline.file))
        self._problems = list(pipeline.problems)
        self._nodes: dict[str, PlannedNode | None] = {}  # None: known, but with problems of its own
        self._edges: list[PlannedEdge] = []
        self._inputs: dict[str, PlannedPort] = {}
        self._outputs: dict[str, PlannedPort] = {}

    def plan(self, *, alone: bool, record: Mapping[str, str]) -> Plan:
        for decl in self._pipeline.nodes:
            self._plan_node(decl)
        for edge in self._pipeline.edges:
            self._plan_edge(edge)
        for edge in self._pipeline.inputs:
            self._plan_input(edge)
        for edge in self._pipeline.outputs:
            self._plan_output(edge)
        for edge_name, path in record.items():
            self._plan_recorder(edge_name, path)
        if alone:
            self._problems += self._for_programs()
        if self._pipeline.wait not in WAIT_MODES:
            wait = self._pipeline.wait
            text = f"there is no way to wait {wait!r}: {did_you_mean(str(wait), WAIT_MODES)}"
            self._problems.append(Problem(_start_of(self._pipeline), text))
        growth: object = self._pipeline.max_growth
        if not isinstance(growth, int) or isinstance(growth, bool) or not 0 <= growth <= LARGEST_GROWTH:
            text = f"max_growth is a whole number from 0 to {LARGEST_GROWTH}, not {growth!r}"
            self._problems.append(Problem(_start_of(self._pipeline), text))
        if not self._pipeline.nodes and not self._problems:
            self._problems.append(Problem(_start_of(self._pipeline), "the pipeline has no nodes"))
        for node in self._planned():
            if node.replicas > 1:
                for joined, text in problems_of_edges(node):
                    self._edge_problem(joined.decl, text)
        if not self._problems:
            self._problems += self._unfed()
        order = self._in_order()
        cycles = find_cycles(order)
        self._check_cycles(cycles)
        if self._problems:
            raise PipelineInvalid(self._problems)
        said = self._pipeline
        ends = (self._inputs, self._outputs)
        return Plan(said.name, order, self._edges, cycles, *ends, wait=said.wait, max_growth=said.max_growth)

    # Nodes

    def _plan_node(self, decl: NodeDecl) -> None:
        if decl.node_id in self._nodes:
            self._problem(decl, "there is a node of this name already: names are unique")
            return
        self._nodes[decl.node_id] = None
        surroundings, unfit = surroundings_of(decl, decl.folder)
        for text in unfit:
            self._problem(decl, text)
        if unfit:
            return
        is_elsewhere = surroundings.python is not None and not self._only_native
        try:
            found = self._catalogue.find_elsewhere(decl, surroundings) if is_elsewhere else self._catalogue.find(decl)
        except ServiceError as error:
            self._problem(decl, error.message)
            return
        before = len(self._problems)
        params, problems = self._catalogue.check_params(decl, found)
        self._problems += problems
        executor, in_worker = self._place(decl, found)
        if not _is_duration(decl.init_timeout_s):
            self._problem(decl, f"init_timeout is a number of seconds above 0, not {decl.init_timeout_s!r}")
        delivery, unfit = delivery_of(decl.delivery, found, sets_aside=decl.on_error != "fail")
        for text in unfit:
            self._problem(decl, text)
        for text in problems_of_faults(decl, found, in_worker=in_worker):
            self._problem(decl, text)
        inputs, outputs = self._ports(decl, found, params) if len(self._problems) == before else ({}, {})
        for text in problems_of_replicas(decl, found, inputs, in_worker=in_worker or self._only_native):
            self._problem(decl, text)
        if len(self._problems) == before:
            self._ask_node(decl, found, params)
        if len(self._problems) == before:
            self._nodes[decl.node_id] = PlannedNode(
                decl,
                found.shown_name,
                found.factory,
                found.import_name,
                params,
                executor,
                in_worker,
                inputs,
                outputs,
                found.signature.is_source,
                delivery if decl.replicas == 1 else replace(delivery, snapshots=False),
                surroundings,
                signature=found.signature,
            )

    def _place(self, decl: NodeDecl, found: FoundType) -> tuple[ExecutorType, bool]:
        is_wasm = found.guest_params is not None
        executor = decl.executor or self._route(decl, found)
        if is_wasm and executor is ExecutorType.NATIVE:
            self._problem(decl, "a .wasm file runs on the executors wasm and multiprocess, not native")
        if not is_wasm and executor is ExecutorType.WASM:
            self._problem(decl, f"{found.shown_name} is no .wasm file: leave `executor: wasm` out")
        in_worker = executor is ExecutorType.MULTIPROCESS
        if self._only_native:
            return (ExecutorType.WASM if is_wasm else ExecutorType.NATIVE), False
        if in_worker and not found.import_name:
            self._problem(decl, f"{found.shown_name} can not be found by a worker: define it at the top of a module")
        if in_worker and decl.thread:
            self._problem(decl, "`thread` is for native nodes: a worker is a process of its own")
        if decl.surroundings.said and not in_worker:
            self._problem(decl, "`python`, `env` and `cwd` are for nodes on the multiprocess executor")
        if decl.limits and (in_worker or not is_wasm):
            self._problem(decl, "`limits` are for nodes on the wasm executor")
        return executor, in_worker

    def _route(self, decl: NodeDecl, found: FoundType) -> ExecutorType:
        if found.guest_params is None:
            for routes in decl.routes:
                rule = routes.rule_for(found.shown_name) or routes.rule_for(found.import_name)
                if rule is not None:
                    return rule
        return self._pipeline.routes.executor_for(found.shown_name)

    def _ports(
        self, decl: NodeDecl, found: FoundType, params: Mapping[str, Json]
    ) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """(inputs, outputs), which may depend on the parameters."""
        if not found.signature.is_function and not found.signature.works:
            self._problem(decl, f"{found.shown_name} has neither process() nor produce(): see docs/python-nodes.md")
        try:
            inputs, outputs = found.signature.ports(params)
        except (Exception, SystemExit) as error:
            self._problem(decl, str(error) or repr(error))
            return {}, {}
        for side in (inputs, outputs):
            if not hasattr(side, "items"):
                self._problem(decl, f"{found.shown_name} has ports {side!r}: write them as {{'name': 'type'}}")
                continue
            for port, accepted in side.items():
                unknown = _split(accepted) - _TYPES - {"any"}
                if unknown:
                    self._problem(
                        decl, f"port {port!r} of {found.shown_name} has the type {accepted!r}; there is {_all_types()}"
                    )
        return inputs, outputs

    def _ask_node(self, decl: NodeDecl, found: FoundType, params: Mapping[str, Json]) -> None:
        """Let a node say what is wrong with the values: in its constructor (built-in ones) and in `check()`."""
        if found.guest_params is not None:
            return
        if found.import_name not in BUILTIN.values() and not hasattr(found.factory, "check"):
            return
        try:
            node = found.factory(**found.signature.accepted(params))
            if hasattr(node, "check"):
                node.check()
        except (Exception, SystemExit) as error:
            given = sorted({str(decl.param_where[name]) for name in decl.folders})  # values that came from elsewhere
            where = Where(", ".join(given)) if given else decl.where
            self._problems.append(Problem(where, f"node {decl.node_id!r}: {str(error) or repr(error)}"))

    # Edges

    def _plan_edge(self, edge: EdgeDecl) -> None:
        source = self._end(edge, edge.source)
        target = self._end(edge, edge.target)
        self._check_bounds(edge)
        if source is None or target is None:
            return
        source_port = self._port(edge, _of_side(edge.source, source.outputs, source.inputs), source.outputs, "output")
        target_port = self._port(edge, _of_side(edge.target, target.inputs, target.outputs), target.inputs, "input")
        if source_port is None or target_port is None:
            return
        self._check_types(edge, source, source_port, target, target_port)
        if self._join(PlannedEdge(edge, source, source_port, target, target_port)):
            source.edges_out.append(self._edges[-1])
            target.edges_in.append(self._edges[-1])

    def _plan_input(self, edge: EdgeDecl) -> None:
        target = self._end(edge, edge.target)
        self._check_bounds(edge)
        if not self._is_name(edge, edge.source) or target is None:
            return
        port = self._port(edge, edge.target, target.inputs, "input")
        if port is not None:
            outside = self._inputs.setdefault(edge.source.node_id, PlannedPort(edge.source.node_id))
            if self._join(PlannedEdge(edge, outside, "", target, port)):
                outside.edges.append(self._edges[-1])
                target.edges_in.append(self._edges[-1])
                if not accepted_types(outside):
                    others = ", ".join(str(other.decl.target) for other in outside.edges[:-1])
                    self._edge_problem(edge, f"takes {target.inputs[port]}, which {others} does not take")

    def _plan_output(self, edge: EdgeDecl) -> None:
        source = self._end(edge, edge.source)
        self._check_bounds(edge)
        if not self._is_name(edge, edge.target) or source is None:
            return
        port = self._port(edge, edge.source, source.outputs, "output")
        if port is None:
            return
        outside = PlannedPort(edge.target.node_id)
        if self._outputs.setdefault(outside.name, outside) is not outside:
            self._edge_problem(edge, f"there is an output {outside.name!r} already: join the two by a node")
        elif self._join(PlannedEdge(edge, source, port, outside, "")):
            outside.edges.append(self._edges[-1])
            source.edges_out.append(self._edges[-1])

    def _plan_recorder(self, edge_name: str, path: str) -> None:
        """A node of this process that gets all that is sent along an edge: one more edge out of the same port."""
        if self._problems:  # it may be of an edge that can not be planned
            return
        where = Where(f"--record {edge_name}={path}")
        try:
            edge = edge_named(self._edges, edge_name)
        except Validation as error:
            self._problems.append(Problem(where, error.message))
            return
        port = edge.name.partition(" -> ")[0]
        count = sum(name.startswith(f"record/{port}") for name in self._nodes)
        node_id = f"record/{port}{count + 1 if count else ''}"  # nobody else can write this name
        decl = NodeDecl(node_id, "recorder", {"path": path, "edge": edge.name}, ExecutorType.NATIVE, where=where)
        decl.param_where["path"], decl.folders["path"] = where, ""
        self._plan_node(decl)
        target = PortRef(node_id, "in")
        if isinstance(edge.source, PlannedPort):
            self._plan_input(EdgeDecl(PortRef(edge.source.name), target, where=where))
        else:
            self._plan_edge(EdgeDecl(PortRef(edge.source.node_id, edge.source_port), target, where=where))

    def _is_name(self, edge: EdgeDecl, ref: PortRef) -> bool:
        if ref.port is None and NAME.fullmatch(ref.node_id):
            return True
        self._edge_problem(edge, f"{str(ref)!r} is no name: letters, digits, _ and -, beginning with a letter")
        return False

    def _join(self, planned: PlannedEdge) -> bool:
        """Note an edge, if there is nothing against it."""
        edge = planned.decl
        if planned.shared and isinstance(edge.capacity, int) and edge.capacity > LARGEST_CAPACITY:
            text = f"capacity of an edge between processes is at most {LARGEST_CAPACITY}, not {edge.capacity}"
            self._edge_problem(edge, text)
        if any(planned.name == other.name for other in self._edges):
            self._edge_problem(edge, "this edge is there already")
            return False
        self._edges.append(planned)
        return True

    def _check_bounds(self, edge: EdgeDecl) -> None:
        for name, value in (("capacity", edge.capacity), ("max_bytes", edge.max_bytes)):
            if not isinstance(value, int) or value < 1:
                self._edge_problem(edge, f"{name} is a whole number of at least 1, not {value!r}")
        for name, seconds in (("timeout", edge.timeout_s), ("max_age", edge.max_age_s)):
            if seconds is not None and not _is_duration(seconds):
                self._edge_problem(edge, f"{name} is a number of seconds above 0, not {seconds!r}")
        feedback: object = edge.feedback
        if not isinstance(feedback, bool):
            self._edge_problem(edge, f"feedback is true or false, not {edge.feedback!r}")
        if not isinstance(edge.policy, str) or edge.policy not in POLICIES:
            self._edge_problem(edge, f"there is no policy {edge.policy!r}: {did_you_mean(str(edge.policy), POLICIES)}")
        elif edge.policy != "block" and edge.timeout_s is not None:
            self._edge_problem(edge, f"timeout is for edges that block: with {edge.policy} nobody waits for room")
        elif edge.policy == "latest" and edge.capacity != 1:
            self._edge_problem(edge, "policy latest keeps one datum: leave capacity out, or use drop_oldest")

    def _end(self, edge: EdgeDecl, ref: PortRef) -> PlannedNode | None:
        if ref.node_id not in self._nodes and ref.node_id not in self._pipeline.unreadable:
            self._edge_problem(edge, f"there is no node {ref.node_id!r}: {did_you_mean(ref.node_id, self._nodes)}")
        return self._nodes.get(ref.node_id)

    def _port(self, edge: EdgeDecl, ref: PortRef, ports: Mapping[str, str], side: str) -> str | None:
        if ref.port in ports:
            return ref.port
        if not ports:
            self._edge_problem(edge, f"node {ref.node_id!r} has no {side}s")
        elif ref.port is not None:
            self._edge_problem(
                edge, f"node {ref.node_id!r} has no {side} {ref.port!r}: {did_you_mean(ref.port, ports)}"
            )
        elif len(ports) > 1:
            self._edge_problem(
                edge, f"node {ref.node_id!r} has the {side}s {', '.join(ports)}: say which, as {ref.node_id}.PORT"
            )
        else:
            return next(iter(ports))
        return None

    def _check_types(
        self, edge: EdgeDecl, source: PlannedNode, source_port: str, target: PlannedNode, target_port: str
    ) -> None:
        gives, takes = _split(source.outputs[source_port]), _split(target.inputs[target_port])
        if "any" not in gives | takes and not gives & takes:
            self._edge_problem(
                edge,
                f"{source.node_id}.{source_port} gives {source.outputs[source_port]}, "
                f"but {target.node_id}.{target_port} takes {target.inputs[target_port]}",
            )

    # The whole

    def _unfed(self) -> Iterator[Problem]:
        """Inputs that nothing is connected to: their nodes would wait for ever, or run without."""
        for node in self._planned():
            fed = {edge.target_port for edge in node.edges_in}
            for port in node.inputs:
                if port not in fed:
                    yield Problem(node.decl.where, f"node {node.node_id!r}: nothing is connected to its input {port!r}")

    def _for_programs(self) -> Iterator[Problem]:
        """External inputs and outputs, of a pipeline that is to run by itself."""
        for edge in self._pipeline.inputs:
            name = edge.source.node_id
            text = f"only a program can send to it (`await run.send({name!r}, data)`: see docs/embedding.md)"
            yield Problem(edge.where, f"input {name!r}: {text}; or connect a source to {edge.target}")
        for edge in self._pipeline.outputs:
            name = edge.target.node_id
            text = f"only a program can receive from it (`await run.receive({name!r})`: see docs/embedding.md)"
            yield Problem(edge.where, f"output {name!r}: {text}; or connect {edge.source} to a sink")

    def _in_order(self) -> list[PlannedNode]:
        """The nodes with every edge pointing forward but for those of feedback; another cycle is a problem."""
        nodes = self._planned()
        waiting = {node: sum(edge.source in nodes for edge in _forward(node.edges_in)) for node in nodes}
        order = [node for node in nodes if not waiting[node]]
        for node in order:  # grows while it is walked
            for edge in _forward(node.edges_out):
                if isinstance(edge.target, PlannedPort):
                    continue
                waiting[edge.target] -= 1
                if not waiting[edge.target]:
                    order.append(edge.target)
        if len(order) < len(nodes):
            self._problems.append(self._cycle([node for node in nodes if node not in order]))
        return order

    @staticmethod
    def _cycle(nodes: list[PlannedNode]) -> Problem:
        """Walk backwards from a node that is on a cycle or behind one, until a node comes up again."""
        path = [nodes[0]]
        while True:
            edge = next(edge for edge in _forward(path[-1].edges_in) if edge.source in nodes)
            if edge.source in path:
                members = [*path[path.index(edge.source) :], edge.source][::-1]
                names = " -> ".join(node.node_id for node in members)
                remedy = "remove one of them, or say `feedback: true` at the one that leads back"
                return Problem(edge.decl.where, f"the edges form a cycle: {names}; {remedy}")
            assert isinstance(edge.source, PlannedNode)
            path.append(edge.source)

    def _check_cycles(self, cycles: list[Cycle]) -> None:
        if self._problems:  # an edge that is not there yet may be what closes a cycle, or feeds it
            return
        closing = {edge for cycle in cycles for edge in cycle.feedback}
        for edge in self._edges:
            if edge.decl.feedback and edge not in closing:
                self._edge_problem(edge.decl, "closes no cycle: leave `feedback` out")
        for cycle in cycles:
            if not cycle.feeding:
                self._problem(cycle.nodes[0].decl, f"nothing feeds the cycle of {cycle} from outside")

    def _planned(self) -> list[PlannedNode]:
        return [node for node in self._nodes.values() if node is not None]

    def _problem(self, decl: NodeDecl, text: str) -> None:
        self._problems.append(Problem(decl.where, f"node {decl.node_id!r}: {text}"))

    def _edge_problem(self, edge: EdgeDecl, text: str) -> None:
        self._problems.append(Problem(edge.where, f"edge {edge.source} -> {edge.target}: {text}"))


def _forward(edges: list[PlannedEdge]) -> list[PlannedEdge]:
    return [edge for edge in edges if not edge.decl.feedback]


def _of_side(ref: PortRef, ports: Mapping[str, str], other_side: Mapping[str, str]) -> PortRef:
    """In `a -> b.left -> c` the port is of the edge into b, and says nothing about the one out of it."""
    if ref.through and ref.port not in ports and ref.port in other_side:
        return PortRef(ref.node_id)
    return ref


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _split(accepted: str) -> set[str]:
    return {part.strip() for part in accepted.split("|")}


def _all_types() -> str:
    return ", ".join([*sorted(_TYPES), "any"])


def _start_of(pipeline: Pipeline) -> Where:
    return Where(pipeline.file, 1 if pipeline.file else 0)
