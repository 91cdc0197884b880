"""Nodes in worker processes: one process a node, one call at a time, payloads in shared memory."""

from __future__ import annotations

import itertools
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import trio

from penstock.conformance.importing import own_environment
from penstock.conformance.reference.native import checked
from penstock.conformance.reference.wire import INLINE_BYTES, SPACE, Frames, describe, restore, shared
from penstock.executors.contract import (
    AllocationFailed,
    BridgeClosed,
    BridgeMetrics,
    BridgeStats,
    ConversionError,
    DataType,
    ExecutorNotInitialized,
    ExecutorType,
    Internal,
    Json,
    NodeExecution,
    RuntimeData,
    TypeMismatch,
    Validation,
)

__all__ = ["ReferenceMultiprocess", "WorkerLost", "WorkerProcess", "valid"]

_GRACE_S = 0.5


class WorkerLost(Exception):
    """The worker's end of the socket is closed."""


def valid(data: RuntimeData) -> None:
    """See that a payload is what its type says.

    Raises:
        TypeMismatch: it is not.
    """
    if data.data_type is DataType.AUDIO:
        data.as_audio()
    elif data.data_type is DataType.TENSOR:
        data.as_tensor()
    elif data.data_type not in {DataType.TEXT, DataType.JSON}:
        raise TypeMismatch("audio, text, tensor or JSON", data.data_type)


class WorkerProcess:
    """A process and the socket to it."""

    def __init__(self) -> None:
        ours, theirs = trio.socket.socketpair()
        self._socket = ours
        with theirs:
            os.set_inheritable(theirs.fileno(), True)
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "penstock.conformance.reference.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=own_environment(),
                pass_fds=(theirs.fileno(),),
            )
        self._frames = Frames()
        self._unsent = b""

    async def send(self, message: dict[str, Any], fd: int | None = None) -> None:
        """Send a frame whole, also when an earlier caller was cancelled in the middle of its own.

        Raises:
            OSError: the worker has gone.
        """
        while self._unsent:
            self._unsent = self._unsent[await self._socket.send(self._unsent) :]
        frame = Frames.encode(message)
        sent = await self._socket.sendmsg([frame], Frames.ancillary(fd))
        self._unsent = frame[sent:]
        while self._unsent:
            self._unsent = self._unsent[await self._socket.send(self._unsent) :]

    async def receive(self) -> tuple[dict[str, Any], int | None]:
        """The next frame.

        Raises:
            WorkerLost: there will be none.
        """
        while (frame := self._frames.next()) is None:
            try:
                received, ancillary, _, _ = await self._socket.recvmsg(1 << 16, SPACE)
            except (OSError, trio.ClosedResourceError) as error:
                raise WorkerLost(str(error)) from error
            if not received:
                raise WorkerLost("the worker's end of the socket is closed")
            self._frames.feed(received, ancillary)
        return frame

    async def end(self) -> None:
        """SIGTERM, a grace period, SIGKILL; then reaped. Also when the caller is cancelled."""
        if self._socket.fileno() < 0:
            return
        with trio.CancelScope(shield=True):
            self.process.terminate()
            with trio.move_on_after(_GRACE_S):
                await self._gone()
            self.process.kill()
            await self._gone()
        self._socket.close()
        self._frames.close()

    async def _gone(self) -> None:
        while self.process.poll() is None:  # noqa: ASYNC110  there is no event: this is simpler than a pidfd
            await trio.sleep(0.002)


class _Node:
    def __init__(self, node_type: str, worker: WorkerProcess) -> None:
        self.node_type = node_type
        self.worker = worker
        self.lock = trio.Lock()
        self.ready = False
        self.lost = False


class ReferenceMultiprocess:
    """Answers are matched by number, so that the late answer to a cancelled call is thrown away."""

    executor_type = ExecutorType.MULTIPROCESS

    def __init__(self, session_id: str, nodes: Mapping[str, str]) -> None:
        self.session_id = session_id
        self.types = dict(nodes)
        self.metrics = BridgeMetrics()
        self.nodes: dict[str, _Node] = {}
        self.numbers = itertools.count(1)
        self.closed = False

    async def initialize_node(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> None:
        await trio.lowlevel.checkpoint()
        self.check_open()
        checked(node_id, params)
        if node_id in self.nodes and not self.nodes[node_id].lost:
            raise Validation(f"Node {node_id!r} is initialized already")
        await self.cleanup_node(node_id)
        node = self.nodes[node_id] = _Node(node_type, WorkerProcess())
        try:
            await self.start(node, self.context(node_id, node_type, params))
            node.ready = True
        except BaseException as error:
            self.nodes.pop(node_id, None)
            await node.worker.end()
            if isinstance(error, OSError | WorkerLost | NodeExecution):
                text = error.message if isinstance(error, NodeExecution) else str(error)
                raise NodeExecution(node_id, f"Initialization failed: {text}") from error
            raise

    def context(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> dict[str, Any]:
        return {
            "node_id": node_id,
            "node_type": node_type,
            "params": dict(params),
            "session_id": self.session_id,
            "metadata": {},
        }

    async def start(self, node: _Node, context: dict[str, Any]) -> None:
        await node.worker.send({"context": context, "types": self.types})
        said, _ = await node.worker.receive()
        if "error" in said:
            raise NodeExecution(context["node_id"], said["error"])

    async def execute_node(
        self, node_id: str, node_type: str, input_data: RuntimeData, params: Mapping[str, Json]
    ) -> RuntimeData:
        start = time.perf_counter_ns()
        await trio.lowlevel.checkpoint()
        self.check_open()
        checked(node_id, params, input_data if input_data is not None else "None")
        node = self.nodes.get(node_id)
        if node is None or not node.ready or node.lost:
            raise ExecutorNotInitialized(self.executor_type)
        if node.node_type != node_type:
            raise Validation(f"Node {node_id!r} is a {node.node_type}, not a {node_type}")
        async with node.lock:
            answer = await self.call(node_id, node, input_data, params)
        self.metrics.record_execution(node_id, time.perf_counter_ns() - start)
        return answer

    async def call(self, node_id: str, node: _Node, data: RuntimeData, params: Mapping[str, Json]) -> RuntimeData:
        number = next(self.numbers)
        message = {"id": number, "params": dict(params)}
        try:
            message, fd, mapping = self.outgoing(data, message)
        except ConversionError as error:
            raise Internal(f"Data conversion failed: {error.message}") from error
        try:
            await self.send(node_id, node, message, fd)
            said, answer_fd = await self.answer(node_id, node, number)
        finally:
            if mapping is not None:  # shared with the worker for as long as its node works
                mapping.close()
        if "error" in said:
            raise NodeExecution(node_id, said["error"])
        try:
            return self.incoming(said, answer_fd)
        except ConversionError as error:
            raise Internal(f"Data conversion failed: {error.message}") from error

    def outgoing(
        self, data: RuntimeData, message: dict[str, Any]
    ) -> tuple[dict[str, Any], int | None, mmap.mmap | None]:
        """A datum as a frame, and the memory that it stands in."""
        valid(data)
        message = {**message, "data": describe(data)}
        if data.data_type in {DataType.TEXT, DataType.JSON} and data.nbytes <= INLINE_BYTES:
            return {**message, "payload": bytes(data.payload).decode("utf-8", "surrogatepass")}, None, None
        try:
            fd, mapping = shared(data.payload)
        except OSError as error:
            raise AllocationFailed(f"{data.nbytes} bytes: {error.strerror}") from error
        return {**message, "memfd": True}, fd, mapping

    async def send(self, node_id: str, node: _Node, message: dict[str, Any], fd: int | None) -> None:
        try:
            await node.worker.send(message, fd)
        except (OSError, trio.ClosedResourceError) as error:
            node.lost = True
            raise NodeExecution(node_id, f"IPC send failed: {error}") from error
        finally:
            if fd is not None:
                os.close(fd)

    async def answer(self, node_id: str, node: _Node, number: int) -> tuple[dict[str, Any], int | None]:
        try:
            while True:
                said, fd = await node.worker.receive()
                if said["id"] == number:
                    return said, fd
                if fd is not None:  # the late answer to a call that was cancelled
                    os.close(fd)
        except WorkerLost as error:
            node.lost = True
            raise NodeExecution(node_id, f"IPC receive failed: {error}") from error

    def incoming(self, said: dict[str, Any], fd: int | None) -> RuntimeData:
        about = said["data"]
        if fd is None:
            return restore(about, said["payload"].encode("utf-8", "surrogatepass"))
        with mmap.mmap(fd, max(1, about["nbytes"]), prot=mmap.PROT_READ) as mapping:
            os.close(fd)
            return restore(about, mapping[: about["nbytes"]])

    async def cleanup_node(self, node_id: str) -> None:
        node = self.nodes.get(node_id)
        if node is None:
            await trio.lowlevel.checkpoint()
            return
        try:
            await self.terminate(node)
        except OSError as error:  # it stays on the list: aclose tries again
            raise Internal(f"Cleanup failed: {error}") from error
        if self.nodes.get(node_id) is node:
            del self.nodes[node_id]

    async def terminate(self, node: _Node) -> None:
        await node.worker.end()

    async def aclose(self) -> None:
        self.closed = True
        with trio.CancelScope(shield=True):
            for node_id in list(self.nodes):
                await self.cleanup_node(node_id)

    def get_stats(self) -> BridgeStats:
        return self.metrics.get_stats()

    def check_open(self) -> None:
        if self.closed:
            raise BridgeClosed
