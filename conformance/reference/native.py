"""Nodes in this process."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping
from typing import Any

import trio

from penstock.conformance.reference.host import Host, find
from penstock.executors.contract import (
    BridgeClosed,
    BridgeMetrics,
    BridgeStats,
    ExecutorType,
    Json,
    NodeContext,
    NodeExecution,
    RuntimeData,
    ServiceError,
    Validation,
)

__all__ = ["ReferenceNative", "StandIn", "checked"]


def checked(node_id: object, params: object, data: object = None) -> None:
    """Refuse arguments that are none.

    Raises:
        Validation: an empty id, parameters that are no mapping, a datum that is none.
    """
    if not isinstance(node_id, str) or not node_id:
        raise Validation(f"a node's id is a string that is not empty, not {node_id!r}")
    if not isinstance(params, Mapping):
        raise Validation(f"parameters are a mapping, not {params!r}")
    if data is not None and not isinstance(data, RuntimeData):
        raise Validation(f"a node takes RuntimeData, not {type(data).__name__}")


class StandIn:
    """An executor bridge that is asked for its type alone: what a DataBridge needs of its two ends."""

    def __init__(self, executor_type: ExecutorType) -> None:
        self.executor_type = executor_type

    async def initialize_node(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> None:
        """Nothing to do."""

    async def execute_node(
        self, node_id: str, node_type: str, input_data: RuntimeData, params: Mapping[str, Json]
    ) -> RuntimeData:
        del node_id, node_type, params
        return input_data

    async def cleanup_node(self, node_id: str) -> None:
        """Nothing to do."""

    async def aclose(self) -> None:
        """Nothing to do."""


class _Slot:
    def __init__(self, host: Host) -> None:
        self.host = host
        self.lock = trio.Lock()


class ReferenceNative:
    """One call at a time for each node; different nodes overlap where they await."""

    executor_type = ExecutorType.NATIVE

    def __init__(self, session_id: str, nodes: Mapping[str, str]) -> None:
        self.session_id = session_id
        self.types = dict(nodes)
        self.metrics = BridgeMetrics()
        self.slots: dict[str, _Slot] = {}
        self.closed = False

    async def initialize_node(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> None:
        await trio.lowlevel.checkpoint()
        self.check_open()
        checked(node_id, params)
        if node_id in self.slots:
            raise Validation(f"Node {node_id!r} is initialized already")
        self.slots[node_id] = self.start(node_id, node_type, params)

    def start(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> _Slot:
        factory = find(node_type, self.types)
        try:
            host = Host(factory, NodeContext(node_id, node_type, dict(params), self.session_id))
            host.initialize()
        except Exception as error:
            raise NodeExecution(node_id, f"Initialization failed: {error}") from error
        return _Slot(host)

    async def execute_node(
        self, node_id: str, node_type: str, input_data: RuntimeData, params: Mapping[str, Json]
    ) -> RuntimeData:
        start = time.perf_counter_ns()
        await trio.lowlevel.checkpoint()
        self.check_open()
        checked(node_id, params, input_data)
        if not isinstance(input_data, RuntimeData):
            raise Validation("a node takes RuntimeData, not None")
        find(node_type, self.types)
        slot = self.slots.get(node_id)
        if slot is None:
            slot = self.slots[node_id] = self.start(node_id, node_type, {})
        async with slot.lock:
            answer = await self.process(node_id, slot.host, input_data, params)
        self.metrics.record_execution(node_id, time.perf_counter_ns() - start)
        return answer

    async def process(self, node_id: str, host: Host, data: RuntimeData, params: Mapping[str, Json]) -> RuntimeData:
        try:
            answer: Any = host.process(data, params)
            answer = await answer if inspect.isawaitable(answer) else answer
        except ServiceError as error:
            raise NodeExecution(node_id, error.message) from error
        except Exception as error:
            raise NodeExecution(node_id, str(error)) from error
        if not isinstance(answer, RuntimeData):
            raise NodeExecution(node_id, f"answered with {type(answer).__name__}, not with one datum")
        return answer

    async def cleanup_node(self, node_id: str) -> None:
        await trio.lowlevel.checkpoint()
        slot = self.slots.pop(node_id, None)
        if slot is not None:
            try:
                slot.host.cleanup()
            except Exception:
                return  # cleanup always succeeds (L92-95)

    async def aclose(self) -> None:
        self.closed = True
        with trio.CancelScope(shield=True):
            for node_id in list(self.slots):
                await self.cleanup_node(node_id)

    def get_stats(self) -> BridgeStats:
        return self.metrics.get_stats()

    def check_open(self) -> None:
        if self.closed:
            raise BridgeClosed
