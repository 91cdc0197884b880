"""An executor bridge over multiprocessing.Pipe, for asyncio: a process for each node, all of it pickled."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from penstock.executors.contract import (
    BridgeClosed,
    BridgeMetrics,
    BridgeStats,
    ExecutorNotInitialized,
    ExecutorType,
    Internal,
    NodeContext,
    NodeExecution,
    RuntimeData,
    TypeMismatch,
    Validation,
)

__all__ = ["PipeBridge"]

_SPAWN = multiprocessing.get_context("spawn")
_GRACE_S = 1.0


def _pack(data: RuntimeData) -> tuple[Any, ...]:
    """A datum as plain values. Arrays have to be what their shape says."""
    if data.dtype is not None:
        data.as_audio() if data.channels else data.as_tensor()
    elif data.data_type.value in {"Audio", "Tensor"}:
        raise TypeMismatch(data.data_type, "a payload without dtype")
    about = (data.session_id, data.timestamp_ns, data.dtype, data.shape, data.sample_rate, data.channels)
    return (data.data_type, bytes(data.payload), *about, dict(data.meta))


def _work(pipe: Connection, host_end: Connection, factory: str, context: dict[str, Any]) -> None:
    """The worker: one call after the other, until the pipe or the parent is gone."""
    host_end.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    module, _, name = factory.partition(":")
    try:
        node = getattr(importlib.import_module(module), name)()
        ctx = NodeContext(**context)
        if hasattr(node, "initialize"):
            node.initialize(ctx)
    except Exception as error:
        pipe.send(("failed", str(error)))
        return
    pipe.send(("ready", ""))
    while True:
        try:
            number, packed, params = pipe.recv()
        except EOFError:
            return
        try:
            ctx.params = {**context["params"], **params}
            pipe.send((number, _pack(node.process(RuntimeData(*packed))), None))
        except Exception as error:
            pipe.send((number, None, str(error)))


class _Node:
    """A worker, its pipe, and the calls that wait for their answers."""

    def __init__(self, node_type: str, factory: str, context: dict[str, Any]) -> None:
        self.node_type = node_type
        self.pipe, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_work, args=(theirs, self.pipe, factory, context), daemon=True)
        self.process.start()
        theirs.close()
        self.ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.calls: dict[int, asyncio.Future[RuntimeData]] = {}
        self.turn = asyncio.Lock()
        self.ending: asyncio.Future[None] | None = None
        self.lost = False
        asyncio.get_running_loop().add_reader(self.pipe.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            said = self.pipe.recv()
        except (EOFError, OSError):
            self._gone()
            return
        if said[0] in {"ready", "failed"}:
            if not self.ready.done():
                self.ready.set_result(said[1] if said[0] == "failed" else "")
            return
        call = self.calls.pop(said[0], None)
        if call is None or call.done():
            return  # its caller was cancelled
        if said[2] is None:
            call.set_result(RuntimeData(*said[1]))
        else:
            call.set_exception(NodeExecution("", said[2]))

    def _gone(self) -> None:
        self.stop_reading()
        self.lost = True
        if not self.ready.done():
            self.ready.set_result("the process has died")
        for call in self.calls.values():
            if not call.done():
                call.set_exception(NodeExecution("", "IPC receive failed: the process has died"))
        self.calls.clear()

    def stop_reading(self) -> None:
        if not self.pipe.closed:
            asyncio.get_running_loop().remove_reader(self.pipe.fileno())

    async def end(self) -> None:
        """SIGTERM, a grace period, SIGKILL; then reaped, also when the caller is cancelled."""
        self._gone()
        if self.ending is None:
            self.ending = asyncio.ensure_future(self._end())
        await asyncio.shield(self.ending)

    async def _end(self) -> None:
        self.process.terminate()
        deadline = time.monotonic() + _GRACE_S
        while self.process.is_alive():
            if time.monotonic() > deadline:
                self.process.kill()
            await asyncio.sleep(0.005)
        self.process.join()
        self.process.close()
        self.pipe.close()


class PipeBridge:
    """Many calls may be on their way to a node; each gets its own answer, by its number."""

    executor_type = ExecutorType.MULTIPROCESS

    def __init__(self, session_id: str, nodes: Mapping[str, str]) -> None:
        self._session_id = session_id
        self._types = dict(nodes)
        self._nodes: dict[str, _Node] = {}
        self._numbers = itertools.count(1)
        self._metrics = BridgeMetrics()
        self._closed = False

    async def initialize_node(self, node_id: str, node_type: str, params: Mapping[str, Any]) -> None:
        self._check(node_id)
        if node_id in self._nodes:
            raise Validation(f"node {node_id!r} is initialized already")
        if node_type not in self._types:
            raise NodeExecution(node_id, f"Initialization failed: Unknown node type: {node_type}")
        context = {"node_id": node_id, "node_type": node_type, "params": dict(params), "session_id": self._session_id}
        node = self._nodes[node_id] = _Node(node_type, self._types[node_type], context)
        try:
            failed = await node.ready
        except asyncio.CancelledError:
            await self.cleanup_node(node_id)
            raise
        if failed:
            await self.cleanup_node(node_id)
            raise NodeExecution(node_id, f"Initialization failed: {failed}")

    async def execute_node(
        self, node_id: str, node_type: str, input_data: RuntimeData, params: Mapping[str, Any]
    ) -> RuntimeData:
        start = time.perf_counter_ns()
        self._check(node_id)
        node = self._nodes.get(node_id)
        if node is None or node.lost:
            raise ExecutorNotInitialized(self.executor_type)
        if node.node_type != node_type:
            raise Validation(f"node {node_id!r} is a {node.node_type}, not a {node_type}")
        number = next(self._numbers)
        try:
            packed = _pack(input_data)
        except TypeMismatch as error:
            raise Internal(f"Data conversion failed: {error}") from error
        call = node.calls[number] = asyncio.get_running_loop().create_future()
        try:
            await self._send(node, node_id, (number, packed, dict(params)))
            answer = await call
        except NodeExecution as error:
            raise NodeExecution(node_id, error.message) from error
        finally:
            node.calls.pop(number, None)
        self._metrics.record_execution(node_id, time.perf_counter_ns() - start)
        return answer

    @staticmethod
    async def _send(node: _Node, node_id: str, message: Any) -> None:
        """In a thread, since a pipe that is full blocks; never two at a time, never cancelled half-way."""
        async with node.turn:
            try:
                await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, node.pipe.send, message))
            except (OSError, ValueError) as error:
                raise NodeExecution(node_id, f"IPC send failed: {error}") from error

    async def cleanup_node(self, node_id: str) -> None:
        node = self._nodes.get(node_id)
        if node is None:
            return
        try:
            await node.end()
        except OSError as error:  # the node stays on the list: aclose tries again
            raise Internal(f"Cleanup failed: {error}") from error
        if self._nodes.get(node_id) is node:
            del self._nodes[node_id]

    async def aclose(self) -> None:
        self._closed = True
        await asyncio.gather(*(self.cleanup_node(node_id) for node_id in list(self._nodes)))

    def get_stats(self) -> BridgeStats:
        return self._metrics.get_stats()

    def worker_pids(self, node_id: str) -> list[int]:
        node = self._nodes.get(node_id)
        return [node.process.pid or os.getpid()] if node else []

    def _check(self, node_id: str) -> None:
        if self._closed:
            raise BridgeClosed
        if not node_id:
            raise Validation("a node's id is not empty")
