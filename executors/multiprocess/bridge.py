"""The multiprocess bridge: one worker process a node (executor-bridge-api.md L103-192)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

import trio

from penstock.executors.arguments import check_call, check_node, check_sendable
from penstock.executors.background import Background
from penstock.executors.contract import (
    BridgeClosed,
    BridgeMetrics,
    BridgeStats,
    ExecutorNotInitialized,
    ExecutorType,
    Internal,
    Json,
    NodeExecution,
    NodeStream,
    RuntimeData,
    ServiceError,
    Validation,
)
from penstock.executors.lifetime import ClosedByBlock
from penstock.executors.multiprocess.calls import Calls
from penstock.executors.multiprocess.launch import Launch, importable_types
from penstock.executors.multiprocess.messages import NodeSpec
from penstock.executors.multiprocess.stream import WorkerStream
from penstock.executors.multiprocess.supervisor import Supervisor, WorkerOptions
from penstock.executors.multiprocess.wiring import Party, Wiring
from penstock.executors.registry import NodeFactory

__all__ = ["MultiprocessExecutorBridge"]


class _Node:
    """A worker that is called."""

    def __init__(self, launch: Launch, node_type: str) -> None:
        wiring, node_id = launch.wiring, launch.node.node_id
        requests = wiring.link(f"{node_id} (calls)", wiring.engine, launch.party)
        answers = wiring.link(f"{node_id} (answers)", launch.party, wiring.engine)
        launch.inputs.append(requests.reader_spec(None))
        launch.outputs.append(answers.writer_spec(None))
        self.node_type = node_type
        self.ready = False
        self.party = launch.party
        self.supervisor = launch.supervisor()
        sender, receiver = wiring.sender(requests), wiring.receiver(answers)
        self.calls = Calls(node_id, wiring.bell, sender, receiver, answers.options.wait)
        self.task = Background(self._run, f"penstock worker {node_id}")

    async def _run(self) -> None:
        await self.supervisor.run()
        self.calls.fail(self.supervisor.failure or BridgeClosed())


class MultiprocessExecutorBridge(ClosedByBlock):
    """Runs each node in a worker process of its own, fed through shared memory.

    A node that raises fails its call, and its worker lives on. A worker that dies fails the calls in flight at once;
    then the node is uninitialized until `initialize_node` is called again.
    """

    executor_type = ExecutorType.MULTIPROCESS

    def __init__(
        self,
        session_id: str = "",
        *,
        nodes: Mapping[str, NodeFactory | str] | None = None,
        options: WorkerOptions | None = None,
    ) -> None:
        """Make a bridge; no process is started before the first `initialize_node`.

        Args:
            session_id: given to nodes, and the session of data that name no other.
            nodes: node types by short name, beside `package.module:Name` and entry points.
            options: how workers are run.

        Raises:
            Validation: a node type can not be found by another process.
        """
        self._session_id = session_id
        self._types = importable_types(nodes or {})
        self._options = options or WorkerOptions()
        self._wiring: Wiring | None = None
        self._nodes: dict[str, _Node] = {}
        self._streams: set[WorkerStream] = set()
        self._metrics = BridgeMetrics()
        self._closed = False

    async def initialize_node(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> None:
        """Start a worker for the node (see `ExecutorBridge`)."""
        self._check_open()
        check_node(node_id, node_type, params)
        if self._live(node_id) is not None or node_id in self._nodes:
            raise Validation(f"Node {node_id!r} is initialized already: clean it up first")
        node = self._start(node_id, node_type, params)
        try:
            await _until_ready(node.supervisor)
            if self._nodes.get(node_id) is not node:  # cleaned up, or the bridge closed, while it started
                raise ExecutorNotInitialized(self.executor_type)
            node.ready = True
        except BaseException:
            if self._nodes.get(node_id) is node:
                del self._nodes[node_id]
            await node.task.aclose()
            self._release(node.party)
            raise

    async def execute_node(
        self, node_id: str, node_type: str, input_data: RuntimeData, params: Mapping[str, Json]
    ) -> RuntimeData:
        """Give a datum to the node's worker and return its one answer (see `ExecutorBridge`)."""
        start = time.perf_counter_ns()
        self._check_open()
        check_call(node_id, input_data, params)
        node = self._live(node_id)
        if node is None:
            raise ExecutorNotInitialized(self.executor_type)
        if node.node_type != node_type:
            raise Validation(f"Node {node_id!r} is a {node.node_type}, not a {node_type}")
        answer = await node.calls.call(input_data, params)
        self._metrics.record_execution(node_id, time.perf_counter_ns() - start)
        return answer

    async def open_node(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> NodeStream:
        """A worker of its own for the node, as a stream of 0..n outputs for each input (see `NodeStream`)."""
        self._check_open()
        check_node(node_id, node_type, params)
        launch = self._launch(node_id, node_type, params)
        try:
            stream = WorkerStream(launch, self._streams.discard)
        except BaseException:
            self._release(launch.party)
            raise
        self._streams.add(stream)
        try:
            await _until_ready(stream.supervisor)
        except BaseException:
            await stream.aclose()
            raise
        return stream

    async def cleanup_node(self, node_id: str) -> None:
        """End the node's worker: SIGTERM, its own `cleanup`, SIGKILL after the grace period. An unknown id is fine.

        Raises:
            Internal: "Cleanup failed: ...", when the node's own `cleanup` raised; the worker is gone all the same.
        """
        node = self._nodes.pop(node_id, None)
        if node is None:
            await trio.lowlevel.checkpoint()
            return
        before = node.supervisor.failure
        try:
            await node.supervisor.stop()
        finally:
            await node.task.aclose()
            self._release(node.party)
        after = node.supervisor.failure
        if after is not None and after is not before and not isinstance(before, ServiceError):
            raise Internal(f"Cleanup failed: {after.message}")

    async def aclose(self) -> None:
        """End every worker and remove the shared memory. Idempotent."""
        self._closed = True
        try:
            async with trio.open_nursery() as nursery:
                for stream in list(self._streams):
                    nursery.start_soon(stream.aclose)
                for node_id in list(self._nodes):
                    nursery.start_soon(self._clean_up_quietly, node_id)
        finally:
            if self._wiring is not None:
                self._wiring.close()
                self._wiring = None

    def get_stats(self) -> BridgeStats:
        """A consistent snapshot of the counters."""
        return self._metrics.get_stats()

    def worker_pids(self, node_id: str) -> list[int]:
        """The process that runs a node, for those who watch it."""
        node = self._live(node_id)
        return [] if node is None else [node.supervisor.pid]

    async def _clean_up_quietly(self, node_id: str) -> None:
        with contextlib.suppress(Internal):  # the bridge is going: there is nobody left whose node it was
            await self.cleanup_node(node_id)

    def _start(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> _Node:
        launch = self._launch(node_id, node_type, params)
        try:
            node = self._nodes[node_id] = _Node(launch, node_type)
        except BaseException:
            self._release(launch.party)
            raise
        return node

    def _launch(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> Launch:
        check_sendable(node_id, params)
        if self._wiring is None:
            self._wiring = Wiring(f"MultiprocessExecutorBridge {self._session_id}", self._options.wait)
        node = NodeSpec(node_id, node_type, dict(params), self._session_id)
        return Launch(self._wiring, node, self._types, self._options)

    def _live(self, node_id: str) -> _Node | None:
        """The node's worker; one that has died is forgotten here."""
        node = self._nodes.get(node_id)
        if node is None or not node.ready:
            return None
        if not node.supervisor.alive:
            del self._nodes[node_id]
            self._release(node.party)
            return None
        return node

    def _release(self, party: Party) -> None:
        if self._wiring is not None:
            self._wiring.release(party)

    def _check_open(self) -> None:
        if self._closed:
            raise BridgeClosed


async def _until_ready(supervisor: Supervisor) -> None:
    try:
        await supervisor.wait_ready()
    except NodeExecution as error:
        raise NodeExecution(
            error.node_id,
            f"Initialization failed: {error.message}",
            kind=error.kind,
            location=error.location,
            details=error.details,
        ) from error
    await supervisor.start()
