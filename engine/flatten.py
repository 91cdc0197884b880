"""Pipelines within pipelines: everything that is checked, placed and run is one flat graph.

A node whose type is another pipeline is replaced by that pipeline's nodes, under names like `outer/inner`, which nobody
can write. Its external inputs and outputs are its ports, its parameters are filled in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from penstock.engine.declarations import EdgeDecl, NodeDecl, PortRef
from penstock.engine.manifest import load
from penstock.engine.parameters import REQUIRED, Given, fill_in
from penstock.engine.pipeline import Pipeline
from penstock.engine.problems import PipelineInvalid, Problem, did_you_mean
from penstock.executors.router import Routes

__all__ = ["NAME", "flatten"]

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_MANIFESTS = (".yaml", ".yml")
_NO_NAME = "is no name: letters, digits, _ and -, beginning with a letter"
_OF_AN_EDGE = {"source", "target", "where", "feedback"}
_OF_A_PART = {"node_id", "node_type", "params", "executor", "where", "param_where", "folder", "folders", "routes"}


def flatten(pipeline: Pipeline) -> Pipeline:
    """The same graph without pipelines in it; what is wrong with them stands in its `problems`."""
    flat = Pipeline(pipeline.name, wait=pipeline.wait, max_growth=pipeline.max_growth)
    flat.file, flat.routes = pipeline.file, pipeline.routes
    values = _values(pipeline, pipeline.given)
    for name, parameter in pipeline.parameters.items():
        if values[name].value is REQUIRED:
            text = f"parameter {name!r} has no default: give it a value, as in --set {name}=VALUE"
            flat.problems.append(Problem(parameter.where, text))
    ports = _Scope(flat, pipeline, "", values, (pipeline.routes,), (_identity(pipeline),)).expand()
    flat.inputs = [edge for edges in ports.inputs.values() for edge in edges]
    flat.outputs = ports.outputs
    flat.problems = list(dict.fromkeys(flat.problems))  # a manifest that is used twice has its problems once
    return flat


@dataclass(slots=True)
class _Ports:
    """How a pipeline is connected from outside: edges whose inner end is a node of the flat graph.

    `used` are the inputs that something is connected to.
    """

    inputs: dict[str, list[EdgeDecl]] = field(default_factory=dict)
    outputs: list[EdgeDecl] = field(default_factory=list)
    used: set[str] = field(default_factory=set)


class _Scope:
    """One pipeline, on its way into the flat graph."""

    def __init__(
        self,
        flat: Pipeline,
        pipeline: Pipeline,
        prefix: str,
        values: Mapping[str, Given],
        routes: tuple[Routes, ...],
        within: tuple[str, ...],
    ) -> None:
        self._flat = flat
        self._pipeline = pipeline
        self._prefix = prefix
        self._values = values
        self._routes = routes
        self._within = within
        self._folder = os.path.dirname(pipeline.file)
        self._parts: dict[str, _Ports] = {}  # the nodes that are pipelines

    def expand(self) -> _Ports:
        """Add everything to the flat graph but what leads out of this pipeline."""
        flat, pipeline = self._flat, self._pipeline
        flat.problems += pipeline.problems
        flat.unreadable |= {self._prefix + name for name in pipeline.unreadable}
        for decl in pipeline.nodes:
            self._node(decl)
        for edge in pipeline.edges:
            flat.edges += self._edges(edge, self._sources(edge), self._targets(edge))
        ports = _Ports()
        for edge in pipeline.inputs:
            inner = self._edges(edge, [(edge.source, None)], self._targets(edge))
            ports.inputs.setdefault(edge.source.node_id, []).extend(inner)
        for edge in pipeline.outputs:
            ports.outputs += self._edges(edge, self._sources(edge), [(edge.target, None)])
        self._see_unfed()
        return ports

    # Nodes

    def _node(self, decl: NodeDecl) -> None:
        filled, problems = fill_in(decl, self._values, self._folder)
        self._flat.problems += problems
        if filled is None:
            self._flat.unreadable.add(self._prefix + decl.node_id)
            return
        inner = decl.node_type
        is_pipeline = isinstance(inner, Pipeline) or (isinstance(inner, str) and inner.endswith(_MANIFESTS))
        if not NAME.fullmatch(decl.node_id):
            self._problem(decl, _NO_NAME)
        elif not is_pipeline:
            node_id = self._prefix + decl.node_id
            self._flat.nodes.append(replace(filled, node_id=node_id, folder=self._folder, routes=self._routes))
        elif decl.node_id in self._parts or sum(other.node_id == decl.node_id for other in self._pipeline.nodes) > 1:
            self._problem(decl, "there is a node of this name already: names are unique")
        else:
            self._part(filled)

    def _part(self, decl: NodeDecl) -> None:
        """A node that is a pipeline."""
        self._flat.unreadable.add(self._prefix + decl.node_id)  # edges to it say nothing more, whatever is wrong
        if _says(decl, NodeDecl(decl.node_id, decl.node_type), _OF_A_PART):
            self._problem(decl, "is a pipeline: it has `params` and `executor`; say everything else at its nodes")
        inner = self._inner(decl)
        if inner is None:
            return
        identity = _identity(inner)
        if identity in self._within:
            chain = " -> ".join(os.path.basename(name) for name in (*self._within, identity))
            self._problem(decl, f"a pipeline can not contain itself: {chain}")
            return
        given = {
            name: Given(value, decl.param_where.get(name, decl.where), decl.folders.get(name, self._folder))
            for name, value in decl.params.items()
        }
        self._check_given(decl, inner, given)
        values = _values(inner, given)
        prefix = f"{self._prefix}{decl.node_id}/"
        around = self._routes if decl.executor is None else (Routes({"*": decl.executor}), *self._routes)
        scope = _Scope(self._flat, inner, prefix, values, (inner.routes, *around), (*self._within, identity))
        self._parts[decl.node_id] = scope.expand()

    def _inner(self, decl: NodeDecl) -> Pipeline | None:
        if isinstance(decl.node_type, Pipeline):
            return decl.node_type
        assert isinstance(decl.node_type, str)
        path = os.path.normpath(os.path.join(self._folder, decl.node_type))
        if not os.path.isfile(path):
            self._problem(decl, f"there is no manifest {decl.node_type!r}")
            return None
        try:
            return load(path)
        except PipelineInvalid as error:
            self._flat.problems += error.problems
            return None

    def _check_given(self, decl: NodeDecl, inner: Pipeline, given: Mapping[str, Given]) -> None:
        for name, value in given.items():
            if name not in inner.parameters:
                remedy = did_you_mean(name, inner.parameters)
                text = f"node {self._prefix + decl.node_id!r}: {inner.name} has no parameter {name!r}: {remedy}"
                self._flat.problems.append(Problem(value.where, text))
        for name, parameter in inner.parameters.items():
            if parameter.is_required and name not in given:
                self._problem(decl, f"{inner.name} needs the parameter {name!r}")

    # Edges

    def _edges(
        self,
        edge: EdgeDecl,
        sources: list[tuple[PortRef, EdgeDecl | None]],
        targets: list[tuple[PortRef, EdgeDecl | None]],
    ) -> list[EdgeDecl]:
        """The edges of the flat graph that one edge stands for.

        Where it says nothing of bounds and policy, the input or output of the inner pipeline that it leads to does.
        """
        edges = []
        for source, from_output in sources:
            for target, to_input in targets:
                said = next((e for e in (edge, to_input, from_output) if e is not None and _has_bounds(e)), edge)
                joined = replace(said, source=source, target=target, where=edge.where, feedback=edge.feedback)
                edges.append(joined)
        return edges

    def _sources(self, edge: EdgeDecl) -> list[tuple[PortRef, EdgeDecl | None]]:
        part = self._parts.get(edge.source.node_id)
        if part is None:
            return self._plain(edge, edge.source)
        outputs = {output.target.node_id: output for output in part.outputs}
        port = self._port(edge, edge.source, list(outputs), list(part.inputs), "output")
        return [] if port is None else [(outputs[port].source, outputs[port])]

    def _targets(self, edge: EdgeDecl) -> list[tuple[PortRef, EdgeDecl | None]]:
        part = self._parts.get(edge.target.node_id)
        if part is None:
            return self._plain(edge, edge.target)
        outputs = [output.target.node_id for output in part.outputs]
        port = self._port(edge, edge.target, list(part.inputs), outputs, "input")
        if port is None:
            return []
        part.used.add(port)
        return [(inner.target, inner) for inner in part.inputs[port]]

    def _plain(self, edge: EdgeDecl, ref: PortRef) -> list[tuple[PortRef, EdgeDecl | None]]:
        if "/" in ref.node_id:
            self._edge_problem(edge, f"{ref.node_id!r} is inside another pipeline: connect to an input or output of it")
            return []
        return [(replace(ref, node_id=self._prefix + ref.node_id), None)]

    def _port(self, edge: EdgeDecl, ref: PortRef, ports: list[str], others: list[str], side: str) -> str | None:
        name = None if ref.through and ref.port not in ports and ref.port in others else ref.port
        if name in ports:
            return name
        node = f"pipeline {ref.node_id!r}"
        if not ports:
            self._edge_problem(edge, f"{node} declares no {side}s")
        elif name is not None:
            self._edge_problem(edge, f"{node} has no {side} {name!r}: {did_you_mean(name, ports)}")
        elif len(ports) > 1:
            said = ", ".join(ports)
            self._edge_problem(edge, f"{node} has the {side}s {said}: say which, as {ref.node_id}.PORT")
        else:
            return ports[0]
        return None

    def _see_unfed(self) -> None:
        for decl in self._pipeline.nodes:
            part = self._parts.get(decl.node_id, _Ports())
            for name in part.inputs.keys() - part.used:
                self._problem(decl, f"nothing is connected to its input {name!r}")

    def _problem(self, decl: NodeDecl, text: str) -> None:
        self._flat.problems.append(Problem(decl.where, f"node {self._prefix + decl.node_id!r}: {text}"))

    def _edge_problem(self, edge: EdgeDecl, text: str) -> None:
        self._flat.problems.append(Problem(edge.where, f"edge {edge.source} -> {edge.target}: {text}"))


def _values(pipeline: Pipeline, given: Mapping[str, Given]) -> dict[str, Given]:
    """The parameters of a pipeline: those that are given, and the defaults of the others, which may be `REQUIRED`."""
    folder = os.path.dirname(pipeline.file)
    defaults = {name: Given(one.default, one.where, folder) for name, one in pipeline.parameters.items()}
    return defaults | {name: value for name, value in given.items() if name in pipeline.parameters}


def _has_bounds(edge: EdgeDecl) -> bool:
    return _says(edge, EdgeDecl(edge.source, edge.target), _OF_AN_EDGE)


def _says(decl: NodeDecl | EdgeDecl, silent: NodeDecl | EdgeDecl, but: set[str]) -> bool:
    """Whether it asks for something that one which says nothing does not, but for some fields."""
    return any(getattr(decl, f.name) != getattr(silent, f.name) for f in fields(decl) if f.name not in but)


def _identity(pipeline: Pipeline) -> str:
    return os.path.realpath(pipeline.file) if pipeline.file else f"{pipeline.name} ({id(pipeline):#x})"
