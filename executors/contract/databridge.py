"""The bridge that carries data between two executors (executor-bridge-api.md L290-384, errata D-24 to D-40)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from penstock.executors.contract.data import RuntimeData
from penstock.executors.contract.metrics import BridgeStats

__all__ = ["DataBridge"]


@runtime_checkable
class DataBridge(Protocol):
    """Converts data for the target's executor, and holds at most `capacity` of them until they are received.

    It owns neither of its two executor bridges. A bridge with a pair of executors that it does not know raises
    `Internal("Unsupported executor combination")`.
    """

    async def transfer(self, data: RuntimeData) -> RuntimeData:
        """The datum as the target's executor takes it; an equal datum.

        Raises:
            ConversionFailed: with the `ConversionError` as its cause.
            BridgeClosed: after `close`.
        """
        ...

    async def transfer_with_backpressure(self, data: RuntimeData) -> RuntimeData:
        """Reserve a slot, waiting in turn while there is none; then transfer, and buffer what comes out.

        Returns a receipt that is equal to the buffered datum.

        Raises:
            BackpressureTimeout: no slot became free within the bridge's timeout, where it has one.
            BridgeClosed: the bridge was closed, before or while this waited.
        """
        ...

    async def receive(self) -> RuntimeData:
        """The oldest buffered datum; waits for one.

        Raises:
            BridgeClosed: closed, and everything was received.
        """
        ...

    async def close(self) -> None:
        """Take nothing more, wake who waits; what was accepted can still be received. Idempotent, never waits."""
        ...

    def __aiter__(self) -> AsyncIterator[RuntimeData]:
        """Receive until the bridge is closed and drained."""
        ...

    def get_stats(self) -> BridgeStats:
        """A consistent snapshot of the counters, also after `close`."""
        ...
