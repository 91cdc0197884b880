"""One edge in several rings, whose writers each have a share of the same inputs: who reads it has their order back.

The causes were distributed in turn (see `splitting`): number s of writer i's own input ring was the (s n + i)-th of
all. Each record says its cause (INPUT_SEQUENCE), and the reader gives what came of one cause before it looks for what
came of the next one, in the ring of the next writer.

How does it know that nothing more comes of a cause? There is a record of a later one, or the writer has acknowledged
the cause, which it does after it has published everything: so the reader looks at ACK of the writer's *input* ring,
and then whether there is another record. No record has to say "that was all", so counts stay counts of data; causes
that were discarded or set aside are passed over like those that had no outputs; and who reads after a crash finds the
place from the words and records alone. A writer rings after such an acknowledgement, if the reader waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Generic, TypeVar

from penstock.shm.channel import ReceiveEnd
from penstock.shm.errors import EndOfChannel, PeerLost
from penstock.shm.fence import WEAK_ORDER, fence_stores
from penstock.shm.patience import Patience
from penstock.shm.record import Field, Record
from penstock.shm.ring import Ring, Word

__all__ = ["Merger"]

_ACK: Final = Word.ACK
_CAUSE: Final = Field.INPUT_SEQUENCE
_UNKNOWN: Final = -1

End = TypeVar("End", bound=ReceiveEnd)


class Merger(Generic[End]):
    """The receiving ends of the rings of one edge, as one. Takes a record at a time, and then acknowledges it.

    Attributes:
        taken: the number of the ring that the last record came from.
    """

    def __init__(self, receivers: Sequence[End], inputs: Sequence[Ring]) -> None:
        """Find the place at the first `take`.

        Args:
            receivers: of the rings, in their order.
            inputs: the input ring of each one's writer.
        """
        self.receivers: list[End] = list(receivers)
        self.name: str = self.receivers[0].name
        self.patience: Patience = self.receivers[0].patience
        self.taken = 0
        self._causes = [ring.words for ring in inputs]
        self._ended: set[int] = set()
        self._turn = _UNKNOWN
        self._cause = 0  # of the ring whose turn it is
        self._armed: End | None = None

    def take(self) -> Record | None:
        """The next record in the order of the causes, or None while there is none (see `ReceiveEnd.take`)."""
        if self._turn == _UNKNOWN:
            self._find_place()
        while True:
            turn, cause = self._turn, self._cause
            done = self._causes[turn][_ACK]  # first: what came of those stands in the ring by then
            if WEAK_ORDER:
                fence_stores()
            try:
                header = self.receivers[turn].ring.peek()
            except EndOfChannel:
                self._ended.add(turn)  # nor is there a later cause; but others may have outputs of their own end
                if len(self._ended) == len(self.receivers):
                    raise
                self._pass_on()
                continue
            if header is None:
                if done <= cause:
                    return None
            elif header[_CAUSE] <= cause:
                self.taken = turn
                return self.receivers[turn].take()
            self._pass_on()

    def acknowledge(self) -> None:
        """The record that was taken is done with."""
        self.receivers[self.taken].acknowledge()

    def discard_stale(self) -> None:
        """Pass over what was interrupted, in every ring (see `ReceiveEnd.discard_stale`)."""
        for receiver in self.receivers:
            receiver.discard_stale()

    def ready(self) -> bool:
        """Whether there is something to look at: `take` may give None all the same."""
        turn = self._turn
        return turn == _UNKNOWN or self.receivers[turn].ready() or self._causes[turn][_ACK] > self._cause

    def arm(self) -> bool:
        """Before sleeping: ask to be rung by the writer whose turn it is; whether there is something by now."""
        if self._turn == _UNKNOWN:
            return True
        self._armed = self.receivers[self._turn]
        news = self._armed.arm()
        return news or self._causes[self._turn][_ACK] > self._cause

    def disarm(self) -> None:
        """After waiting: no more rings."""
        if self._armed is not None:
            self._armed.disarm()
            self._armed = None

    def _pass_on(self) -> None:
        while True:
            self._turn += 1
            if self._turn == len(self.receivers):
                self._turn = 0
                self._cause += 1
            if self._turn not in self._ended:
                return

    def _find_place(self) -> None:
        """The first cause of which something may come. Each ring's own first only grows, whatever happens meanwhile."""
        self._cause, self._turn = min((self._first_of(number), number) for number in range(len(self.receivers)))

    def _first_of(self, number: int) -> int:
        done: int = self._causes[number][_ACK]
        if WEAK_ORDER:
            fence_stores()
        with suppress(EndOfChannel, PeerLost):
            header = self.receivers[number].ring.peek()
            if header is not None:
                return int(header[_CAUSE])
        return done
