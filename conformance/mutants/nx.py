"""Faults against R-NX."""

from __future__ import annotations

from typing import Any

from penstock.conformance.mutants.model import mutant
from penstock.conformance.reference.multiprocess import ReferenceMultiprocess
from penstock.conformance.reference.native import ReferenceNative
from penstock.executors.contract import (
    ExecutorNotInitialized,
    ExecutorType,
    Internal,
    NodeExecution,
    RuntimeData,
    Validation,
)

__all__: list[str] = []


@mutant("R-NX-01", "native", "puts the unknown type in quotes")
class QuotesTheType(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        try:
            return await super().execute_node(node_id, node_type, input_data, params)
        except Validation as error:
            raise Validation(error.message.replace(node_type, repr(node_type))) from None


@mutant("R-NX-02", "native", "puts the exception's class before its text")
class PrefixesTheText(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        try:
            return await super().execute_node(node_id, node_type, input_data, params)
        except NodeExecution as error:
            raise NodeExecution(node_id, f"ValueError: {error.message}") from error


@mutant("R-NX-03", "native", "runs native nodes in other processes")
class NativeInWorkers(ReferenceMultiprocess):
    executor_type = ExecutorType.NATIVE


@mutant("R-NX-04", "native", "wants to be initialized")
class WantsInitialize(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        if node_id not in self.slots:
            raise ExecutorNotInitialized(self.executor_type)
        return await super().execute_node(node_id, node_type, input_data, params)


@mutant("R-NX-05", "native", "cleanup of an unknown id is an error")
class StrictCleanup(ReferenceNative):
    async def cleanup_node(self, node_id: str) -> None:
        if node_id not in self.slots:
            raise Validation(f"no node {node_id}")
        await super().cleanup_node(node_id)


@mutant("R-NX-06", "native", "says that it is Multiprocess")
class SaysMultiprocess(ReferenceNative):
    executor_type = ExecutorType.MULTIPROCESS


@mutant("R-NX-07", "native", "a node that has raised once is not called again")
class GivesUpOnNodes(ReferenceNative):
    given_up: tuple[str, ...] = ()

    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        if node_id in self.given_up:
            raise Internal(f"{node_id} has failed before")
        try:
            return await super().execute_node(node_id, node_type, input_data, params)
        except NodeExecution:
            self.given_up += (node_id,)
            raise


@mutant("R-NX-08", "native", "an unknown type runs the node that has the id, then is refused")
class RunsThenRefuses(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        if node_type not in self.types and node_id in self.slots:
            await self.process(node_id, self.slots[node_id].host, input_data, params)
        return await super().execute_node(node_id, node_type, input_data, params)
