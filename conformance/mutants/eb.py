"""Faults against R-EB."""

from __future__ import annotations

from typing import Any

import trio

from penstock.conformance.mutants.model import mutant
from penstock.conformance.reference.multiprocess import ReferenceMultiprocess
from penstock.conformance.reference.native import ReferenceNative
from penstock.executors.contract import ExecutorType, Internal, RuntimeData

__all__: list[str] = []


@mutant("R-EB-01", "native", "the node's type comes before its id")
class SwapsArguments(ReferenceNative):
    async def execute_node(self, node_type: str, node_id: str, input_data: RuntimeData, params: Any) -> RuntimeData:  # type: ignore[override]
        return await super().execute_node(node_id, node_type, input_data, params)


@mutant("R-EB-02", "native", "after close it says that it is another executor")
class ChangesItsType(ReferenceNative):
    async def aclose(self) -> None:
        await super().aclose()
        self.executor_type = ExecutorType.WASM


@mutant("R-EB-03", "native", "gives back its input: a stub")
class EchoesItsInput(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        await super().execute_node(node_id, node_type, input_data, params)
        return input_data


@mutant("R-EB-04", "multiprocess", "runs its nodes in the host")
class RunsInTheHost(ReferenceNative):
    executor_type = ExecutorType.MULTIPROCESS


@mutant("R-EB-05", "native", "the parameters of the call do not reach the node")
class ForgetsParams(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        del params
        return await super().execute_node(node_id, node_type, input_data, {})


@mutant("R-EB-06", "native", "stamps the caller's datum")
class ChangesItsInput(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        answer = await super().execute_node(node_id, node_type, input_data, params)
        input_data.timestamp_ns += 1
        return answer


@mutant("R-EB-07", "native", "has one reply slot for all nodes")
class OneReplySlot(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        self.reply = await super().execute_node(node_id, node_type, input_data, params)
        await trio.sleep(0.002)
        return self.reply


@mutant("R-EB-08", "native", "matches answers by node, not by call")
class MatchesByNode(ReferenceNative):
    def __init__(self, session_id: str, nodes: Any) -> None:
        super().__init__(session_id, nodes)
        self.replies: dict[str, RuntimeData] = {}

    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        self.replies[node_id] = await super().execute_node(node_id, node_type, input_data, params)
        await trio.sleep(0.02)
        return self.replies[node_id]


@mutant("R-EB-09", "native", "keeps the node after its cleanup")
class KeepsStateAfterCleanup(ReferenceNative):
    async def initialize_node(self, node_id: str, node_type: str, params: Any) -> None:
        if node_id not in self.slots:
            await super().initialize_node(node_id, node_type, params)

    async def cleanup_node(self, node_id: str) -> None:
        del node_id
        await trio.lowlevel.checkpoint()


@mutant("R-EB-10", "multiprocess", "a node whose initialize failed stays registered")
class KeepsTheFailedNode(ReferenceMultiprocess):
    failed: tuple[str, ...] = ()

    async def initialize_node(self, node_id: str, node_type: str, params: Any) -> None:
        if node_id in self.failed:
            raise Internal("the node is there already")
        try:
            await super().initialize_node(node_id, node_type, params)
        except Exception:
            self.failed += (node_id,)
            raise


@mutant("R-EB-11", "multiprocess", "a second initialize forgets the first worker")
class ForgetsTheFirstWorker(ReferenceMultiprocess):
    async def initialize_node(self, node_id: str, node_type: str, params: Any) -> None:
        self.nodes.pop(node_id, None)
        await super().initialize_node(node_id, node_type, params)


@mutant("R-EB-12", "native", "a KeyError for an id that is not there")
class KeyErrorAtCleanup(ReferenceNative):
    async def cleanup_node(self, node_id: str) -> None:
        await trio.lowlevel.checkpoint()
        del self.slots[node_id]


@mutant("R-EB-13", "native", "cleanup of one node cleans up all of them")
class CleansUpEverything(ReferenceNative):
    async def cleanup_node(self, node_id: str) -> None:
        await super().cleanup_node(node_id)
        self.slots.clear()


@mutant("R-EB-14", "multiprocess", "takes the late answer of a cancelled call for that of the next one")
class TakesLateAnswers(ReferenceMultiprocess):
    async def answer(self, node_id: str, node: Any, number: int) -> Any:
        del node_id, number
        return await node.worker.receive()


@mutant("R-EB-15", "multiprocess", "execute after cleanup starts the node anew")
class RevivesCleanedNodes(ReferenceMultiprocess):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        if node_id not in self.nodes:
            await self.initialize_node(node_id, node_type, {})
        return await super().execute_node(node_id, node_type, input_data, params)


def _short(node_id: str) -> str:
    return node_id.partition("/")[0]


@mutant("R-EB-16", "native", "what comes after a slash in an id is ignored")
class CutsIds(ReferenceNative):
    async def initialize_node(self, node_id: str, node_type: str, params: Any) -> None:
        if _short(node_id) not in self.slots:
            await super().initialize_node(_short(node_id), node_type, params)

    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        return await super().execute_node(_short(node_id), node_type, input_data, params)

    async def cleanup_node(self, node_id: str) -> None:
        await super().cleanup_node(_short(node_id))
