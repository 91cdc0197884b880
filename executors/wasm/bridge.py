"""The wasm bridge: nodes in a sandbox of this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from penstock.executors.contract import ExecutorNotInitialized, ExecutorType, Json, Validation
from penstock.executors.inprocess import InProcessBridge, Slot
from penstock.executors.local import LocalNode
from penstock.executors.wasm.limits import WasmLimits
from penstock.executors.wasm.type import WasmType

__all__ = ["WasmExecutorBridge"]


class WasmExecutorBridge(InProcessBridge):
    """Runs .wasm files, each node an instance of its own, always within limits; the host survives every trap.

    The type of a node is the path of its file, or a short name for one.
    """

    executor_type = ExecutorType.WASM

    def __init__(
        self,
        session_id: str | None = None,
        *,
        nodes: Mapping[str, str | Path] | None = None,
        limits: WasmLimits | None = None,
    ) -> None:
        """Make a bridge.

        Args:
            session_id: given to nodes in their context.
            nodes: paths of .wasm files by short name.
            limits: of every node.
        """
        super().__init__(session_id)
        self._paths = {name: str(path) for name, path in (nodes or {}).items()}
        self._limits = limits

    def _build(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> LocalNode:
        path = self._paths.get(node_type, node_type)
        if not path.endswith(".wasm"):
            raise Validation(f"Unknown node type: {node_type}")
        return LocalNode(WasmType(path, self._limits), self._context(node_id, node_type, params))

    def _missing(self, node_id: str, node_type: str) -> Slot:
        del node_id, node_type  # whatever they are: a guest is initialized before it is called
        raise ExecutorNotInitialized(self.executor_type)
