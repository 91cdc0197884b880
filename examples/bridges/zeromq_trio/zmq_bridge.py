"""An executor bridge over ZeroMQ (ipc://), for trio: one process and one DEALER-ROUTER pair a node."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import trio
import zmq
from zmq_wire import pack, unpack

from penstock.executors.contract import (
    BridgeClosed,
    BridgeMetrics,
    BridgeStats,
    ExecutorNotInitialized,
    ExecutorType,
    Internal,
    NodeExecution,
    RuntimeData,
    TypeMismatch,
    Validation,
)

__all__ = ["ZmqBridge"]

_GRACE_S = 1.0
_WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "zmq_worker.py")


class _Node:
    """A worker and the socket to it. One call at a time; late answers are known by their number."""

    def __init__(self, context: zmq.Context[Any], folder: str, node_type: str, told: dict[str, Any]) -> None:
        self.node_type = node_type
        self.lock = trio.Lock()
        self.ready = False
        self.lost = False
        self._socket: Any = context.socket(zmq.PAIR)
        self._socket.linger = 0
        handle, path = tempfile.mkstemp(dir=folder)
        os.close(handle)
        os.unlink(path)
        self._socket.bind(f"ipc://{path}")
        self._life, theirs = os.pipe()  # closed by the kernel when the worker ends
        self.process = subprocess.Popen(
            [sys.executable, _WORKER, f"ipc://{path}", json.dumps(told)], stdin=subprocess.DEVNULL, pass_fds=(theirs,)
        )
        os.close(theirs)

    async def send(self, frames: list[bytes | memoryview]) -> None:
        """Raises OSError where the worker has gone."""
        if self.process.poll() is not None:
            raise BrokenPipeError(f"the worker ended with code {self.process.returncode}")
        self._socket.send_multipart(frames)  # queued without limit: it never waits
        await trio.lowlevel.checkpoint()

    async def receive(self) -> list[bytes]:
        """The next answer; EOFError where there will be none."""
        while True:
            try:
                frames: list[bytes] = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                await self._news()
            else:
                await trio.lowlevel.checkpoint()
                return frames

    async def _news(self) -> None:
        """Wait for the socket, whose descriptor is edge-triggered, or for the worker's end."""
        if self._socket.events & zmq.POLLIN:
            return
        async with trio.open_nursery() as nursery:

            async def until_readable(fd: int) -> None:
                await trio.lowlevel.wait_readable(fd)
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_readable, self._socket.fd)
            nursery.start_soon(until_readable, self._life)
        if self.process.poll() is not None and not self._socket.events & zmq.POLLIN:
            raise EOFError(f"the worker ended with code {self.process.returncode}")
        with contextlib.suppress(BlockingIOError):
            os.set_blocking(self._life, False)
            if not os.read(self._life, 1) and not self._socket.events & zmq.POLLIN:
                raise EOFError("the worker has ended")

    async def end(self) -> None:
        """SIGTERM, a grace period, SIGKILL; then reaped."""
        with trio.CancelScope(shield=True):
            self.process.terminate()
            with trio.move_on_after(_GRACE_S):
                await self._reaped()
            self.process.kill()
            await self._reaped()
        self.lost = True
        async with self.lock:  # a call that was under way has noticed by now
            if not self._socket.closed:
                self._socket.close()
                os.close(self._life)

    async def _reaped(self) -> None:
        while self.process.poll() is None:  # noqa: ASYNC110
            await trio.sleep(0.002)


class ZmqBridge:
    """The context and the folder of its sockets live as long as the bridge."""

    executor_type = ExecutorType.MULTIPROCESS

    def __init__(self, session_id: str, nodes: Mapping[str, str]) -> None:
        self._session_id = session_id
        self._types = dict(nodes)
        self._context: zmq.Context[Any] = zmq.Context(io_threads=1)
        self._folder = tempfile.mkdtemp(prefix="zmq-bridge-")
        self._nodes: dict[str, _Node] = {}
        self._numbers = itertools.count(1)
        self._metrics = BridgeMetrics()
        self._closed = False

    async def initialize_node(self, node_id: str, node_type: str, params: Mapping[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        self._check(node_id)
        if node_id in self._nodes and not self._nodes[node_id].lost:
            raise Validation(f"node {node_id!r} is initialized already")
        if node_type not in self._types:
            raise NodeExecution(node_id, f"Initialization failed: Unknown node type: {node_type}")
        await self.cleanup_node(node_id)
        context = {"node_id": node_id, "node_type": node_type, "params": dict(params), "session_id": self._session_id}
        told = {"factory": self._types[node_type], "context": context}
        node = self._nodes[node_id] = _Node(self._context, self._folder, node_type, told)
        try:
            async with node.lock:
                said = json.loads((await node.receive())[0])
            if said.get("error") is not None:
                raise EOFError(said["error"])
            node.ready = True
        except EOFError as error:
            await self.cleanup_node(node_id)
            raise NodeExecution(node_id, f"Initialization failed: {error}") from error
        except BaseException:
            await self.cleanup_node(node_id)
            raise

    async def execute_node(
        self, node_id: str, node_type: str, input_data: RuntimeData, params: Mapping[str, Any]
    ) -> RuntimeData:
        start = time.perf_counter_ns()
        await trio.lowlevel.checkpoint()
        self._check(node_id)
        node = self._nodes.get(node_id)
        if node is None or not node.ready or node.lost:
            raise ExecutorNotInitialized(self.executor_type)
        if node.node_type != node_type:
            raise Validation(f"node {node_id!r} is a {node.node_type}, not a {node_type}")
        async with self._turn(node, node_id):
            said, payload = await self._called(node, node_id, input_data, params)
        if said.get("error") is not None:
            raise NodeExecution(node_id, said["error"])
        self._metrics.record_execution(node_id, time.perf_counter_ns() - start)
        return unpack(said["data"], payload)

    @contextlib.asynccontextmanager
    async def _turn(self, node: _Node, node_id: str) -> AsyncIterator[None]:
        async with node.lock:
            if node.lost:
                raise NodeExecution(node_id, "IPC receive failed: the worker has ended")
            yield

    async def _called(
        self, node: _Node, node_id: str, data: RuntimeData, params: Mapping[str, Any]
    ) -> tuple[dict[str, Any], bytes]:
        number = next(self._numbers)
        try:
            about, payload = pack(data)
        except TypeMismatch as error:
            raise Internal(f"Data conversion failed: {error}") from error
        try:
            await node.send([json.dumps({"number": number, "data": about, "params": dict(params)}).encode(), payload])
        except (OSError, zmq.ZMQError) as error:
            node.lost = True
            raise NodeExecution(node_id, f"IPC send failed: {error}") from error
        try:
            while True:
                head, *rest = await node.receive()
                said = json.loads(head)
                if said["number"] == number:
                    return said, rest[0] if rest else b""
        except (EOFError, OSError, zmq.ZMQError) as error:
            node.lost = True
            raise NodeExecution(node_id, f"IPC receive failed: {error}") from error

    async def cleanup_node(self, node_id: str) -> None:
        node = self._nodes.get(node_id)
        if node is None:
            await trio.lowlevel.checkpoint()
            return
        try:
            await node.end()
        except OSError as error:  # the node stays on the list: aclose tries again
            raise Internal(f"Cleanup failed: {error}") from error
        if self._nodes.get(node_id) is node:
            del self._nodes[node_id]

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for node_id in list(self._nodes):
                    nursery.start_soon(self.cleanup_node, node_id)
        self._context.term()
        shutil.rmtree(self._folder, ignore_errors=True)

    def get_stats(self) -> BridgeStats:
        return self._metrics.get_stats()

    def _check(self, node_id: str) -> None:
        if self._closed:
            raise BridgeClosed
        if not node_id:
            raise Validation("a node's id is not empty")
