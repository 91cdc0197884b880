"""The native bridge: nodes in this process (executor-bridge-api.md L43-101)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.executors.contract import ExecutorType, Json
from penstock.executors.inprocess import InProcessBridge, Slot
from penstock.executors.local import LocalNode
from penstock.executors.registry import NodeRegistry

__all__ = ["NativeExecutorBridge"]


class NativeExecutorBridge(InProcessBridge):
    """Runs nodes in this process: sync, async and generators in the trio loop, or with `threads=True` in threads.

    `initialize_node` is not required: a node that `execute_node` meets for the first time is initialized then.
    """

    executor_type = ExecutorType.NATIVE

    def __init__(
        self, session_id: str | None = None, *, nodes: Mapping[str, Any] | None = None, threads: bool = False
    ) -> None:
        """Make a bridge.

        Args:
            session_id: given to nodes in their context.
            nodes: node types by short name, beside `package.module:Name` and entry points.
            threads: run synchronous nodes in worker threads.
        """
        super().__init__(session_id)
        self.registry: NodeRegistry = NodeRegistry(nodes)
        self._threads = threads

    def _build(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> LocalNode:
        factory = self.registry.find(node_type)
        return LocalNode(factory, self._context(node_id, node_type, params), thread=self._threads)

    def _missing(self, node_id: str, node_type: str) -> Slot:
        slot = self._nodes[node_id] = Slot(self._build(node_id, node_type, {}), node_type)
        return slot

    def _check_type(self, node_type: str) -> None:
        self.registry.find(node_type)
