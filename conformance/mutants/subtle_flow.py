"""Subtle faults of a DataBridge: each had once got past the checks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace

import trio

from penstock.conformance.mutants.model import mutant
from penstock.conformance.reference.databridge import ReferenceDataBridge
from penstock.executors.contract import BackpressureTimeout, BridgeStats, ConversionFailed, RuntimeData

__all__: list[str] = []


@mutant("R-BP-01", "data_bridge", "a plain transfer takes a slot, and keeps it")
class TransferTakesASlot(ReferenceDataBridge):
    async def transfer(self, data: RuntimeData) -> RuntimeData:
        converted = await super().transfer(data)
        self.free -= 1
        return converted


@mutant("R-BP-06", "data_bridge", "a plain transfer is buffered, too")
class TransferIsBuffered(ReferenceDataBridge):
    async def transfer(self, data: RuntimeData) -> RuntimeData:
        converted = await super().transfer(data)
        self.buffer.append(converted)
        self.tell_receivers()
        return converted


@mutant("R-BP-06", "data_bridge", "who is cancelled with a datum in hand drops it")
class CancelledTakeDrops(ReferenceDataBridge):
    async def receive(self) -> RuntimeData:
        datum = await super().receive()
        await trio.lowlevel.checkpoint()
        return datum


@mutant("R-BP-07", "data_bridge", "ten times the timeout")
class GivesUpLate(ReferenceDataBridge):
    async def wait_for(self, turn: trio.Event) -> None:
        with trio.move_on_after(10 * self.timeout if self.timeout else float("inf")):
            await turn.wait()
        if not turn.is_set():
            raise BackpressureTimeout(self.timeout or 0.0)


class _Grows(ReferenceDataBridge):
    """Who gives up waiting leaves a slot that was never his."""

    def withdraw(self, turn: trio.Event) -> None:
        if turn in self.admission:
            self.free += 1
        super().withdraw(turn)


@mutant("R-BP-08", "data_bridge", "a timed-out transfer leaves a slot more than there was")
class GrowsByTimeouts(_Grows):
    pass


@mutant("R-BP-09", "data_bridge", "a cancelled waiter leaves a slot more than there was")
class GrowsByCancellation(_Grows):
    pass


@mutant("R-BP-10", "data_bridge", "a failed transfer gives its slot back twice")
class GrowsByFailures(ReferenceDataBridge):
    async def transfer_with_backpressure(self, data: RuntimeData) -> RuntimeData:
        try:
            return await super().transfer_with_backpressure(data)
        except ConversionFailed:
            self.give_back()
            raise


@mutant("R-CL-01", "data_bridge", "a full buffer loses its last datum at close")
class DropsTheLast(ReferenceDataBridge):
    async def close(self) -> None:
        if self.buffer and not self.free and not self.closed:
            self.buffer.pop()
        await super().close()


@mutant("R-CL-01", "data_bridge", "iteration raises BridgeClosed instead of ending")
class IterationRaises(ReferenceDataBridge):
    async def __aiter__(self) -> AsyncIterator[RuntimeData]:
        while True:
            yield await self.receive()


@mutant("R-CL-03", "data_bridge", "close hangs, but only while somebody waits for a datum")
class HangsWithAReceiver(ReferenceDataBridge):
    receivers = 0

    async def receive(self) -> RuntimeData:
        self.receivers += 1
        try:
            return await super().receive()
        finally:
            self.receivers -= 1

    async def close(self) -> None:
        alone = not self.receivers
        await super().close()
        if not alone:
            await trio.sleep_forever()


@mutant("R-MT-04", "data_bridge", "bytes of buffered transfers are not counted")
class CountsPlainBytes(ReferenceDataBridge):
    async def transfer_with_backpressure(self, data: RuntimeData) -> RuntimeData:
        converted = await super().transfer_with_backpressure(data)
        self.metrics._bytes -= data.nbytes
        return converted


@mutant("R-MT-05", "data_bridge", "the average is the worst")
class AverageIsTheWorst(ReferenceDataBridge):
    worst = 0

    async def convert(self, data: RuntimeData) -> RuntimeData:
        start = time.perf_counter_ns()
        converted = await super().convert(data)
        self.worst = max(self.worst, (time.perf_counter_ns() - start) // 1000)
        return converted

    def get_stats(self) -> BridgeStats:
        return replace(super().get_stats(), avg_conversion_latency_us=self.worst)
