"""Faults against R-LK: everything that they leave goes with the process of the suite."""

from __future__ import annotations

import os
import threading
from typing import Any, ClassVar

from penstock.conformance.mutants.model import mutant
from penstock.conformance.reference.multiprocess import ReferenceMultiprocess
from penstock.executors.contract import RuntimeData

__all__: list[str] = []


@mutant("R-LK-01", "multiprocess", "close leaves the workers")
class LeavesWorkers(ReferenceMultiprocess):
    kept: ClassVar[list[Any]] = []

    async def aclose(self) -> None:
        self.closed = True
        self.kept.append(self.nodes)


@mutant("R-LK-02", "multiprocess", "keeps a mapping of what it sent")
class KeepsMappings(ReferenceMultiprocess):
    kept: ClassVar[list[Any]] = []

    def outgoing(self, data: RuntimeData, message: dict[str, Any]) -> Any:
        message, fd, mapping = super().outgoing(data, message)
        self.kept.append(mapping)
        return message, fd, None


@mutant("R-LK-03", "multiprocess", "forgets a descriptor for each node")
class ForgetsDescriptors(ReferenceMultiprocess):
    async def initialize_node(self, node_id: str, node_type: str, params: Any) -> None:
        await super().initialize_node(node_id, node_type, params)
        os.memfd_create("forgotten")


@mutant("R-LK-04", "multiprocess", "a thread for each bridge is not ended")
class LeavesThreads(ReferenceMultiprocess):
    def __init__(self, session_id: str, nodes: Any) -> None:
        super().__init__(session_id, nodes)
        threading.Thread(target=threading.Event().wait, name="forgotten", daemon=True).start()


@mutant("R-LK-05", "multiprocess", "a little stays of each bridge")
class LeavesALittle(ReferenceMultiprocess):
    async def aclose(self) -> None:
        await super().aclose()
        os.pipe()


@mutant("R-LK-06", "multiprocess", "a worker that was killed is not reaped, its socket not closed")
class ForgetsTheDead(ReferenceMultiprocess):
    kept: ClassVar[list[Any]] = []

    async def cleanup_node(self, node_id: str) -> None:
        node = self.nodes.get(node_id)
        if node is not None and node.lost:
            self.kept.append(self.nodes.pop(node_id))
            return
        await super().cleanup_node(node_id)
