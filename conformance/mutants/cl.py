"""Faults against R-CL."""

from __future__ import annotations

import trio

from penstock.conformance.mutants.model import mutant
from penstock.conformance.reference.databridge import ReferenceDataBridge
from penstock.executors.contract import BridgeClosed, RuntimeData

__all__: list[str] = []


@mutant("R-CL-01", "data_bridge", "close clears the buffer, as L375-382 do")
class ClearsAtClose(ReferenceDataBridge):
    async def close(self) -> None:
        await super().close()
        self.buffer.clear()


@mutant("R-CL-02", "data_bridge", "a plain transfer does not look whether the bridge is closed")
class TransfersWhenClosed(ReferenceDataBridge):
    async def transfer(self, data: RuntimeData) -> RuntimeData:
        return await self.convert(data)


@mutant("R-CL-03", "data_bridge", "who waits is not woken by close")
class LeavesWaitersAsleep(ReferenceDataBridge):
    async def close(self) -> None:
        self.closed = True
        self.tell_receivers()
        await trio.lowlevel.cancel_shielded_checkpoint()


@mutant("R-CL-04", "data_bridge", "the second close is an error")
class ClosesOnce(ReferenceDataBridge):
    async def close(self) -> None:
        if self.closed:
            raise BridgeClosed
        await super().close()


@mutant("R-CL-05", "data_bridge", "a transfer that is under way at close succeeds, and its datum is dropped")
class DropsAtClose(ReferenceDataBridge):
    async def transfer_with_backpressure(self, data: RuntimeData) -> RuntimeData:
        converted = await super().transfer_with_backpressure(data)
        await trio.lowlevel.cancel_shielded_checkpoint()
        if self.closed and converted in self.buffer:
            self.buffer.remove(converted)
        return converted


@mutant("R-CL-06", "data_bridge", "close can be cancelled before anything is closed")
class CloseIsCancelled(ReferenceDataBridge):
    async def close(self) -> None:
        await trio.lowlevel.checkpoint()
        await super().close()


@mutant("R-CL-07", "data_bridge", "the last datum of a closed bridge comes again")
class GivesTheLastTwice(ReferenceDataBridge):
    last: RuntimeData | None = None

    async def receive(self) -> RuntimeData:
        try:
            self.last = await super().receive()
        except BridgeClosed:
            if self.last is None:
                raise
            last, self.last = self.last, None
            return last
        return self.last


@mutant("R-CL-08", "data_bridge", "closes the executor bridges, too")
class ClosesItsEnds(ReferenceDataBridge):
    async def close(self) -> None:
        await super().close()
        await self.source.aclose()
        await self.target.aclose()


@mutant("R-CL-09", "data_bridge", "close waits until everything was taken")
class WaitsForTheConsumer(ReferenceDataBridge):
    async def close(self) -> None:
        self.closed = True
        while self.buffer:  # noqa: ASYNC110  that is the fault
            await trio.sleep(0.01)
        await super().close()
