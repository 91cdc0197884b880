"""The ends of a channel of a process that may block: a worker has nothing else to do while it waits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from os import sched_yield
from time import perf_counter_ns
from typing import Protocol

from penstock.shm.channel import BATCH_WAIT_S, FeedbackEnd, ReceiveEnd, SendEnd
from penstock.shm.doorbell import Doorbell
from penstock.shm.errors import SendTimeout
from penstock.shm.patience import Patience
from penstock.shm.record import Outgoing, Record

__all__ = ["FeedbackSender", "Receiver", "Sender", "Waitable", "wait_any"]


class Sender(SendEnd):
    """The sending end of a process that may block."""

    def send(self, message: Outgoing) -> None:
        """Publish a message, waiting for room.

        Raises:
            SendTimeout: there was none within the edge's `timeout_s`.
            Interrupted: this process was told to stop.
            EdgeFull, PeerLost, ChannelClosed, OutOfSharedMemory, CorruptSegment: as `offer`.
        """
        if self.offer(message):
            return
        deadline = None if self.timeout_s is None else time.monotonic() + self.timeout_s
        while not self.offer(message):
            # Not where it sleeps: a bell that rings for other edges all the time would put it off for ever.
            if deadline is not None and self.timeout_s is not None and time.monotonic() >= deadline:
                raise SendTimeout(self.timeout_s)
            self._wait(message.nbytes, deadline)

    def _wait(self, nbytes: int, deadline: float | None) -> None:
        start_ns = perf_counter_ns()
        budget_ns = self.patience.budget_ns()
        while budget_ns and perf_counter_ns() - start_ns < budget_ns:
            if self.ready(nbytes):
                self.patience.spun()
                self._bell.waited_ns += perf_counter_ns() - start_ns
                return
            sched_yield()
        self.arm()
        try:
            if not self.ready(nbytes):
                self._sleep(nbytes, deadline)
        finally:
            waited_ns = perf_counter_ns() - start_ns
            self._bell.waited_ns += waited_ns
            self.patience.slept(waited_ns, spun=budget_ns > 0)
            self.disarm(waited_ns)

    def _sleep(self, nbytes: int, deadline: float | None) -> None:
        if self.asks_for_several:
            if self._bell.wait(BATCH_WAIT_S):
                return
            self.ask_for_one()
            if self.ready(nbytes):
                return
        self._bell.wait(None if deadline is None else deadline - time.monotonic())


class FeedbackSender(FeedbackEnd, Sender):
    """A `Sender` whose channel somebody else may end."""


class Receiver(ReceiveEnd):
    """The receiving end of a process that may block."""

    def receive(self) -> Record:
        """The next message, waiting for it.

        Raises:
            Interrupted: this process was told to stop.
            EndOfChannel, PeerLost, CorruptSegment: as `take`.
        """
        while True:
            record = self.take()
            if record is not None:
                return record
            wait_any(self._bell, [self], self.patience)


class Waitable(Protocol):
    """What can be waited for with others: a receiving end, or several as one."""

    def ready(self) -> bool:
        """Whether there may be news."""
        ...

    def arm(self) -> bool:
        """Ask for a ring; whether there are news by now."""
        ...

    def disarm(self) -> None:
        """No more rings."""
        ...


def wait_any(bell: Doorbell, receivers: Sequence[Waitable], patience: Patience, timeout_s: float | None = None) -> None:
    """Wait until one of the receivers may have news, somebody rings for another reason, or the time is over.

    Raises:
        Interrupted: this process was told to stop.
    """
    start_ns = perf_counter_ns()
    budget_ns = patience.budget_ns()
    while budget_ns and perf_counter_ns() - start_ns < budget_ns:
        for receiver in receivers:
            if receiver.ready():
                patience.spun()
                return
        sched_yield()
    news = False
    for receiver in receivers:
        news |= receiver.arm()
    try:
        if not news:
            bell.wait(timeout_s)
    finally:
        for receiver in receivers:
            receiver.disarm()
        patience.slept(perf_counter_ns() - start_ns, spun=budget_ns > 0)
