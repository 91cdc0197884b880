"""Faults against R-MX."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any, ClassVar

import trio

from penstock.conformance.mutants.model import mutant
from penstock.conformance.reference.multiprocess import ReferenceMultiprocess
from penstock.conformance.reference.native import ReferenceNative
from penstock.executors.contract import ExecutorType, Internal, NodeExecution, RuntimeData

__all__: list[str] = []


@mutant("R-MX-01", "multiprocess", "says that it is Native")
class SaysNative(ReferenceMultiprocess):
    executor_type = ExecutorType.NATIVE


@mutant("R-MX-02", "multiprocess", "runs its nodes in this process")
class NoProcess(ReferenceNative):
    executor_type = ExecutorType.MULTIPROCESS


@mutant("R-MX-03", "multiprocess", "nodes of one type share a worker")
class SharesWorkers(ReferenceMultiprocess):
    async def initialize_node(self, node_id: str, node_type: str, params: Any) -> None:
        for node in self.nodes.values():
            if node.node_type == node_type:
                self.nodes[node_id] = node
                return
        await super().initialize_node(node_id, node_type, params)


@mutant("R-MX-04", "multiprocess", "the context has no session")
class NoSession(ReferenceMultiprocess):
    def context(self, node_id: str, node_type: str, params: Any) -> dict[str, Any]:
        return {**super().context(node_id, node_type, params), "session_id": None}


@mutant("R-MX-05", "multiprocess", "does not say why initialize failed")
class SilentInitialize(ReferenceMultiprocess):
    async def initialize_node(self, node_id: str, node_type: str, params: Any) -> None:
        try:
            await super().initialize_node(node_id, node_type, params)
        except NodeExecution:
            raise NodeExecution(node_id, "Initialization failed: see the log") from None


@mutant("R-MX-06", "multiprocess", "a failed send is an Internal error")
class SendIsInternal(ReferenceMultiprocess):
    async def send(self, node_id: str, node: Any, message: dict[str, Any], fd: int | None) -> None:
        try:
            await super().send(node_id, node, message, fd)
        except NodeExecution as error:
            raise Internal(error.message) from error


@mutant("R-MX-07", "multiprocess", "a worker's death is said in other words")
class DeathInOtherWords(ReferenceMultiprocess):
    async def answer(self, node_id: str, node: Any, number: int) -> Any:
        try:
            return await super().answer(node_id, node, number)
        except NodeExecution:
            raise NodeExecution(node_id, "the worker has died") from None


@mutant("R-MX-08", "multiprocess", "a ConversionError passes through as it is")
class ConversionPassesThrough(ReferenceMultiprocess):
    async def call(self, node_id: str, node: Any, data: RuntimeData, params: Any) -> RuntimeData:
        try:
            return await super().call(node_id, node, data, params)
        except Internal as error:
            raise error.__cause__ or error from None


@mutant("R-MX-09", "multiprocess", "a node's exception ends its worker")
class ExceptionEndsWorker(ReferenceMultiprocess):
    async def call(self, node_id: str, node: Any, data: RuntimeData, params: Any) -> RuntimeData:
        try:
            return await super().call(node_id, node, data, params)
        except NodeExecution:
            node.lost = True
            node.worker.process.kill()
            raise


@mutant("R-MX-10", "multiprocess", "cleanup leaves the process")
class LeavesTheProcess(ReferenceMultiprocess):
    async def terminate(self, node: Any) -> None:
        del node
        await trio.lowlevel.checkpoint()


@mutant("R-MX-11", "multiprocess", "a failed cleanup is not told")
class SwallowsCleanupErrors(ReferenceMultiprocess):
    async def cleanup_node(self, node_id: str) -> None:
        with contextlib.suppress(Internal):
            await super().cleanup_node(node_id)


@mutant("R-MX-12", "multiprocess", "execute before initialize is a failed send")
class SendsToNobody(ReferenceMultiprocess):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        if node_id not in self.nodes:
            raise NodeExecution(node_id, "IPC send failed: there is no worker")
        return await super().execute_node(node_id, node_type, input_data, params)


@mutant("R-MX-13", "multiprocess", "one crash takes all workers along")
class OneCrashForAll(ReferenceMultiprocess):
    async def answer(self, node_id: str, node: Any, number: int) -> Any:
        try:
            return await super().answer(node_id, node, number)
        except NodeExecution:
            for other in self.nodes.values():
                other.lost = True
            raise


@mutant("R-MX-14", "multiprocess", "cleanup waits for a worker that does not listen")
class WaitsForTheStuck(ReferenceMultiprocess):
    async def terminate(self, node: Any) -> None:
        node.worker.process.terminate()
        while node.worker.process.poll() is None:  # noqa: ASYNC110  that is the fault
            await trio.sleep(0.01)
        await super().terminate(node)


@mutant("R-MX-15", "multiprocess", "the parameters of initialize do not reach the worker")
class NoParamsAtInitialize(ReferenceMultiprocess):
    def context(self, node_id: str, node_type: str, params: Any) -> dict[str, Any]:
        return {**super().context(node_id, node_type, params), "params": {}}


@mutant("R-MX-17", "multiprocess", "all sessions share one table of nodes")
class OneTableForAllSessions(ReferenceMultiprocess):
    shared: ClassVar[dict[str, Any]] = {}

    def __init__(self, session_id: str, nodes: Any) -> None:
        super().__init__(session_id, nodes)
        self.nodes = self.shared

    async def initialize_node(self, node_id: str, node_type: str, params: Any) -> None:
        if node_id not in self.nodes:
            await super().initialize_node(node_id, node_type, params)


@mutant("R-MX-18", "multiprocess", "an answer is cut to 1 MiB")
class CutsAnswers(ReferenceMultiprocess):
    def incoming(self, said: dict[str, Any], fd: int | None) -> RuntimeData:
        answer = super().incoming(said, fd)
        return replace(answer, payload=answer.payload[: 1 << 20])
