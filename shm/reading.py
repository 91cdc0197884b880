"""The reading side of a ring that keeps what it has.

The reader *acknowledges* a record after it is done with it, so the ring is also the log from which another reader goes
on. It may take several before it acknowledges the first.

It *discards* a record, instead of giving it to anybody, that is too old or that the engine has declared stale: that is
an acknowledgement which counts one more in DISCARDED. Those are two words, of which the one that belongs to ACK (by the
parity) counts; outside of `discard` both are equal, so an acknowledgement need not touch them. Whoever dies in a
discard leaves the right one, and its successor makes the other equal: received = ACK - DISCARDED, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns
from typing import Final

from penstock.shm.errors import ChannelClosed, CorruptSegment, EndOfChannel, PeerLost
from penstock.shm.fence import WEAK_ORDER, fence_stores
from penstock.shm.record import HEADER, HEADER_BYTES, MAGIC, Field, Flag, Header, Kind
from penstock.shm.ring import Ring, Word

__all__ = ["RingReader", "read_header"]

_HEAD: Final = Word.HEAD
_ENDED: Final = Word.ENDED
_ACK: Final = Word.ACK
_WRITER_LOST: Final = Word.WRITER_LOST
_DISCARDED: Final = Word.DISCARDED
_STALE_BELOW: Final = Word.STALE_BELOW
_GROWN_AT: Final = Word.GROWN_AT
_PUBLISHED_NS: Final = Field.PUBLISHED_NS
_LAST_KIND: Final = Kind.COMPLETION
_ALL_FLAGS: Final = Flag.LAST_OF_CAUSE | Flag.SLAB | Flag.TAIL_IN_SLAB


class RingReader:
    """The reading side. Starts at the first record that was not acknowledged.

    Attributes:
        next: the sequence of the next record.
        contents_at: where the contents of the slot begin whose header `peek` gave.
    """

    def __init__(
        self,
        ring: Ring,
        max_age_ns: int = 0,
        on_discard: Callable[[Header, int | None], None] = lambda _, __: None,
    ) -> None:
        """Take the reading side.

        Args:
            ring: the ring.
            max_age_ns: records that were published longer ago are discarded; 0: none is too old.
            on_discard: called with the header of a record that nobody gets, and the new position of ACK. Without one
                `discard` is due when the records before it, which were taken, are acknowledged.

        Raises:
            CorruptSegment: what stands in the ring makes no sense.
        """
        self.ring = ring
        self.words: memoryview = ring.words
        self._view = ring.view
        self.next: int = ring.words[_ACK]
        self.acknowledged: int = self.next
        self.contents_at = 0
        self._region = region = ring.region_of(self.next)
        self._places = ring.region(region)
        self._capacity = len(self._places)
        self._head = self.next
        self._max_age_ns = max_age_ns
        self._on_discard = on_discard
        self._recalled = -1
        self._discarded: int = self.words[_DISCARDED + (self.next & 1)]
        if self._discarded > self.next:
            raise CorruptSegment(f"ring {ring.segment.name}: {self._discarded} discarded of {self.next}")
        self.words[_DISCARDED + (~self.next & 1)] = self._discarded

    @property
    def taken(self) -> int:
        """The position behind what was taken last."""
        return self.next

    def has_news(self) -> bool:
        """Whether `peek` would give a record, or raise."""
        words = self.words
        return words[_HEAD] != self.next or words[_ENDED] != 0 or words[_WRITER_LOST] != 0

    def peek(self) -> Header | None:
        """The next header, checked as far as the ring can, or None while there is none; `advance` takes the record.

        Raises:
            EndOfChannel: there will be none.
            PeerLost: there will be none, as the writer's process is gone.
            CorruptSegment: it makes no sense.
        """
        position = self.next
        if position == self._head or position < self.words[_STALE_BELOW]:
            if not self._look():
                return None
            position = self.next
        at = self._places[position % self._capacity]
        header = HEADER.unpack_from(self._view, at)
        if header[0] != MAGIC or header[4] != position or not 0 < header[1] <= _LAST_KIND or header[2] > _ALL_FLAGS:
            raise nonsense(header, position)
        self.contents_at = at + HEADER_BYTES
        return header

    def recall(self, sequence: int) -> None:
        """Let `peek` give a record that a predecessor had taken, however old and stale; those before it nobody gets."""
        self._recalled = sequence
        self._head = self.next

    def advance(self) -> None:
        """The record that `peek` showed is taken."""
        self.next += 1

    def acknowledge(self) -> int:
        """The oldest record that was taken is done with: its slot may be overwritten. The new position of ACK.

        Raises:
            ChannelClosed: every record that was taken is acknowledged already.
        """
        if self.acknowledged == self.next:
            raise ChannelClosed("there is no record to acknowledge")
        self.acknowledged = acknowledged = self.acknowledged + 1
        if WEAK_ORDER:
            fence_stores()
        self.words[_ACK] = acknowledged
        return acknowledged

    def discard(self) -> int:
        """The oldest record is done with, and nobody got it: it counts as dropped. The new position of ACK."""
        words = self.words
        self._discarded = discarded = self._discarded + 1
        self.acknowledged = acknowledged = self.acknowledged + 1
        words[_DISCARDED + (acknowledged & 1)] = discarded
        fence_stores()
        words[_ACK] = acknowledged
        fence_stores()
        words[_DISCARDED + (~acknowledged & 1)] = discarded
        return acknowledged

    def _look(self) -> bool:
        """See how far the writer is, and pass over what nobody is to get; whether there is a record behind that."""
        words, max_age_ns = self.words, self._max_age_ns
        while True:
            stale_below = words[_STALE_BELOW]
            if WEAK_ORDER:
                fence_stores()
            position, head = self.next, words[_HEAD]
            if head == position:
                self._see_end()
                return False
            if WEAK_ORDER:
                fence_stores()
            grown_at = words[_GROWN_AT + self._region + 1]
            known = self._change_region(position, head) if grown_at else head
            newest = self._capacity if not grown_at else self.ring.capacity << self.ring.region_of(head)
            if not position < head <= self.acknowledged + newest:
                raise CorruptSegment(f"the writer is at {head}, the reader at {position}, of {newest} slots")
            if stale_below > head:
                raise CorruptSegment(f"everything below {stale_below} is stale, and the writer is at {head}")
            self._head = position + 1 if max_age_ns else known  # so that each record's age is looked at
            if position == self._recalled or (position >= stale_below and not max_age_ns and position > self._recalled):
                return True
            header = read_header(self._view, self._places[position % self._capacity], position)
            is_young = not max_age_ns or monotonic_ns() - header[_PUBLISHED_NS] <= max_age_ns
            if position >= stale_below and is_young and position > self._recalled:
                return True
            self.next = position + 1
            self._on_discard(header, self.discard() if self.acknowledged == position else None)

    def _change_region(self, position: int, head: int) -> int:
        """Go on in the region where the record stands; how far that one is written.

        HEAD was loaded before: a record that it covers stands where GROWN_AT says by now.
        """
        ring, words = self.ring, self.words
        region = ring.region_of(position)
        if region != self._region:
            self._region, self._places = region, ring.region(region)
            self._capacity = len(self._places)
        return min(head, words[_GROWN_AT + region + 1] or head)

    def _see_end(self) -> None:
        """Raise if that was all: nothing is published after ENDED, and after the loss of the writer."""
        words = self.words
        ended, lost = words[_ENDED], words[_WRITER_LOST]
        if ended or lost:
            fence_stores()
            if words[_HEAD] == self.next:
                if ended:
                    raise EndOfChannel("the channel has ended")
                raise PeerLost("the process that writes is gone")


def read_header(view: memoryview, at: int, sequence: int) -> Header:
    """The header in a slot, which must be that of the record that belongs there.

    Raises:
        CorruptSegment: it makes no sense.
    """
    header = HEADER.unpack_from(view, at)
    if header[0] != MAGIC or header[4] != sequence or not 0 < header[1] <= _LAST_KIND or header[2] > _ALL_FLAGS:
        raise nonsense(header, sequence)
    return header


def nonsense(header: Header, sequence: int) -> CorruptSegment:
    """What is wrong with a header."""
    magic, kind, flags, _, found = header[:5]
    if magic != MAGIC or found != sequence:
        return CorruptSegment(f"record {sequence} has magic {magic:#x} and sequence {found}")
    return CorruptSegment(f"record {sequence} is of kind {kind} with flags {flags:#x}")
