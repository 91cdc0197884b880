"""Faults against R-CC."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any, ClassVar

import trio

from penstock.conformance.mutants.model import mutant
from penstock.conformance.reference.native import ReferenceNative
from penstock.executors.contract import Internal, RuntimeData

__all__: list[str] = []


@mutant("R-CC-01", "native", "one reply slot for all bridges")
class OneSlotForAllBridges(ReferenceNative):
    reply: ClassVar[dict[str, RuntimeData]] = {}

    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        self.reply[""] = await super().execute_node(node_id, node_type, input_data, params)
        await trio.sleep(0.001)
        return self.reply[""]


@mutant("R-CC-02", "native", "closing one bridge closes them all")
class ClosesAll(ReferenceNative):
    instances: ClassVar[list[ClosesAll]] = []

    def __init__(self, session_id: str, nodes: Any) -> None:
        super().__init__(session_id, nodes)
        self.instances.append(self)

    async def aclose(self) -> None:
        for bridge in self.instances:
            bridge.closed = True
            bridge.slots.clear()
        await super().aclose()


@mutant("R-CC-03", "native", "nodes are known by session and id alone, in all bridges together")
class OneTableForAllBridges(ReferenceNative):
    table: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(self, session_id: str, nodes: Any) -> None:
        super().__init__(session_id, nodes)
        self.slots = self.table.setdefault(session_id, {})

    async def initialize_node(self, node_id: str, node_type: str, params: Any) -> None:
        if node_id not in self.slots:
            await super().initialize_node(node_id, node_type, params)


@mutant("R-CC-04", "native", "a file that is named by session and id alone")
class OneFileForAllHosts(ReferenceNative):
    def name(self, node_id: str) -> str:
        safe = "".join(char for char in node_id if char.isalnum())[:40]
        return os.path.join(tempfile.gettempdir(), f"penstock-mutant-{self.session_id}-{safe}")

    async def initialize_node(self, node_id: str, node_type: str, params: Any) -> None:
        try:
            os.close(os.open(self.name(node_id), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError as error:
            raise Internal(f"{error.filename} is in use") from error
        await super().initialize_node(node_id, node_type, params)

    async def cleanup_node(self, node_id: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.name(node_id))
        await super().cleanup_node(node_id)
