"""One edge in several rings: who writes it puts the n-th message into ring n modulo their number.

Strictly in turn, so the counts of the rings say whose turn it is, also to a successor of the writer. `merging` is the
way back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from penstock.shm.blocking import Sender
from penstock.shm.channel import SendEnd
from penstock.shm.record import Outgoing

__all__ = ["Splitter", "SplittingSender"]

End = TypeVar("End", bound=SendEnd)


class Splitter(Generic[End]):
    """The sending ends of the rings of one edge, as one.

    Attributes:
        senders: in their order.
    """

    def __init__(self, senders: Sequence[End]) -> None:
        self.senders: list[End] = list(senders)
        self.name: str = self.senders[0].name
        self._turn = 0
        self.go_back(0)

    @property
    def next(self) -> End:
        """Where the next message goes."""
        return self.senders[self._turn]

    def pass_on(self) -> None:
        """A message went there, or is not to go there."""
        self._turn = (self._turn + 1) % len(self.senders)

    def go_back(self, count: int) -> None:
        """Go on behind what was decided on, or as many messages before that."""
        decided = sum(sender.ring.decided for sender in self.senders)
        self._turn = (decided - count) % len(self.senders)

    def offer(self, message: Outgoing) -> bool:
        """Publish a message in its ring; False when that is full (see `SendEnd.offer`)."""
        if not self.next.offer(message):
            return False
        self.pass_on()
        return True

    def send_nowait(self, message: Outgoing) -> None:
        """Publish a message (see `SendEnd.send_nowait`)."""
        self.next.send_nowait(message)
        self.pass_on()

    def ready(self, nbytes: int) -> bool:
        """Whether `offer` would give anything but False."""
        return self.next.ready(nbytes)

    def end(self) -> None:
        """Nothing follows, in any of the rings. Idempotent."""
        for sender in self.senders:
            sender.end()


class SplittingSender(Splitter[Sender]):
    """A `Splitter` of a process that may block."""

    def send(self, message: Outgoing) -> None:
        """Publish a message, waiting for room in its ring (see `Sender.send`)."""
        self.next.send(message)
        self.pass_on()
