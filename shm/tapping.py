"""A ring as somebody reads it who is no party to it: its writer and reader know nothing of him, and wait for nobody.

He follows HEAD, copies what stands in a slot, and then looks whether it was still that record: a seqlock, whose writer
does nothing that it would not do anyway. What was overwritten before he came, or while he copied, is lost to him.

* A ring that keeps what it has: record p + capacity goes into the slot of p. Its writer begins with it when HEAD is
  p + capacity and p is acknowledged. So a copy of p is whole if, after it, one of both is not yet so.
* A ring that drops its oldest uses any slot that is free. Its writer stores the header first, whose sequence is another
  one, so a copy is whole if the header is the same before and after. That takes the order of stores for granted: where
  there is none (`WEAK_ORDER`), only what nobody has taken yet counts, as its slot can not have been used again.
* A slab is written again as soon as no lane holds it, long before its word says so. So a copy of it is whole if, after
  it, the byte of this edge says "held", and then the word still has this sequence: so it was held all the time. (In the
  other order the word might be the old one, of a slab that is being written, and the byte that of its next record.)

`tests/model/tapping.py` explores all three, and finds what is wrong when one of these looks is left out.
"""

from __future__ import annotations

from typing import Final

from penstock.shm.arena import FREE, LANES, Arena, ArenaMap, published_as
from penstock.shm.errors import CorruptSegment
from penstock.shm.fence import WEAK_ORDER, fence_stores
from penstock.shm.reading import read_header
from penstock.shm.record import HEADER_BYTES, Field, Flag, Header, Record
from penstock.shm.ring import Policy, Ring, Word

__all__ = ["RingTap"]

_IN_SLAB: Final = Flag.SLAB
_TAIL_IN_SLAB: Final = Flag.TAIL_IN_SLAB


class RingTap:
    """Copies of what passes a ring from now on.

    Attributes:
        next: the sequence of the next record.
        lost: records that were overwritten before they could be copied.
    """

    def __init__(self, ring: Ring, arenas: ArenaMap, lane: int) -> None:
        """Begin behind what is there.

        Args:
            ring: the ring.
            arenas: of its writer.
            lane: of the edge at its writer.
        """
        self._ring = ring
        self._words = ring.words
        self._arenas = arenas
        self._lane = lane
        self._drops = ring.policy is Policy.DROP_OLDEST
        self._room = ring.slot_bytes - HEADER_BYTES
        self.next: int = self._words[Word.HEAD]
        self.lost: int = 0

    @property
    def ended(self) -> bool:
        """Whether everything has passed that ever will."""
        ended = bool(self._words[Word.ENDED])
        fence_stores()
        return ended and self.next >= self._words[Word.HEAD]

    def take(self, below: int) -> Record | None:
        """The next record under a number of which there is a whole copy, or None."""
        self._skip(below)
        while self.next < below:
            position = self.next
            self.next = position + 1
            record = self._copy(position)
            if record is not None:
                return record
            self.lost += 1
        return None

    @property
    def head(self) -> int:
        """How far the writer is."""
        head: int = self._words[Word.HEAD]
        fence_stores()
        return head

    def _skip(self, head: int) -> None:
        """Pass over what is certainly gone."""
        gone = head - (self._ring.capacity << self._words[Word.GENERATION])
        if gone > self.next:
            self.lost += gone - self.next
            self.next = gone

    def _copy(self, position: int) -> Record | None:
        """The record, if it was still there when it was copied."""
        ring = self._ring
        slot = ring.index[position % ring.capacity] if self._drops else 0
        if slot >= len(ring.places):
            return None
        at = ring.places[slot] if self._drops else ring.place(position)
        raw = bytes(ring.view[at : at + HEADER_BYTES])
        try:
            header = read_header(memoryview(raw), 0, position)
            arena, payload, tail = self._contents(header, at + HEADER_BYTES)
        except CorruptSegment:  # it is another one, or half of one
            return None
        fence_stores()
        if arena is not None and not self._is_held(arena, header[Field.LEASE], position):
            return None
        return Record(header, payload, tail) if self._is_still_there(at, raw, position) else None

    def _contents(self, header: Header, at: int) -> tuple[Arena | None, bytes, bytes]:
        """(arena, payload, tail), copied as the header says, which may be half of one."""
        flags, payload_bytes, tail_bytes = header[Field.FLAGS], header[Field.PAYLOAD_BYTES], header[Field.TAIL_BYTES]
        view = self._ring.view
        if not flags & _IN_SLAB:
            end = at + payload_bytes
            if payload_bytes + tail_bytes > self._room:
                raise CorruptSegment("it does not fit its slot")
            return None, bytes(view[at:end]), bytes(view[end : end + tail_bytes])
        in_slab = tail_bytes if flags & _TAIL_IN_SLAB else 0
        if tail_bytes - in_slab > self._room:
            raise CorruptSegment("its tail does not fit its slot")
        begin = header[Field.OFFSET]
        arena = self._arenas.locate(header[Field.ARENA], header[Field.LEASE], begin, payload_bytes + in_slab)
        end = begin + payload_bytes
        payload = bytes(arena.view[begin:end])
        tail = bytes(arena.view[end : end + in_slab]) if in_slab else bytes(view[at : at + tail_bytes])
        return arena, payload, tail

    def _is_held(self, arena: Arena, lease: int, position: int) -> bool:
        bit = self._lane % LANES
        if arena.view[arena.lanes_at(lease) + bit] == FREE:
            return False
        fence_stores()
        return published_as(arena.words[arena.words_at(lease) + bit], self._lane) == position

    def _is_still_there(self, at: int, raw: bytes, position: int) -> bool:
        words = self._words
        if not self._drops:
            return words[Word.ACK] <= position or self._ring.still_has(position, words[Word.HEAD])
        if self._ring.view[at : at + HEADER_BYTES] != raw:
            return False
        return not WEAK_ORDER or max(words[Word.EVICT], words[Word.ACK] >> 1) <= position
