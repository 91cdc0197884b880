"""The ends of a channel that wait in trio."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

import trio

from penstock.shm.channel import BATCH_WAIT_S, FeedbackEnd, ReceiveEnd, SendEnd
from penstock.shm.errors import SendTimeout
from penstock.shm.patience import Patience
from penstock.shm.record import Outgoing, Record
from penstock.shm.trio_doorbell import TrioDoorbell

__all__ = ["TrioFeedbackSender", "TrioReceiver", "TrioReceiving", "TrioSender"]


class TrioSender(SendEnd):
    """The sending end of a trio program. One task sends at a time."""

    _bell: TrioDoorbell

    async def send(self, message: Outgoing) -> None:
        """Publish a message, waiting for room. A cancelled call has sent nothing.

        It raises `Cancelled` when it is due, and lets others run at least once in 32 messages or 100 us.

        Raises:
            SendTimeout: there was none within the edge's `timeout_s`.
            EdgeFull, PeerLost, ChannelClosed, OutOfSharedMemory, CorruptSegment: as `offer`.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.offer(message):
            if self._bell.breath.is_due():
                await self._bell.breath.take()
        elif self.timeout_s is None:
            await self._send_later(message)
        else:
            with trio.move_on_after(self.timeout_s) as scope:
                await self._send_later(message)
            if scope.cancelled_caught and not self.offer(message):
                raise SendTimeout(self.timeout_s)

    async def wait_for_room(self, nbytes: int) -> None:
        """Wait until a message of this size could be sent, or sending it would raise.

        Raises:
            SendTimeout: there was no room within the edge's `timeout_s`.
        """
        with trio.move_on_after(float("inf") if self.timeout_s is None else self.timeout_s):
            await self._await_room(nbytes)
            return
        if not self.ready(nbytes):
            assert self.timeout_s is not None
            raise SendTimeout(self.timeout_s)

    async def _send_later(self, message: Outgoing) -> None:
        while not self.offer(message):
            await self._await_room(message.nbytes)
            await trio.lowlevel.checkpoint_if_cancelled()  # room may have come together with the cancellation

    async def _await_room(self, nbytes: int) -> None:
        start_ns = perf_counter_ns()
        try:
            if self.asks_for_several:
                with trio.move_on_after(BATCH_WAIT_S) as scope:
                    await self._bell.until(lambda: self.ready(nbytes), self.patience, self.arm)
                if scope.cancelled_caught:
                    self.ask_for_one()
            await self._bell.until(lambda: self.ready(nbytes), self.patience, self.arm)
        finally:
            self.disarm(perf_counter_ns() - start_ns)


class TrioFeedbackSender(FeedbackEnd, TrioSender):
    """A `TrioSender` whose channel somebody else may end."""


class TrioReceiving:
    """`receive`, for whatever has the calls of a `ReceiveEnd` that do not wait."""

    _bell: TrioDoorbell
    patience: Patience
    take: Callable[[], Record | None]
    ready: Callable[[], bool]
    arm: Callable[[], bool]
    disarm: Callable[[], None]

    async def receive(self) -> Record:
        """The next message, waiting for it. A cancelled call has taken nothing.

        It raises `Cancelled` when it is due, and lets others run at least once in 32 messages or 100 us.

        Raises:
            EndOfChannel, PeerLost, CorruptSegment: as `take`.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        record = self.take()
        if record is not None:
            if self._bell.breath.is_due():
                await self._bell.breath.take()
            return record
        while record is None:
            try:
                await self._bell.until(self.ready, self.patience, self.arm)
            finally:
                self.disarm()
            record = self.take()
        return record


class TrioReceiver(ReceiveEnd, TrioReceiving):
    """The receiving end of a trio program. One task receives at a time."""

    _bell: TrioDoorbell

    @property
    def bell(self) -> TrioDoorbell:
        """What it waits on."""
        return self._bell
