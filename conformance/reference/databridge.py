"""Data between two executors: converted where the kinds differ, bounded, first come, first served."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator

import trio

from penstock.executors.contract import (
    BackpressureTimeout,
    BridgeClosed,
    BridgeMetrics,
    BridgeStats,
    ConversionError,
    ConversionFailed,
    ExecutorBridge,
    ExecutorType,
    Internal,
    IPCDataConverter,
    RuntimeData,
    Validation,
)

__all__ = ["ReferenceDataBridge"]


class ReferenceDataBridge:
    """A slot is reserved before the conversion, and given back when that fails, times out or is cancelled."""

    def __init__(
        self,
        source: ExecutorBridge,
        target: ExecutorBridge,
        converter: IPCDataConverter,
        capacity: int,
        timeout: float | None = None,
        *,
        wasm: bool = True,
    ) -> None:
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
            raise Validation(f"capacity is a whole number above 0, not {capacity!r}")
        self.source = source
        self.target = target
        self.converter = converter
        self.timeout = timeout
        self.wasm = wasm
        self.metrics = BridgeMetrics()
        self.buffer: deque[RuntimeData] = deque()
        self.free = capacity
        self.admission: deque[trio.Event] = deque()
        """Who waits for a slot; the event is set when it was given one, or the bridge closed."""
        self.order = trio.Lock()
        """Held from admission to push, so that conversions do not overtake each other."""
        self.news = trio.Event()
        """Replaced whenever a receiver may have to look again."""
        self.pending = 0
        self.closed = False

    async def transfer(self, data: RuntimeData) -> RuntimeData:
        await trio.lowlevel.checkpoint()
        self.check_open()
        return await self.convert(data)

    async def convert(self, data: RuntimeData) -> RuntimeData:
        start, size = time.perf_counter_ns(), data.nbytes
        pair = (self.source.executor_type, self.target.executor_type)
        if ExecutorType.WASM in pair and not self.wasm:
            raise Internal("Unsupported executor combination")
        if pair[0] is not pair[1]:
            try:
                data = await self.converter.from_ipc(await self.converter.to_ipc(data))
            except ConversionError as error:
                raise ConversionFailed(error) from error
        self.metrics.record_transfer(size, time.perf_counter_ns() - start)
        return data

    async def transfer_with_backpressure(self, data: RuntimeData) -> RuntimeData:
        await trio.lowlevel.checkpoint()
        self.check_open()
        await self.reserve()
        self.pending += 1
        try:
            async with self.order:
                converted = await self.convert(data)
                self.buffer.append(converted)
        except BaseException:
            self.give_back()
            raise
        finally:
            self.pending -= 1
            self.tell_receivers()
        return converted

    async def reserve(self) -> None:
        """Take a slot, in turn."""
        if self.free and not self.admission:
            self.free -= 1
            return
        turn = trio.Event()
        self.admission.append(turn)
        try:
            await self.wait_for(turn)
        except BaseException:
            self.withdraw(turn)
            raise
        if self.closed:
            raise BridgeClosed

    async def wait_for(self, turn: trio.Event) -> None:
        if self.timeout is None:
            await turn.wait()
            return
        with trio.move_on_after(self.timeout):
            await turn.wait()
        if not turn.is_set():
            raise BackpressureTimeout(self.timeout)

    def withdraw(self, turn: trio.Event) -> None:
        if turn in self.admission:
            self.admission.remove(turn)
        elif not self.closed:  # it was given a slot at the same moment
            self.give_back()

    def give_back(self) -> None:
        """A slot is free: it goes to who waits longest."""
        if self.admission:
            self.admission.popleft().set()
        else:
            self.free += 1

    async def receive(self) -> RuntimeData:
        await trio.lowlevel.checkpoint()
        while not self.buffer:
            if self.closed and not self.pending:
                raise BridgeClosed
            await self.news.wait()
        datum = self.buffer.popleft()
        self.give_back()
        return datum

    def tell_receivers(self) -> None:
        self.news.set()
        self.news = trio.Event()

    async def close(self) -> None:
        """The state changes before anything can be cancelled."""
        self.closed = True
        while self.admission:
            self.admission.popleft().set()
        self.tell_receivers()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def __aiter__(self) -> AsyncIterator[RuntimeData]:
        while True:
            try:
                datum = await self.receive()
            except BridgeClosed:
                return
            yield datum

    def get_stats(self) -> BridgeStats:
        return self.metrics.get_stats()

    def check_open(self) -> None:
        if self.closed:
            raise BridgeClosed
