"""Faults against R-BP."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any, ClassVar

import trio

from penstock.conformance.mutants.model import mutant
from penstock.conformance.reference.databridge import ReferenceDataBridge
from penstock.executors.contract import BackpressureTimeout, ConversionFailed, RuntimeData

__all__: list[str] = []


@mutant("R-BP-01", "data_bridge", "holds one less than its capacity")
class OneLess(ReferenceDataBridge):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.free -= 1


@mutant("R-BP-02", "data_bridge", "looks for room first and pushes later, as L349-373 do")
class ChecksThenActs(ReferenceDataBridge):
    def __init__(self, source: Any, target: Any, converter: Any, capacity: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(source, target, converter, capacity, *args, **kwargs)
        self.capacity = capacity

    async def transfer_with_backpressure(self, data: RuntimeData) -> RuntimeData:
        self.check_open()
        while len(self.buffer) >= self.capacity:  # noqa: ASYNC110  so it is written in the contract
            await trio.sleep(100e-6)
        converted = await self.transfer(data)
        self.buffer.append(converted)
        self.tell_receivers()
        return converted


@mutant("R-BP-03", "data_bridge", "drops the oldest datum when it is full")
class DropsTheOldest(ReferenceDataBridge):
    async def reserve(self) -> None:
        if not self.free and self.buffer:
            self.buffer.popleft()
            self.free += 1
        await super().reserve()


@mutant("R-BP-04", "data_bridge", "a free slot is given to everybody who waits")
class AdmitsEverybody(ReferenceDataBridge):
    def give_back(self) -> None:
        if not self.admission:
            self.free += 1
        while self.admission:
            self.admission.popleft().set()


@mutant("R-BP-05", "data_bridge", "now and then nobody is woken")
class LosesWakeups(ReferenceDataBridge):
    count = 0

    def give_back(self) -> None:
        self.count += 1
        if self.count % 20 or not self.admission:
            super().give_back()


@mutant("R-BP-06", "data_bridge", "now and then a datum is lost, and the one before comes again")
class LosesData(ReferenceDataBridge):
    count = 0
    last: RuntimeData | None = None

    async def receive(self) -> RuntimeData:
        datum = await super().receive()
        self.count += 1
        if self.count % 100 == 0 and self.last is not None:
            return self.last
        self.last = datum
        return datum


@mutant("R-BP-07", "data_bridge", "half of the timeout is enough")
class GivesUpEarly(ReferenceDataBridge):
    async def wait_for(self, turn: trio.Event) -> None:
        if self.timeout is None:
            await turn.wait()
            return
        with trio.move_on_after(self.timeout / 2):
            await turn.wait()
        if not turn.is_set():
            raise BackpressureTimeout(self.timeout)


@mutant("R-BP-08", "data_bridge", "the slot that would have been a timed-out datum's is lost")
class TimeoutLosesTheSlot(ReferenceDataBridge):
    def withdraw(self, turn: trio.Event) -> None:
        if self.timeout is None:
            super().withdraw(turn)


@mutant("R-BP-09", "data_bridge", "a cancelled waiter stays in the queue")
class CancelledWaitersStay(ReferenceDataBridge):
    def withdraw(self, turn: trio.Event) -> None:
        """Nothing is given back."""


@mutant("R-BP-10", "data_bridge", "a failed conversion keeps its slot")
class FailuresKeepTheirSlot(ReferenceDataBridge):
    async def transfer_with_backpressure(self, data: RuntimeData) -> RuntimeData:
        try:
            return await super().transfer_with_backpressure(data)
        except ConversionFailed:
            self.free -= 1
            raise


@mutant("R-BP-11", "data_bridge", "the receipt is not the datum")
class OtherReceipt(ReferenceDataBridge):
    async def transfer_with_backpressure(self, data: RuntimeData) -> RuntimeData:
        converted = await super().transfer_with_backpressure(data)
        return replace(converted, meta={"receipt": True})


@mutant("R-BP-12", "data_bridge", "capacity 0 is accepted, and waits for ever")
class AcceptsCapacityZero(ReferenceDataBridge):
    def __init__(self, source: Any, target: Any, converter: Any, capacity: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(source, target, converter, max(1, capacity), *args, **kwargs)
        self.free = max(0, capacity)


@mutant("R-BP-15", "data_bridge", "after a while there are more slots than there should be")
class GrowsUnderLoad(ReferenceDataBridge):
    taken = 0

    async def receive(self) -> RuntimeData:
        datum = await super().receive()
        self.taken += 1
        if self.taken % 100 == 0:
            self.give_back()
        return datum


@mutant("R-BP-16", "data_bridge", "one lock for all bridges is held while one of them waits")
class OneLockForAll(ReferenceDataBridge):
    lock: ClassVar[list[trio.Lock]] = []

    async def reserve(self) -> None:
        if not self.lock:
            self.lock.append(trio.Lock())
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.lock[0])
            await super().reserve()
