"""Pipelines from YAML. What is wrong is collected with its line, and reported together with the check's own problems.

```yaml
penstock: 1                 # version of this format
name: demo
nodes:
  tone: {type: tone, params: {frequency_hz: 440, duration_s: 1}}
  out:  {type: wav_sink, executor: multiprocess, params: {path: tone.wav}}
  part: {type: ./part.yaml, params: {level: -3}}    # another pipeline: its inputs and outputs are the ports
edges:
  - tone -> out
  - {from: tone, to: out, capacity: 8, max_bytes: 1000000, timeout: 5}
  - {from: tone, to: meter, policy: latest}     # or drop_oldest, drop_newest, error; block is the default
  - {from: tone, to: asr, max_age: 0.5}         # what waited for longer is dropped
  - {from: meter, to: tone.hint, feedback: true}   # leads back: no other edge may close a cycle
inputs:                     # optional: what the program sends (`run.send`); a pipeline with it is run by a program
  mic: asr.in               # or a list, or {to: asr.in, capacity: 8}, with the keys of an edge
outputs:
  text: asr.out             # optional: what it receives (`run.receive`); or {from: asr.out, capacity: 8}
parameters:                 # optional: of the whole pipeline; its nodes use them as "${level}"
  level: {default: -12}     # or {}: it has to be given
max_growth: 8               # optional: how often an edge may double, where nodes would wait for each other
wait: adaptive              # optional: or sleep, spin (how processes wait for each other)
executors:                  # optional: where types run that do not say so themselves
  "my.models:*": multiprocess
```
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from penstock.engine.declarations import DeliveryDecl, EdgeDecl, NodeDecl, PortRef, SurroundingsDecl, parse_chain
from penstock.engine.parameters import REQUIRED, Parameter
from penstock.engine.pipeline import Pipeline, executor_of
from penstock.engine.problems import PipelineInvalid, Problem, Where, did_you_mean
from penstock.engine.schema import EDGE, INPUT, MANIFEST, NODE, OUTPUT, PARAMETER
from penstock.executors.contract import ExecutorType, Validation
from penstock.executors.router import Routes
from penstock.shm.patience import WAIT_MODES

__all__ = ["load"]


def load(path: str | os.PathLike[str]) -> Pipeline:
    """The pipeline of a manifest. Problems of its contents are found here and reported when it is checked.

    Raises:
        PipelineInvalid: the file can not be read, or is no YAML.
    """
    file = os.fspath(path)
    return _Reader(file).read(_parse(file))


def _parse(file: str) -> Any:
    yaml = YAML(typ="rt")  # keeps lines, refuses duplicate keys, and builds nothing but plain data
    try:
        with open(file, encoding="utf-8") as stream:
            return yaml.load(stream)
    except OSError as error:
        raise PipelineInvalid([Problem(Where(file), f"the manifest can not be read: {error.strerror}")]) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Where(file, mark.line + 1 if mark is not None else 0)
        text = str(error.problem or error.context or "this is no YAML").strip()
        if text.startswith("found duplicate key"):
            text = text.split(" with value", 1)[0].replace("found duplicate key", "there are two of the name")
        raise PipelineInvalid([Problem(where, text)]) from None
    except (YAMLError, UnicodeDecodeError, ValueError) as error:
        raise PipelineInvalid([Problem(Where(file), f"this is no YAML: {error}")]) from None


def _plain(value: Any) -> Any:
    """Numbers and texts of Python's own: the parser's remember how they were written, and nobody else knows them."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, ScalarBoolean):
        return bool(value)
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


class _Reader:
    """Turns parsed YAML into a `Pipeline`, noting what does not fit."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._pipeline = Pipeline(os.path.splitext(os.path.basename(file))[0])
        self._pipeline.file = os.path.abspath(file)

    def read(self, document: Any) -> Pipeline:
        if not isinstance(document, CommentedMap):
            raise PipelineInvalid(
                [Problem(Where(self._file, 1), "a manifest is a mapping with the keys `nodes` and `edges`")]
            )
        self._check_keys(document, MANIFEST, "a manifest")
        version = document.get("penstock", 1)
        if version != 1 or isinstance(version, bool):
            self._problem(document, "penstock", f"this penstock reads manifests of version 1, not {version!r}")
        self._pipeline.name = self._typed(document, "name", str, self._pipeline.name, "a text")
        wait = document.get("wait", "adaptive")
        if wait in WAIT_MODES:
            self._pipeline.wait = wait
        else:
            self._problem(document, "wait", f"there is no way to wait {wait!r}: {did_you_mean(str(wait), WAIT_MODES)}")
        growth = self._pipeline.max_growth
        self._pipeline.max_growth = self._typed(document, "max_growth", int, growth, "a whole number")
        for key, kind, shape in (("nodes", CommentedMap, "a mapping"), ("edges", CommentedSeq, "a list")):
            if document.get(key) is not None and not isinstance(document[key], kind):
                self._problem(document, key, f"`{key}` is {shape}")
        nodes, edges = document.get("nodes"), document.get("edges")
        if isinstance(nodes, CommentedMap):
            for node_id in nodes:
                self._node(nodes, node_id)
        if isinstance(edges, CommentedSeq):
            for index in range(len(edges)):
                self._edge(edges, index)
        for name in self._mapping(document, "inputs"):
            self._input(document["inputs"], name)
        for name in self._mapping(document, "outputs"):
            self._output(document["outputs"], name)
        for name in self._mapping(document, "parameters"):
            self._parameter(document["parameters"], name)
        self._routes(document)
        return self._pipeline

    def _node(self, nodes: CommentedMap, node_id: Any) -> None:
        said, where = nodes[node_id], self._where(nodes, node_id)
        if isinstance(said, CommentedMap):
            self._check_keys(said, NODE, f"node {str(node_id)!r}")
        if not isinstance(said, CommentedMap) or not isinstance(said.get("type"), str):
            text = f"node {str(node_id)!r}: needs a `type`, as in {{type: wav_source}}"
            self._pipeline.problems.append(Problem(where, text))
            self._pipeline.unreadable.add(str(node_id))
            return
        params = self._mapping(said, "params")
        self._pipeline.nodes.append(
            NodeDecl(
                str(node_id),
                said["type"],
                {str(name): _plain(value) for name, value in params.items()},
                self._executor(said, "executor"),
                bool(self._typed(said, "thread", bool, False, "true or false")),
                float(self._typed(said, "init_timeout", (int, float), 60.0, "a number of seconds")),
                {str(name): _plain(value) for name, value in self._mapping(said, "limits").items()},
                DeliveryDecl(
                    self._typed(said, "delivery", str, None, "the name of one"),
                    {str(name): _plain(value) for name, value in self._mapping(said, "restart").items()},
                    self._typed(said, "max_redeliveries", (int, str), None, "a whole number, or unlimited"),
                    self._typed(said, "snapshot_every", int, None, "a whole number of data"),
                ),
                self._typed(said, "on_error", str, "fail", "the name of one"),
                self._typed(said, "timeout", (int, float), None, "a number of seconds"),
                self._typed(said, "replicas", int, 1, "a whole number of workers"),
                where,
                {str(name): self._where(params, name) for name in params},
                SurroundingsDecl(
                    self._typed(said, "python", str, None, "the path of an interpreter, or its name"),
                    {str(name): _plain(value) for name, value in self._mapping(said, "env").items()},
                    self._typed(said, "cwd", str, None, "the path of a folder"),
                ),
            )
        )

    def _edge(self, edges: CommentedSeq, index: int) -> None:
        said = edges[index]
        where = Where(self._file, edges.lc.item(index)[0] + 1)
        if isinstance(said, str):
            try:
                chain = parse_chain(said)
            except Validation as error:
                self._pipeline.problems.append(Problem(where, error.message))
                return
            self._pipeline.edges += [EdgeDecl(source, target, where=where) for source, target in chain]
        elif isinstance(said, CommentedMap) and isinstance(said.get("from"), str) and isinstance(said.get("to"), str):
            self._check_keys(said, EDGE, "an edge")
            edge = EdgeDecl(PortRef.parse(said["from"]), PortRef.parse(said["to"]), where=where)
            edge.feedback = self._typed(said, "feedback", bool, edge.feedback, "true or false")
            self._pipeline.edges.append(self._bounded(edge, said))
        else:
            text = "an edge is `node -> node`, or {from: node, to: node, capacity: 8}"
            self._pipeline.problems.append(Problem(where, text))

    def _input(self, ports: CommentedMap, name: Any) -> None:
        said, where = ports[name], self._where(ports, name)
        targets = said.get("to") if isinstance(said, CommentedMap) else said
        targets = targets if isinstance(targets, list) else [targets]
        if not targets or not all(isinstance(target, str) for target in targets):
            self._problem(ports, name, f"input {str(name)!r}: say where its data go, as in `{name}: node.port`")
            return
        edges = [EdgeDecl(PortRef(str(name)), PortRef.parse(target), where=where) for target in targets]
        self._pipeline.inputs += [self._external(edge, said, INPUT, f"input {str(name)!r}") for edge in edges]

    def _output(self, ports: CommentedMap, name: Any) -> None:
        said, where = ports[name], self._where(ports, name)
        source = said.get("from") if isinstance(said, CommentedMap) else said
        if not isinstance(source, str):
            self._problem(ports, name, f"output {str(name)!r}: say where its data come from, as in `{name}: node.port`")
            return
        edge = EdgeDecl(PortRef.parse(source), PortRef(str(name)), where=where)
        self._pipeline.outputs.append(self._external(edge, said, OUTPUT, f"output {str(name)!r}"))

    def _external(self, edge: EdgeDecl, said: Any, keys: Collection[str], what: str) -> EdgeDecl:
        if not isinstance(said, CommentedMap):
            return edge
        self._check_keys(said, keys, what)
        return self._bounded(edge, said)

    def _bounded(self, edge: EdgeDecl, said: CommentedMap) -> EdgeDecl:
        """An edge with the bounds that its mapping asks for."""
        edge.capacity = self._typed(said, "capacity", int, edge.capacity, "a whole number of data")
        edge.max_bytes = self._typed(said, "max_bytes", int, edge.max_bytes, "a whole number of bytes")
        edge.timeout_s = self._typed(said, "timeout", (int, float), None, "a number of seconds")
        edge.max_age_s = self._typed(said, "max_age", (int, float), None, "a number of seconds")
        edge.policy = self._typed(said, "policy", str, edge.policy, "the name of one")
        if edge.policy == "latest" and "capacity" not in said:
            edge.capacity = 1
        return edge

    def _parameter(self, parameters: CommentedMap, name: Any) -> None:
        said, where = parameters[name], self._where(parameters, name)
        if not isinstance(said, CommentedMap | None) or not str(name).isidentifier():
            text = f"parameter {str(name)!r}: a name with {{default: VALUE}}, or with {{}} if it has to be given"
            self._pipeline.problems.append(Problem(where, text))
            return
        said = CommentedMap() if said is None else said
        self._check_keys(said, PARAMETER, f"parameter {str(name)!r}")
        default = _plain(said["default"]) if "default" in said else REQUIRED
        self._pipeline.parameters[str(name)] = Parameter(default, where)

    def _routes(self, document: CommentedMap) -> None:
        said = self._mapping(document, "executors")
        rules = {str(name): executor for name in said if (executor := self._executor(said, name)) is not None}
        self._pipeline.routes = Routes(rules)

    def _executor(self, said: CommentedMap, key: str) -> ExecutorType | None:
        if said.get(key) is None:
            return None
        try:
            return executor_of(said[key])
        except Validation as error:
            self._problem(said, key, error.message)
            return None

    def _mapping(self, said: CommentedMap, key: str) -> CommentedMap:
        found = said.get(key)
        if found is None:
            return CommentedMap()
        if not isinstance(found, CommentedMap):
            self._problem(said, key, f"`{key}` is a mapping, not {found!r}")
            return CommentedMap()
        return found

    def _typed(self, said: CommentedMap, key: str, kind: Any, default: Any, shape: str) -> Any:
        value = _plain(said.get(key))
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self._problem(said, key, f"`{key}` is {shape}, not {value!r}")
            return default
        return value

    def _check_keys(self, said: Mapping[Any, Any], known: Collection[str], what: str) -> None:
        for key in said:
            if key not in known:
                self._problem(said, key, f"{what} has no key {str(key)!r}: {did_you_mean(str(key), known)}")

    def _problem(self, said: Any, key: Any, text: str) -> None:
        self._pipeline.problems.append(Problem(self._where(said, key), text))

    def _where(self, said: Any, key: Any) -> Where:
        try:
            return Where(self._file, said.lc.key(key)[0] + 1)
        except (AttributeError, KeyError, TypeError):
            return Where(self._file)
