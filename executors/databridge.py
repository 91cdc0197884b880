"""The bridge that carries data from one executor to another (errata D-24 to D-42)."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

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
    ServiceError,
    Validation,
)
from penstock.executors.converter import SharedMemoryConverter
from penstock.executors.lifetime import ClosedByBlock

__all__ = ["DataBridge", "DataBridgeStatistics"]


@dataclass(frozen=True, slots=True)
class DataBridgeStatistics:
    """Where data, and who waits for them, are now."""

    buffered: int
    """Data that can be received."""
    in_transfer: int
    """Calls of `transfer` and `transfer_with_backpressure` that are converting."""
    waiting_to_transfer: int
    waiting_to_receive: int


class DataBridge(ClosedByBlock):
    """Carries data from one executor to another, and holds at most `capacity` of them until they are received.

    Between executors of different types a datum crosses through shared memory; between two of the same type it is
    passed on as it is, and where it stands in shared memory it stays. Neither executor bridge is closed by this one.

    Whoever waits is served in turn. The order in which data are accepted is the order in which they come out.
    """

    def __init__(
        self,
        source: ExecutorBridge,
        target: ExecutorBridge,
        *,
        capacity: int = 64,
        timeout: float | None = None,
        converter: IPCDataConverter | None = None,
    ) -> None:
        """Make a bridge.

        Args:
            source: asked for its `executor_type` at each transfer.
            target: likewise.
            capacity: how many data it holds, at least 1.
            timeout: seconds that `transfer_with_backpressure` waits for a slot; None: for ever.
            converter: yours to close; by default the bridge has one of its own, for any session.

        Raises:
            Validation: a capacity or a timeout that makes no sense.
        """
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
            raise Validation(f"capacity is a whole number above 0, not {capacity!r}")
        if timeout is not None and not (isinstance(timeout, int | float) and timeout >= 0):
            raise Validation(f"timeout is a number of seconds, or None to wait for ever, not {timeout!r}")
        self._source = source
        self._target = target
        self._timeout = timeout
        self._own_converter = SharedMemoryConverter()  # which holds nothing before its first use
        self._converter: IPCDataConverter = self._own_converter if converter is None else converter
        self._metrics = BridgeMetrics()
        self._buffer: deque[RuntimeData] = deque()
        self._free_slots = capacity
        self._inside: trio.lowlevel.Task | None = None  # has a slot and converts: one at a time, so none overtakes
        self._entrance = trio.lowlevel.ParkingLot()
        self._receivers = trio.lowlevel.ParkingLot()
        self._converting = 0
        self._closed = False

    async def transfer(self, data: RuntimeData) -> RuntimeData:
        """The datum as the target's executor takes it (see `contract.DataBridge`).

        Raises:
            ConversionFailed: with the `ConversionError` as its cause.
            Internal: "Unsupported executor combination"; or a converter raised what is no error of the contract.
            BridgeClosed: after `close`.
        """
        await trio.lowlevel.checkpoint()
        self._check_open()
        return await self._convert(data)

    async def transfer_with_backpressure(self, data: RuntimeData) -> RuntimeData:
        """Reserve a slot, waiting in turn while there is none; then transfer, and buffer what comes out.

        Returns a receipt, equal to the buffered datum. A call that fails, times out or is cancelled has left nothing.

        Raises:
            BackpressureTimeout: no slot became free within the bridge's timeout.
            BridgeClosed: the bridge was closed, before or while this waited.
            ConversionFailed, Internal: as `transfer`.
        """
        await self._enter()
        try:
            converted = await self._convert(data)
            self._buffer.append(converted)
        except BaseException:
            self._free_slots += 1
            raise
        finally:
            self._inside = None
            self._admit()
            self._wake_receivers()
            self._let_go()
        return converted

    async def receive(self) -> RuntimeData:
        """The oldest buffered datum; waits for one.

        Raises:
            BridgeClosed: closed, and everything was received.
        """
        await trio.lowlevel.checkpoint()
        while not self._buffer:
            if self._closed and self._inside is None:
                raise BridgeClosed
            await self._receivers.park()
        self._free_slots += 1
        self._admit()
        return self._buffer.popleft()

    async def close(self) -> None:
        """Take nothing more, wake who waits; what was accepted can still be received. Idempotent, never waits."""
        self._closed = True
        self._entrance.unpark_all()
        self._wake_receivers()
        self._let_go()
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """`close`, as the end of a block."""
        await self.close()

    async def __aiter__(self) -> AsyncIterator[RuntimeData]:
        """Receive until the bridge is closed and drained."""
        while True:
            try:
                data = await self.receive()
            except BridgeClosed:
                return
            yield data

    def get_stats(self) -> BridgeStats:
        """A consistent snapshot of the counters, also after `close`."""
        return self._metrics.get_stats()

    def statistics(self) -> DataBridgeStatistics:
        """Where data, and who waits for them, are now."""
        return DataBridgeStatistics(len(self._buffer), self._converting, len(self._entrance), len(self._receivers))

    async def _enter(self) -> None:
        """Take a slot, in turn."""
        await trio.lowlevel.checkpoint()
        self._check_open()
        me = trio.lowlevel.current_task()
        if self._free_slots and self._inside is None and not self._entrance:
            self._let_in(me)
            return
        timeout = math.inf if self._timeout is None else self._timeout
        with trio.move_on_after(timeout) as scope:
            await self._entrance.park()
        if scope.cancelled_caught:
            raise BackpressureTimeout(timeout)
        if self._inside is not me:  # woken by `close`
            raise BridgeClosed

    def _admit(self) -> None:
        """The next one that waits, if it can be let in now. It has its slot from now on, and can not be cancelled."""
        if self._free_slots and self._inside is None:
            for task in self._entrance.unpark():
                self._let_in(task)

    def _let_in(self, task: trio.lowlevel.Task) -> None:
        self._free_slots -= 1
        self._inside = task

    async def _convert(self, data: RuntimeData) -> RuntimeData:
        """Convert where the types differ, and count what succeeds."""
        if not isinstance(data, RuntimeData):
            raise Validation(f"a DataBridge carries RuntimeData, not {type(data).__name__}")
        start_ns, nbytes = time.perf_counter_ns(), data.nbytes
        self._converting += 1
        try:
            if self._crosses():
                data = await self._cross(data)
        finally:
            self._converting -= 1
            self._let_go()
        self._metrics.record_transfer(nbytes, time.perf_counter_ns() - start_ns)
        return data

    def _crosses(self) -> bool:
        source, target = self._source.executor_type, self._target.executor_type
        if not isinstance(source, ExecutorType) or not isinstance(target, ExecutorType):
            raise Internal("Unsupported executor combination")
        return source is not target

    async def _cross(self, data: RuntimeData) -> RuntimeData:
        try:
            message = await self._converter.to_ipc(data)
            with trio.CancelScope(shield=True):  # it never waits, and a reference that nobody redeems would stay
                converted = await self._converter.from_ipc(message)
        except ConversionError as error:
            raise ConversionFailed(error) from error
        except ServiceError:
            raise
        except Exception as error:  # somebody else's converter: nothing foreign leaves a bridge
            raise Internal(f"Data conversion failed: {error!r}") from error
        return converted

    def _wake_receivers(self) -> None:
        """One for a datum; all of them when there will be no more."""
        if self._closed:
            self._receivers.unpark_all()
        elif self._buffer:
            self._receivers.unpark()

    def _let_go(self) -> None:
        """Close what is ours, once nobody needs it."""
        if self._closed and self._inside is None and not self._converting:
            self._own_converter.close()

    def _check_open(self) -> None:
        if self._closed:
            raise BridgeClosed
