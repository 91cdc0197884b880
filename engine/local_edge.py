"""An edge inside the engine's process: a bounded channel between two tasks, which copies nothing."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from time import monotonic_ns, perf_counter_ns
from typing import Protocol

import trio

from penstock.engine.edge import EdgeFailed
from penstock.executors.contract import BackpressureTimeout, EndOfStream, RuntimeData
from penstock.executors.histogram import Histogram, Pace
from penstock.executors.translate import contract_error
from penstock.shm.errors import EdgeFull, GrowthRefused
from penstock.shm.ring import Policy
from penstock.shm.trio_doorbell import Breath

__all__ = ["FeedbackEdge", "LocalEdge", "LocalStatistics", "Watcher"]


class Watcher(Protocol):
    """Somebody who sees what passes an edge."""

    def see(self, data: RuntimeData) -> None:
        """A datum has been put in."""
        ...

    def see_end(self) -> None:
        """None will be."""
        ...


@dataclass(frozen=True, slots=True)
class LocalStatistics:
    """What has passed an edge inside this process: sent = received + dropped + in flight."""

    capacity: int
    sent: int
    received: int
    dropped: int
    in_flight: int
    sent_bytes: int
    ended: bool
    writer_waiting: bool
    reader_waiting: bool


class LocalEdge:
    """A bounded channel between two tasks; copies nothing. Like a ring, it counts a datum until it is done with.

    And like those of a ring, `send` and `receive` are no schedule point each time where they need not wait: they raise
    `Cancelled` when it is due, and let others run at least once in 32 calls or 100 us. Where a full edge drops, or
    fails, each `send` is one: else the reader would not get its turn before.
    """

    def __init__(
        self,
        name: str,
        capacity: int,
        max_bytes: int,
        timeout_s: float | None,
        policy: Policy = Policy.BLOCK,
        max_age_s: float | None = None,
        growth: int = 0,
        breath: Breath | None = None,
    ) -> None:
        self.name = name
        self._breath = breath or Breath()  # one for all edges of a run, which are used by one task at a time
        self._growth = growth
        self._policy = policy
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._max_age_ns = int((max_age_s or 0) * 1e9)
        self._waiting: deque[RuntimeData] = deque()
        self._sent_ns: deque[int] = deque()  # when those were sent, where there is an age to look at
        self._taken: deque[int] = deque()  # sizes of what was received and not acknowledged
        self._stale = 0  # how many of those were interrupted
        self._pending_bytes = 0
        self._ended = False
        self._reader = trio.lowlevel.ParkingLot()
        self._writer = trio.lowlevel.ParkingLot()
        self._sent = self._received = self._dropped = self._sent_bytes = 0
        self.queueing: Histogram = Histogram()
        self._pace = Pace()
        self._next_noted = self._pace.next
        self._watchers: tuple[Watcher, ...] = ()
        self._noted: list[tuple[RuntimeData, int, int]] = []  # of those that wait: when it was sent, what it stands for

    async def send(self, data: RuntimeData) -> None:
        """Put a datum in; where there is no room, wait for it or drop one, as the policy says.

        Raises:
            EdgeFailed: there was none within the edge's timeout, or at once where the policy is to fail.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        nbytes = data.nbytes
        if self._policy is not Policy.BLOCK:
            self._put_or_drop(data, nbytes)
            await self._breath.take()
        elif self._fits(nbytes):
            self._put(data, nbytes)
            if self._breath.is_due():
                await self._breath.take()
        else:
            await self.wait_for_room(nbytes)
            await trio.lowlevel.checkpoint_if_cancelled()  # an interrupt may have made the room, and this datum stale
            self._put(data, nbytes)

    def has_room(self, nbytes: int) -> bool:
        """Whether `put` may be called: nobody would have to wait."""
        return self._policy is not Policy.BLOCK or self._fits(nbytes)

    def put(self, data: RuntimeData) -> None:
        """Put a datum in, where `has_room` said so."""
        self._put_or_drop(data, data.nbytes)

    async def wait_for_room(self, nbytes: int) -> None:
        """Wait until there is room.

        Raises:
            EdgeFailed: there was none within the edge's timeout.
        """
        with trio.move_on_after(float("inf") if self._timeout_s is None else self._timeout_s):
            while not self.has_room(nbytes):
                await self._writer.park()
                self._breath.begin_anew(perf_counter_ns())
        if not self.has_room(nbytes):  # room may have come with the deadline
            assert self._timeout_s is not None
            raise EdgeFailed(self.name, BackpressureTimeout(self._timeout_s))

    def end(self) -> None:
        """Nothing follows. Idempotent."""
        self._ended = True
        self._reader.unpark_all()
        for watcher in self._watchers:
            watcher.see_end()

    def watch(self, watcher: Watcher) -> None:
        """Show somebody what is put in from now on. An edge that nobody watches does not ask for it."""
        self._watchers += (watcher,)
        self._put = self._put_and_show  # type: ignore[method-assign]
        if self._ended:
            watcher.see_end()

    def unwatch(self, watcher: Watcher) -> None:
        """Show nothing more. Idempotent."""
        if watcher in self._watchers:
            self._watchers = tuple(other for other in self._watchers if other is not watcher)
            if not self._watchers:
                del self._put

    async def receive(self) -> RuntimeData:
        """The next datum, waiting for it.

        Raises:
            EndOfStream: there will be none.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        data = self._take()
        if data is None:
            while data is None:
                await self._reader.park()
                data = self._take()
            self._breath.begin_anew(perf_counter_ns())
        elif self._breath.is_due():
            await self._breath.take()
        return data

    def receive_nowait(self) -> RuntimeData:
        """The next datum.

        Raises:
            EndOfStream: there will be none.
            trio.WouldBlock: there is none yet.
        """
        data = self._take()
        if data is None:
            raise trio.WouldBlock
        return data

    def acknowledge(self) -> None:
        """The oldest datum that was received is done with."""
        self._pending_bytes -= self._taken.popleft()
        if self._stale:
            self._stale -= 1
            self._dropped += 1
        else:
            self._received += 1
        if self._writer:  # to ask costs a seventh of waking nobody
            self._writer.unpark()

    def interrupt(self) -> None:
        """What nobody has taken yet is stale, and dropped; what somebody has counts as dropped once it is done with."""
        while self._waiting:
            self._drop_oldest()
        self._stale = len(self._taken)

    @property
    def is_stale(self) -> bool:
        """Whether the oldest datum that was taken was interrupted."""
        return self._stale > 0

    def grow(self) -> int:
        """Hold twice as many data and bytes from now on. The new capacity.

        Raises:
            GrowthRefused: it has grown as often as it may.
        """
        if not self._growth:
            raise GrowthRefused(self._capacity)
        self._growth -= 1
        self._capacity *= 2
        self._max_bytes *= 2
        self._writer.unpark_all()
        return self._capacity

    def statistics(self) -> LocalStatistics:
        return LocalStatistics(
            self._capacity,
            self._sent,
            self._received,
            self._dropped,
            len(self._waiting) + len(self._taken),
            self._sent_bytes,
            self._ended,
            bool(self._writer),
            bool(self._reader),
        )

    def _take(self) -> RuntimeData | None:
        if self._max_age_ns:
            self._drop_the_old()
        if not self._waiting:
            if self._ended:
                raise EndOfStream
            return None
        data = self._waiting.popleft()
        if self._max_age_ns:
            self._sent_ns.popleft()
        if self._noted and self._noted[0][0] is data:
            _, sent_ns, weight = self._noted.pop(0)
            self.queueing.add(monotonic_ns() - sent_ns, weight)
        self._taken.append(data.nbytes)
        return data

    def _put_or_drop(self, data: RuntimeData, nbytes: int) -> None:
        if self._policy is Policy.DROP_NEWEST and not self._fits(nbytes):
            self._sent += 1
            self._dropped += 1
            return
        if self._policy is Policy.ERROR and not self._fits(nbytes):
            in_flight = len(self._waiting) + len(self._taken)
            full = EdgeFull(in_flight, self._capacity, self._pending_bytes, self._max_bytes, nbytes)
            raise EdgeFailed(self.name, contract_error(full, self.name))
        if self._policy is Policy.DROP_OLDEST:  # what is taken is not dropped, and takes no room from what waits
            taken_bytes = sum(self._taken)
            while self._waiting and (
                len(self._waiting) >= self._capacity or self._pending_bytes - taken_bytes + nbytes > self._max_bytes
            ):
                self._drop_oldest()
        self._put(data, nbytes)

    def _drop_the_old(self) -> None:
        youngest_ns = monotonic_ns() - self._max_age_ns
        while self._sent_ns and self._sent_ns[0] < youngest_ns:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        data = self._waiting.popleft()
        self._pending_bytes -= data.nbytes
        self._dropped += 1
        if self._noted and self._noted[0][0] is data:
            del self._noted[0]
        if self._max_age_ns:
            self._sent_ns.popleft()
        self._writer.unpark()

    def _fits(self, nbytes: int) -> bool:
        pending = len(self._waiting) + len(self._taken)
        return not pending or (pending < self._capacity and self._pending_bytes + nbytes <= self._max_bytes)

    def _put(self, data: RuntimeData, nbytes: int) -> None:
        self._waiting.append(data)
        if self._max_age_ns:
            self._sent_ns.append(monotonic_ns())
        self._pending_bytes += nbytes
        self._sent = sent = self._sent + 1
        self._sent_bytes += nbytes
        if sent >= self._next_noted:
            self._noted.append((data, monotonic_ns(), self._pace.weight(sent)))
            self._next_noted = self._pace.next
        if self._reader:
            self._reader.unpark()

    def _put_and_show(self, data: RuntimeData, nbytes: int) -> None:
        LocalEdge._put(self, data, nbytes)
        for watcher in self._watchers:
            watcher.see(data)


class FeedbackEdge(LocalEdge):
    """An edge that closes a cycle: the engine ends it. What its writer gives later, at its own end, is dropped."""

    async def send(self, data: RuntimeData) -> None:
        if not self._ended:
            await super().send(data)
            return
        await trio.lowlevel.checkpoint()
        self._sent += 1
        self._dropped += 1
