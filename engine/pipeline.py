"""A pipeline as it is described, from Python or from a manifest; nothing is checked or started before it is opened."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Self

from penstock.engine.parameters import REQUIRED, Given, Parameter
from penstock.engine.problems import Problem, Where, did_you_mean
from penstock.executors.contract import ExecutorType, Json, Validation
from penstock.executors.registry import NodeFactory
from penstock.executors.router import Routes
from penstock.shm.patience import WaitMode

if TYPE_CHECKING:
    from penstock.engine.options import RunOptions
    from penstock.engine.plan import Plan
    from penstock.engine.running import Run
from penstock.engine.declarations import (
    DEFAULT_CAPACITY,
    DEFAULT_GROWTH,
    DEFAULT_MAX_BYTES,
    DeliveryDecl,
    EdgeDecl,
    NodeDecl,
    PortRef,
    SurroundingsDecl,
    parse_chain,
)

__all__ = [
    "Pipeline",
]


class Pipeline:
    """A graph of nodes.

    ```python
    pipeline = Pipeline("demo")
    pipeline.add("tone", "tone", {"frequency_hz": 440.0, "duration_s": 1.0})
    pipeline.add("out", "wav_sink", {"path": "tone.wav"}, executor="multiprocess")
    pipeline.connect("tone -> out")
    report = penstock.run(pipeline)
    ```
    """

    def __init__(
        self, name: str = "pipeline", *, wait: WaitMode = "adaptive", max_growth: int = DEFAULT_GROWTH
    ) -> None:
        """Begin an empty pipeline.

        Args:
            name: for reports.
            wait: how processes wait for each other: `adaptive` spins for some ten microseconds before it sleeps, while
                that pays; `sleep` never does; `spin` does for up to a millisecond at every wait.
            max_growth: how often an edge may double, where nodes would wait for each other for ever else; 0 forbids it.
        """
        self.name = name
        self.max_growth = max_growth
        self.wait: WaitMode = wait
        self.file = ""
        """The manifest that it comes from; relative paths of `Path` parameters start at its folder."""
        self.nodes: list[NodeDecl] = []
        self.edges: list[EdgeDecl] = []
        self.inputs: list[EdgeDecl] = []
        """External inputs: edges whose source is a name that the program sends to."""
        self.outputs: list[EdgeDecl] = []
        """External outputs: edges whose target is a name that the program receives from."""
        self.parameters: dict[str, Parameter] = {}
        self.given: dict[str, Given] = {}
        """Values of parameters that are not the default."""
        self.routes: Routes = Routes()
        self.problems: list[Problem] = []
        """What the manifest's reader has found already; reported with everything else."""
        self.unreadable: set[str] = set()
        """Nodes that the reader has reported: nothing more is said of them."""

    def add(
        self,
        node_id: str,
        node_type: str | NodeFactory | Pipeline,
        params: Mapping[str, Json] | None = None,
        *,
        executor: str | ExecutorType | None = None,
        thread: bool = False,
        init_timeout_s: float = 60.0,
        limits: Mapping[str, Json] | None = None,
        delivery: str | None = None,
        restart: Mapping[str, Json] | None = None,
        max_redeliveries: int | str | None = None,
        snapshot_every: int | None = None,
        on_error: str = "fail",
        timeout_s: float | None = None,
        replicas: int = 1,
        python: str | PathLike[str] | None = None,
        env: Mapping[str, Json] | None = None,
        cwd: str | PathLike[str] | None = None,
    ) -> Self:
        """Add a node.

        Args:
            node_id: its name.
            node_type: a short name (`penstock nodes` lists them), `package.module:Name`, the path of a .wasm file, or
                the class or function itself; or another pipeline, or the path of its manifest: its inputs and outputs
                are the ports, and its parameters the parameters.
            params: its parameters.
            executor: `native`, `multiprocess` or `wasm`; left out, its type decides (see `Routes`).
            thread: run a native node's synchronous code in a thread.
            init_timeout_s: how long a worker may take until the node is initialized.
            limits: of a wasm node, the fields of `WasmLimits`.
            delivery: what a crash of its worker means: `replay` (another one goes on exactly where it was; the default
                of nodes that are stateless, or have `snapshot` and `restore`), `fail` (the default of others), or
                `restart_fresh`.
            restart: how often and how soon: `max` (5, or "unlimited") within `window` (60 s), `backoff` (0.1 s) up to
                `max_backoff` (10 s).
            max_redeliveries: how often one datum may be in its hands when its worker dies: 3, or "unlimited".
            snapshot_every: inputs between two snapshots at most; half of what an edge holds, if left out.
            on_error: what becomes of a datum that the node fails on: `fail` (the run fails), `skip` (it is counted and
                goes no further), or `dead_letter` (likewise, and `RunOptions.on_dead_letter` gets it with its error).
            timeout_s: of one call of an async node or of one in a thread, without its waits for room; past that the
                node has failed.
            replicas: workers that share the data of a stateless node, each with an instance of it; order is kept.
            python: the interpreter of its worker, which needs numpy alone: a path, or a name on PATH.
            env: variables for its worker; with `"inherit": False` it gets no others.
            cwd: where its worker works.

        Raises:
            Validation: a name, a type or an executor is none.
        """
        where = _caller()
        is_type = isinstance(node_type, str | Pipeline) or callable(node_type)
        if not isinstance(node_id, str) or not is_type:
            raise Validation(f"a node has a name and a type: add({node_id!r}, {node_type!r}) has not")
        for given in (params, limits, restart, env):
            if not isinstance(given, Mapping | None):
                raise Validation(f"node {node_id!r}: parameters are a mapping from names to values, not {given!r}")
        self.nodes.append(
            NodeDecl(
                node_id,
                node_type,
                dict(params or {}),
                None if executor is None else executor_of(executor),
                thread,
                init_timeout_s,
                dict(limits or {}),
                DeliveryDecl(delivery, dict(restart or {}), max_redeliveries, snapshot_every),
                on_error,
                timeout_s,
                replicas,
                where,
                surroundings=SurroundingsDecl(
                    None if python is None else fspath(python), dict(env or {}), None if cwd is None else fspath(cwd)
                ),
            )
        )
        return self

    def connect(
        self,
        *steps: str,
        capacity: int | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        timeout_s: float | None = None,
        policy: str = "block",
        max_age_s: float | None = None,
        feedback: bool = False,
    ) -> Self:
        """Join nodes by edges: `connect("a -> b.port -> c")`, or `connect("a", "b.port", "c")`.

        Args:
            steps: nodes in the order of the stream; a port is only needed where a node has several.
            capacity: data on each edge that were sent and are not done with; 64, or 1 where the policy is `latest`.
            max_bytes: likewise, bytes; a larger datum passes alone.
            timeout_s: how long a node may wait for room, before the run fails with `BackpressureTimeout`.
            policy: what happens when there is no room: `block` (wait), `drop_oldest`, `drop_newest`, `latest`, which
                keeps nothing but the newest datum, or `error`: the run fails. The report counts what was dropped.
            max_age_s: a datum that was sent longer ago is dropped, and counted, when its node would take it.
            feedback: these edges lead back and close a cycle, which no other edge may.

        Raises:
            Validation: these are no steps.
        """
        where = _caller()
        if not steps:
            raise Validation('connect() needs nodes, as in connect("a -> b")')
        bounds = (_capacity_of(policy, capacity), max_bytes, timeout_s, policy, max_age_s, where)
        for source, target in parse_chain(" -> ".join(map(str, steps))):
            self.edges.append(EdgeDecl(source, target, *bounds, feedback))
        return self

    def input(
        self,
        name: str,
        *targets: str,
        capacity: int | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        timeout_s: float | None = None,
        policy: str = "block",
        max_age_s: float | None = None,
    ) -> Self:
        """Let the program feed the pipeline: `input("mic", "asr.in")`, then `await run.send("mic", data)`.

        Args:
            name: of the external input.
            targets: where its data go: `node` or `node.port`; to several, each gets everything.
            capacity: of each edge to them, as `connect`.
            max_bytes: likewise.
            timeout_s: likewise; it is told to who sends, and the run goes on.
            policy: likewise.
            max_age_s: likewise.

        Raises:
            Validation: there is no target.
        """
        where = _caller()
        if not isinstance(name, str) or not targets:
            raise Validation('input() needs a name and where its data go, as in input("mic", "asr.in")')
        bounds = (_capacity_of(policy, capacity), max_bytes, timeout_s, policy, max_age_s, where)
        self.inputs += [EdgeDecl(PortRef(name), PortRef.parse(str(target)), *bounds) for target in targets]
        return self

    def output(
        self,
        name: str,
        source: str,
        *,
        capacity: int | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        timeout_s: float | None = None,
        policy: str = "block",
        max_age_s: float | None = None,
    ) -> Self:
        """Let the program read from the pipeline: `output("text", "asr.out")`, then `await run.receive("text")`.

        Args:
            name: of the external output.
            source: where its data come from: `node` or `node.port`.
            capacity: of the edge, as `connect`.
            max_bytes: likewise.
            timeout_s: likewise.
            policy: likewise.
            max_age_s: likewise.

        Raises:
            Validation: there is no source.
        """
        where = _caller()
        if not isinstance(name, str) or not isinstance(source, str):
            raise Validation('output() needs a name and where its data come from, as in output("text", "asr.out")')
        bounds = (_capacity_of(policy, capacity), max_bytes, timeout_s, policy, max_age_s, where)
        self.outputs.append(EdgeDecl(PortRef.parse(source), PortRef(name), *bounds))
        return self

    def route(self, node_type: str, executor: str | ExecutorType) -> Self:
        """Say where nodes of a type run that do not say so themselves: an exact name, or the first pattern that fits.

        Args:
            node_type: as it is given to `add`, or `package.module:Name`; with `*`, `?` or `[` in it a pattern.
            executor: `native` or `multiprocess`.

        Raises:
            Validation: there is no such executor.
        """
        self.routes = self.routes.with_rule(node_type, executor_of(executor))
        return self

    def set(self, node_id: str, name: str, value: Any) -> Self:
        """Give one parameter of a node another value.

        Raises:
            KeyError: there is no such node.
        """
        for node in self.nodes:
            if node.node_id == node_id:
                node.params[name] = value
                node.param_where[name] = Where(f"--set {node_id}.{name}")
                node.folders[name] = ""
                return self
        raise KeyError(node_id)

    def parameter(self, name: str, default: Json = REQUIRED) -> Self:
        """Declare a parameter of the whole pipeline, which its nodes use as `"${name}"`.

        A pipeline that is a node of another gets it as any node does.

        Args:
            name: of the parameter.
            default: its value unless another is given; left out, one has to be given.

        Raises:
            Validation: this is no name.
        """
        if not isinstance(name, str) or not name.isidentifier():
            raise Validation(f"a parameter has a name, as in parameter('path'), and not {name!r}")
        self.parameters[name] = Parameter(default, _caller())
        return self

    def give(self, name: str, value: Any) -> Self:
        """Give a parameter of the whole pipeline a value.

        Raises:
            KeyError: there is no such parameter.
        """
        if name not in self.parameters:
            raise KeyError(name)
        self.given[name] = Given(value, Where(f"--set {name}"), "")
        return self

    def check(self, *, only_native: bool = False) -> Plan:
        """See that it can run, without starting anything.

        Args:
            only_native: place every node in this process, for the debugger.

        Raises:
            PipelineInvalid: with all the problems there are.
        """
        from penstock.engine.check import check

        return check(self, only_native=only_native)

    def open(self, options: RunOptions | None = None) -> AbstractAsyncContextManager[Run]:
        """`async with pipeline.open() as run:` checks it, starts it, and ends it when the block is left."""
        from penstock.engine.opening import open_run

        return open_run(self, options)


def executor_of(name: str | ExecutorType) -> ExecutorType:
    """The executor of a name as it stands in manifests.

    Raises:
        Validation: there is none.
    """
    if isinstance(name, ExecutorType):
        return name
    names = {executor.value.lower(): executor for executor in ExecutorType}
    if not isinstance(name, str) or name not in names:
        raise Validation(f"there is no executor {name!r}: {did_you_mean(str(name), names)}")
    return names[name]


def _capacity_of(policy: str, capacity: int | None) -> int:
    if capacity is not None:
        return capacity
    return 1 if policy == "latest" else DEFAULT_CAPACITY


def _caller() -> Where:
    frame = sys._getframe(2)
    return Where(frame.f_code.co_filename, frame.f_lineno)
