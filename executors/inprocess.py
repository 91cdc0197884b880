"""What the bridges to nodes in this process share: native and wasm."""

from __future__ import annotations

import time
from collections.abc import Mapping

import trio

from penstock.executors.arguments import check_call, check_node
from penstock.executors.contract import (
    BridgeClosed,
    BridgeMetrics,
    BridgeStats,
    ExecutorNotInitialized,
    ExecutorType,
    Json,
    NodeContext,
    NodeStream,
    RuntimeData,
    Validation,
)
from penstock.executors.host import exactly_one
from penstock.executors.inprocess_stream import InProcessStream
from penstock.executors.lifetime import ClosedByBlock
from penstock.executors.local import LocalNode

__all__ = ["InProcessBridge", "Slot"]


class Slot:
    """A node, from the moment somebody asks for it; its lock is held while it initializes and while it works."""

    def __init__(self, node: LocalNode, node_type: str) -> None:
        self.node = node
        self.node_type = node_type
        self.lock = trio.Lock()
        self.ready = False


class InProcessBridge(ClosedByBlock):
    """Nodes in this process, driven by trio. Calls to one node run one at a time, those to different nodes overlap."""

    executor_type: ExecutorType

    def __init__(self, session_id: str | None = None) -> None:
        self._session_id = session_id
        self._nodes: dict[str, Slot] = {}
        self._streams: set[InProcessStream] = set()
        self._metrics = BridgeMetrics()
        self._closed = False

    async def initialize_node(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> None:
        """Build and initialize a node (see `ExecutorBridge`)."""
        self._check_open()
        check_node(node_id, node_type, params)
        if node_id in self._nodes:
            raise Validation(f"Node {node_id!r} is initialized already: clean it up first")
        slot = self._nodes[node_id] = Slot(self._build(node_id, node_type, params), node_type)
        async with slot.lock:
            await self._initialize(node_id, slot)

    async def execute_node(
        self, node_id: str, node_type: str, input_data: RuntimeData, params: Mapping[str, Json]
    ) -> RuntimeData:
        """Give a datum to a node and return its one answer (see `ExecutorBridge`)."""
        start = time.perf_counter_ns()
        self._check_open()
        check_call(node_id, input_data, params)
        slot = self._nodes.get(node_id)
        if slot is None:
            check_node(node_id, node_type, params)
            slot = self._missing(node_id, node_type)
        elif slot.node_type != node_type:
            self._check_type(node_type)
            raise Validation(f"Node {node_id!r} is a {slot.node_type}, not a {node_type}")
        answers: list[RuntimeData] = []

        async def collect(_: str, data: RuntimeData) -> None:
            answers.append(data)

        async with slot.lock:
            if not slot.ready:
                await self._initialize(node_id, slot)
            await slot.node.process(input_data, collect, params=params)
        answer = exactly_one(node_id, answers)
        self._metrics.record_execution(node_id, time.perf_counter_ns() - start)
        return answer

    async def _initialize(self, node_id: str, slot: Slot) -> None:
        try:
            if self._nodes.get(node_id) is not slot:  # whoever came first failed, or it was cleaned up meanwhile
                raise ExecutorNotInitialized(self.executor_type)
            await slot.node.initialize()
            slot.ready = True
        except BaseException:
            if self._nodes.get(node_id) is slot:
                del self._nodes[node_id]
            raise

    async def open_node(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> NodeStream:
        """The node as a stream of 0..n outputs for each input (see `NodeStream`)."""
        self._check_open()
        check_node(node_id, node_type, params)
        node = self._build(node_id, node_type, params)
        await node.initialize()
        stream = InProcessStream(node, self._streams.discard)
        self._streams.add(stream)
        return stream

    async def cleanup_node(self, node_id: str) -> None:
        """Clean a node up; an unknown id is fine."""
        slot = self._nodes.pop(node_id, None)
        if slot is None:
            await trio.lowlevel.checkpoint()
        elif slot.ready:
            await slot.node.cleanup()

    async def aclose(self) -> None:
        """Clean up every node and end every stream, also when the caller is cancelled. Idempotent."""
        self._closed = True
        errors: list[Exception] = []
        with trio.CancelScope(shield=True):
            for stream in list(self._streams):
                await stream.aclose()
            for node_id in list(self._nodes):
                try:
                    await self.cleanup_node(node_id)
                except Exception as error:
                    errors.append(error)
        if errors:
            raise errors[0]

    def get_stats(self) -> BridgeStats:
        """A consistent snapshot of the counters."""
        return self._metrics.get_stats()

    def _build(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> LocalNode:
        raise NotImplementedError

    def _missing(self, node_id: str, node_type: str) -> Slot:
        """The node that `execute_node` wants is not there: raise, or make it."""
        raise NotImplementedError

    def _check_type(self, node_type: str) -> None:
        """Raise `Validation` for an unknown type."""

    def _check_open(self) -> None:
        if self._closed:
            raise BridgeClosed

    def _context(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> NodeContext:
        return NodeContext(node_id, node_type, dict(params), self._session_id)
