"""The ends of a channel that wait in trio. The one room of this layer that imports trio."""

from __future__ import annotations

from collections.abc import Callable

import trio

from penstock.shm.channel import ReceiveEnd, SendEnd
from penstock.shm.doorbell import Doorbell
from penstock.shm.errors import SendTimeout, WouldBlock
from penstock.shm.record import Outgoing, Record

__all__ = ["TrioDoorbell", "TrioReceiver", "TrioSender"]


class TrioDoorbell(Doorbell):
    """The doorbell of a trio program: any number of its tasks can wait for the one descriptor.

    Trio allows one task in `wait_readable`, and a task that pumps for the others costs 3.9 us a message. So the first
    to wait *leads*: it waits on the descriptor and wakes those whose condition has come true; when it is done, or
    cancelled, it hands over to another.
    """

    def __init__(self, read_fd: int, write_fd: int) -> None:
        super().__init__(read_fd, write_fd)
        self._led = False
        self._followers: dict[trio.lowlevel.Task, Callable[[], bool]] = {}

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready()`, which is asked again after each ring; it must not raise."""
        try:
            while not ready():
                if self._led:
                    await self._follow(ready)
                else:
                    await self._lead(ready)
        finally:
            # Also on behalf of a follower that was woken to lead and found that it had no more to wait for.
            if not self._led:
                self._wake(list(self._followers)[:1])

    async def _lead(self, ready: Callable[[], bool]) -> None:
        self._led = True
        try:
            while not ready():
                await trio.lowlevel.wait_readable(self._read_fd)
                self.drain()
                self._wake([task for task, condition in self._followers.items() if condition()])
        finally:
            self._led = False

    async def _follow(self, ready: Callable[[], bool]) -> None:
        task = trio.lowlevel.current_task()
        self._followers[task] = ready

        def abort(_: object) -> trio.lowlevel.Abort:
            del self._followers[task]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _wake(self, tasks: list[trio.lowlevel.Task]) -> None:
        for task in tasks:
            del self._followers[task]
            trio.lowlevel.reschedule(task)


class TrioSender(SendEnd):
    """The sending end of a trio program. One task sends at a time."""

    _bell: TrioDoorbell

    async def send(self, message: Outgoing) -> None:
        """Publish a message, waiting for room. A checkpoint; a cancelled call has sent nothing.

        Raises:
            SendTimeout: there was none within the edge's `timeout_s`.
            PeerLost, ChannelClosed, OutOfSharedMemory, CorruptSegment: as `send_nowait`.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self.send_nowait(message)
        except WouldBlock:
            with trio.move_on_after(float("inf") if self.timeout_s is None else self.timeout_s) as scope:
                await self._send_later(message)
            if scope.cancelled_caught and self.timeout_s is not None:
                raise SendTimeout(self.timeout_s) from None
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def _send_later(self, message: Outgoing) -> None:
        nbytes = message.nbytes
        while True:
            self.arm(True)
            try:
                await self._bell.until(lambda: self.ready(nbytes))
            finally:
                self.arm(False)
            try:
                return self.send_nowait(message)
            except WouldBlock:
                continue


class TrioReceiver(ReceiveEnd):
    """The receiving end of a trio program. One task receives at a time."""

    _bell: TrioDoorbell

    async def receive(self) -> Record:
        """The next message, waiting for it. A checkpoint; a cancelled call has taken nothing.

        Raises:
            EndOfChannel, PeerLost, CorruptSegment: as `receive_nowait`.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                record = self.receive_nowait()
            except WouldBlock:
                self.arm(True)
                try:
                    await self._bell.until(self.ready)
                finally:
                    self.arm(False)
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return record
