"""What everything with `aclose` and `receive` shares: the block that closes it, the loop that ends with it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from penstock.executors.contract import EndOfStream, RuntimeData

__all__ = ["ClosedByBlock", "StreamLoop"]


class ClosedByBlock:
    """`async with` closes it."""

    @abstractmethod
    async def aclose(self) -> None:
        """Give everything back. Idempotent."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class StreamLoop(ClosedByBlock):
    """`async for port, data in stream` ends when the stream does."""

    @abstractmethod
    async def receive(self) -> tuple[str, RuntimeData]:
        """The next output (see `NodeStream`)."""

    async def __aiter__(self) -> AsyncIterator[tuple[str, RuntimeData]]:
        while True:
            try:
                output = await self.receive()
            except EndOfStream:
                return
            yield output
