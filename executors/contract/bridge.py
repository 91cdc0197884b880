"""The executor bridge: one interface to nodes, wherever they run (executor-bridge-api.md L9-37)."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from penstock.executors.contract.data import Json, RuntimeData

__all__ = ["ExecutorBridge", "ExecutorType", "NodeStream"]


class ExecutorType(enum.Enum):
    """Where a bridge runs its nodes."""

    NATIVE = "Native"
    MULTIPROCESS = "Multiprocess"
    WASM = "WASM"

    def __str__(self) -> str:
        return self.value


@runtime_checkable
class ExecutorBridge(Protocol):
    """Runs nodes by name; safe to call from many tasks at once, each gets its own answer.

    Cancelling a call leaves the bridge usable; the late answer is thrown away (errata D-38).
    """

    @property
    def executor_type(self) -> ExecutorType:
        """Constant for the life of the bridge."""
        ...

    async def initialize_node(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> None:
        """Start a node; its state lives until `cleanup_node`. A second start of a live id is refused.

        Raises:
            Validation: unknown node type (native, wasm).
            NodeExecution: "Initialization failed: ..." with the cause (multiprocess).
        """
        ...

    async def execute_node(
        self, node_id: str, node_type: str, input_data: RuntimeData, params: Mapping[str, Json]
    ) -> RuntimeData:
        """Give a datum to a node and return the one datum it answers with.

        Raises:
            ExecutorNotInitialized: `initialize_node` was not called (multiprocess, wasm).
            NodeExecution: the node raised, died, or answered with none or several data (see `open_node`).
        """
        ...

    async def cleanup_node(self, node_id: str) -> None:
        """Stop a node and give back what it holds; returns normally for an unknown id."""
        ...

    async def aclose(self) -> None:
        """Clean up every node; idempotent. Afterwards every call raises `BridgeClosed`."""
        ...


@runtime_checkable
class NodeStream(Protocol):
    """A node as a stream: 0..n outputs for each input, in order, and a flush at the end.

    A bridge that can stream has `open_node(node_id, node_type, params) -> NodeStream`.
    """

    async def send(self, data: RuntimeData, port: str = "in") -> None:
        """Give the node one datum; waits while the node is behind.

        Raises:
            NodeExecution: the node failed.
            BridgeClosed: the stream was closed, or `send_eof` was called.
        """
        ...

    async def send_eof(self) -> None:
        """No more inputs: the node is flushed, and the outputs end. Idempotent."""
        ...

    async def receive(self) -> tuple[str, RuntimeData]:
        """The next output, as (port, datum).

        Raises:
            EndOfStream: everything was given.
            NodeExecution: the node failed.
        """
        ...

    async def aclose(self) -> None:
        """Stop the node, whatever it is doing; idempotent."""
        ...

    def __aiter__(self) -> AsyncIterator[tuple[str, RuntimeData]]: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
