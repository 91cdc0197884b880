"""Subtle faults of a bridge in one process: each had once got past the checks."""

from __future__ import annotations

import contextlib
from typing import Any

import trio

from penstock.conformance.mutants.model import mutant
from penstock.conformance.reference.native import ReferenceNative
from penstock.executors.contract import NodeExecution, RuntimeData

__all__: list[str] = []


@mutant("R-EB-05", "native", "concurrent calls of a node see the parameters of whichever came last")
class SharesTheParams(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        if node_id in self.slots:
            nobody_waits: Any = contextlib.nullcontext()
            self.slots[node_id].lock = nobody_waits
        return await super().execute_node(node_id, node_type, input_data, params)


@mutant("R-EB-09", "native", "nodes are told another session")
class TellsAnotherSession(ReferenceNative):
    def __init__(self, session_id: str, nodes: Any) -> None:
        super().__init__(f"{session_id}x", nodes)


@mutant("R-ER-05", "native", "what a node's cleanup raises goes through as it is")
class LetsCleanupRaise(ReferenceNative):
    async def cleanup_node(self, node_id: str) -> None:
        await trio.lowlevel.checkpoint()
        slot = self.slots.pop(node_id, None)
        if slot is not None:
            slot.host.cleanup()


@mutant("R-EB-14", "native", "makes a NodeExecution of a cancellation")
class EatsTheCancellation(ReferenceNative):
    async def process(self, node_id: str, host: Any, data: RuntimeData, params: Any) -> RuntimeData:
        try:
            return await super().process(node_id, host, data, params)
        except trio.Cancelled as error:
            raise NodeExecution(node_id, str(error)) from error
