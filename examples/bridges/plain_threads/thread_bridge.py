"""An executor bridge and a DataBridge without any event loop: plain methods, called from whatever thread."""

from __future__ import annotations

import contextlib
import importlib
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from penstock.executors.contract import (
    BackpressureTimeout,
    BridgeClosed,
    BridgeMetrics,
    BridgeStats,
    ConversionError,
    ConversionFailed,
    ExecutorType,
    Internal,
    NodeContext,
    NodeExecution,
    RuntimeData,
    Validation,
)

__all__ = ["ThreadBridge", "ThreadDataBridge"]


class _Node:
    def __init__(self, factory: Any, ctx: NodeContext) -> None:
        self.node, self.ctx, self.params = factory(), ctx, dict(ctx.params)
        self.lock = threading.Lock()
        if hasattr(self.node, "initialize"):
            self.node.initialize(ctx)

    def end(self) -> None:
        """Give back what it holds, after the call that it works on; it is cleaned up whatever it says to that."""
        with self.lock, contextlib.suppress(Exception):
            if hasattr(self.node, "cleanup"):
                self.node.cleanup()


class ThreadBridge:
    """Runs a node in the thread of its caller; one call at a time for each node."""

    executor_type = ExecutorType.NATIVE

    def __init__(self, session_id: str, nodes: Mapping[str, str]) -> None:
        self._session_id = session_id
        self._types = dict(nodes)
        self._nodes: dict[str, _Node] = {}
        self._lock = threading.Lock()
        self._metrics = BridgeMetrics()
        self._closed = False

    def initialize_node(self, node_id: str, node_type: str, params: Mapping[str, Any]) -> None:
        self._check(node_id, node_type)
        with self._lock:
            if node_id in self._nodes:
                raise Validation(f"node {node_id!r} is initialized already")
            self._nodes[node_id] = self._make(node_id, node_type, params)

    def execute_node(
        self, node_id: str, node_type: str, input_data: RuntimeData, params: Mapping[str, Any]
    ) -> RuntimeData:
        start = time.perf_counter_ns()
        self._check(node_id, node_type)
        with self._lock:
            node = self._nodes.get(node_id)
            if node is None:
                node = self._nodes[node_id] = self._make(node_id, node_type, {})
        with node.lock:
            node.ctx.params = {**node.params, **params}
            try:
                answer = node.node.process(replace(input_data))
            except Exception as error:
                raise NodeExecution(node_id, str(error)) from error
        self._metrics.record_execution(node_id, time.perf_counter_ns() - start)
        return answer  # type: ignore[no-any-return]

    def cleanup_node(self, node_id: str) -> None:
        with self._lock:
            node = self._nodes.pop(node_id, None)
        if node is not None:
            node.end()

    def close(self) -> None:
        self._closed = True
        for node_id in list(self._nodes):
            self.cleanup_node(node_id)

    def get_stats(self) -> BridgeStats:
        return self._metrics.get_stats()

    def _make(self, node_id: str, node_type: str, params: Mapping[str, Any]) -> _Node:
        module, _, name = self._types[node_type].partition(":")
        try:
            factory = getattr(importlib.import_module(module), name)
            return _Node(factory, NodeContext(node_id, node_type, dict(params), self._session_id))
        except Exception as error:
            raise NodeExecution(node_id, f"Initialization failed: {error}") from error

    def _check(self, node_id: str, node_type: str) -> None:
        if self._closed:
            raise BridgeClosed
        if not node_id:
            raise Validation("a node's id is not empty")
        if node_type not in self._types:
            raise Validation(f"Unknown node type: {node_type}")


class ThreadDataBridge:
    """One condition variable: tickets keep the turn of those who wait, a slot is taken before the conversion."""

    def __init__(self, source: Any, target: Any, converter: Any, capacity: int, timeout: float | None) -> None:
        if capacity < 1:
            raise Validation(f"a capacity is at least 1, not {capacity}")
        self._source, self._target, self._converter = source, target, converter
        self._free, self._timeout = capacity, timeout
        self._waiting: deque[object] = deque()
        self._buffer: deque[RuntimeData] = deque()
        self._pending = 0
        self._changed = threading.Condition()
        self._order = threading.Lock()
        self._metrics = BridgeMetrics()
        self._closed = False

    def transfer(self, data: RuntimeData) -> RuntimeData:
        if self._closed:
            raise BridgeClosed
        return self._convert(data)

    def _convert(self, data: RuntimeData) -> RuntimeData:
        start, size = time.perf_counter_ns(), data.nbytes
        pair = {self._source.executor_type, self._target.executor_type}
        if ExecutorType.WASM in pair:
            raise Internal("Unsupported executor combination")
        if len(pair) > 1:
            try:
                data = self._converter.from_ipc(self._converter.to_ipc(data))
            except ConversionError as error:
                raise ConversionFailed(error) from error
        self._metrics.record_transfer(size, time.perf_counter_ns() - start)
        return data

    def transfer_with_backpressure(self, data: RuntimeData) -> RuntimeData:
        self._reserve()
        pushed = False
        try:
            with self._order:
                converted = self._convert(data)
                with self._changed:
                    self._buffer.append(converted)
                    pushed = True
            return converted
        finally:
            with self._changed:
                self._pending -= 1
                self._free += not pushed
                self._changed.notify_all()

    def _reserve(self) -> None:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                mine = self._changed.wait_for(
                    lambda: self._closed or (self._free > 0 and self._waiting[0] is ticket), self._timeout
                )
                if self._closed:
                    raise BridgeClosed
                if not mine:
                    raise BackpressureTimeout(self._timeout or 0.0)
                self._free -= 1
                self._pending += 1
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def receive(self) -> RuntimeData:
        with self._changed:
            self._changed.wait_for(lambda: self._buffer or (self._closed and not self._pending))
            if not self._buffer:
                raise BridgeClosed
            self._free += 1
            self._changed.notify_all()
            return self._buffer.popleft()

    def __iter__(self) -> Iterator[RuntimeData]:
        while True:
            try:
                datum = self.receive()
            except BridgeClosed:
                return
            yield datum

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def get_stats(self) -> BridgeStats:
        return self._metrics.get_stats()
