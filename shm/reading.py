"""The reading side of a ring that keeps what it has.

The reader *acknowledges* a record after it is done with it, so the ring is also the log from which another reader goes
on. It may take several before it acknowledges the first.
"""

from __future__ import annotations

from typing import Final

from penstock.shm.errors import ChannelClosed, CorruptSegment, EndOfChannel, PeerLost
from penstock.shm.fence import WEAK_ORDER, fence_stores
from penstock.shm.record import HEADER, HEADER_BYTES, MAGIC, Flag, Header, Kind
from penstock.shm.ring import Ring, Word

__all__ = ["RingReader", "read_header"]

_HEAD: Final = Word.HEAD
_ENDED: Final = Word.ENDED
_ACK: Final = Word.ACK
_WRITER_LOST: Final = Word.WRITER_LOST
_LAST_KIND: Final = Kind.COMPLETION
_ALL_FLAGS: Final = Flag.LAST_OF_CAUSE | Flag.SLAB | Flag.TAIL_IN_SLAB


class RingReader:
    """The reading side. Starts at the first record that was not acknowledged.

    Attributes:
        next: the sequence of the next record.
        contents_at: where the contents of the slot begin whose header `peek` gave.
    """

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.words: memoryview = ring.words
        self._view = ring.view
        self.next: int = ring.words[_ACK]
        self.acknowledged: int = self.next
        self.contents_at = 0
        self._places = ring.places
        self._capacity = ring.capacity
        self._head = self.next

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
        if position == self._head:
            head = self.words[_HEAD]
            if head == position:
                self._see_end()
                return None
            if not position < head <= self.acknowledged + self._capacity:
                raise CorruptSegment(f"the writer is at {head}, the reader at {position}, of {self._capacity} slots")
            if WEAK_ORDER:
                fence_stores()
            self._head = head
        at = self._places[position % self._capacity]
        header = HEADER.unpack_from(self._view, at)
        if header[0] != MAGIC or header[4] != position or not 0 < header[1] <= _LAST_KIND or header[2] > _ALL_FLAGS:
            raise nonsense(header, position)
        self.contents_at = at + HEADER_BYTES
        return header

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
