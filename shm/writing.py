"""The writing side of a ring that keeps what it has, and waits or refuses when it is full.

WRITER_WAITING holds 0, or a target: "ring me when ACK has reached this". A writer that is woken for every free slot
spends its time waking up, so where the reader is fast it asks for several. The reader may give no more before it gets
something to read, or before somebody else does whom this writer feeds, so it is patient for a moment only: then it
asks for one.
"""

from __future__ import annotations

import struct
from time import monotonic_ns
from typing import Final

from penstock.shm.errors import ChannelClosed, CorruptSegment, EdgeFull, PeerLost
from penstock.shm.fence import WEAK_ORDER, fence_stores
from penstock.shm.record import HEADER, HEADER_BYTES, MAGIC, Flag, Outgoing
from penstock.shm.ring import Ring, Word
from penstock.shm.slab import Slab

__all__ = ["RingWriter"]

_LARGEST: Final = 1 << 48
"""No payload is larger: more than any machine can hold."""
_HEAD: Final = Word.HEAD
_SENT_BYTES: Final = Word.SENT_BYTES
_GENERATION: Final = Word.GENERATION
_NOWHERE: Final = (0, 0, 0)
_TAIL_IN_SLAB: Final = Flag.TAIL_IN_SLAB


class RingWriter:
    """The writing side. Goes on at HEAD, so that a restarted writer can take over.

    Attributes:
        free, free_bytes: what certainly fits, without another look at the reader's position.
    """

    def __init__(self, ring: Ring, max_bytes: int) -> None:
        """Take the writing side.

        Args:
            ring: the ring.
            max_bytes: bound on the unacknowledged bytes; one message may pass it alone, when the ring is empty.

        Raises:
            CorruptSegment: what stands in the ring makes no sense.
        """
        self.ring = ring
        self.inline_bytes: int = ring.slot_bytes - HEADER_BYTES
        self.head: int = ring.words[_HEAD]
        self.ended: bool = bool(ring.words[Word.ENDED])
        self.free = 0
        self.free_bytes = 0
        self._view = ring.view
        self._words = ring.words
        self._generation = generation = ring.region_of(self.head)
        self._places = ring.region(generation)
        self._capacity = ring.capacity << generation
        self._at = self._places[self.head % self._capacity]  # where the next record goes
        self._max_bytes = max_bytes << generation
        self._acked = 0
        self._total_bytes = self._acked_bytes = 0
        self._totals = [0] * self._capacity  # `_total_bytes` after each record, at its number modulo the capacity
        self._sent_bytes: int = ring.words[_SENT_BYTES + (self.head & 1)]
        self._take_over()

    def _take_over(self) -> None:
        """What the ring holds of a writer that is gone."""
        ring = self.ring
        self._acked = ring.words[Word.ACK]
        if not 0 <= self.head - self._acked <= self._capacity:
            raise CorruptSegment(f"ring {ring.segment.name}: {self._acked} acknowledged of {self.head}")
        for sequence in range(self._acked, self.head):
            self._total_bytes += record_bytes(ring, ring.place(sequence), sequence)
            self._totals[sequence % self._capacity] = self._total_bytes

    @property
    def decided(self) -> int:
        """How many messages this edge was given: published, or refused for want of room."""
        return self.head + int(self._words[Word.REFUSED])

    def is_wanted(self, sequence: int) -> bool:
        """Of a writer that takes over: whether a record is published. Its predecessor may have died before."""
        return sequence < self.head

    def has_room(self, nbytes: int) -> bool:
        """Whether a message of this size could be written now.

        Raises:
            ChannelClosed: the ring was ended.
            PeerLost: the reader's process is gone.
            CorruptSegment: the reader's position makes no sense.
        """
        if self.free > 0 and nbytes <= self.free_bytes:
            return True
        if self.ended:
            raise ChannelClosed("the channel was ended")
        self._see_acknowledgements()
        if self._words[Word.READER_LOST]:
            self.free = 0
            raise PeerLost("the process that reads is gone")
        if self.free > 0 and (nbytes <= self.free_bytes or self.head == self._acked):
            return True
        return self._words[_GENERATION] > self._generation and self._grow(nbytes)

    def write(self, message: Outgoing, flags: int, slab: Slab | None = None) -> None:
        """Publish a message, for which there is room; a payload that is not inline stands in its slab already.

        Raises:
            ValueError: a number of the message has more bits than its field (a time stamp beyond 64, say).
        """
        view, head, at = self._view, self.head, self._at
        payload, tail = message.payload, message.tail
        payload_bytes, tail_bytes = len(payload), len(tail)
        arena, lease, offset = _NOWHERE if slab is None else slab.reference
        try:
            HEADER.pack_into(
                view,
                at,
                MAGIC,
                message.kind,
                flags,
                message.input_port,
                head,
                message.correlation,
                message.input_sequence,
                message.output_index,
                tail_bytes,
                payload_bytes,
                message.timestamp_ns,
                monotonic_ns(),
                arena,
                lease,
                offset,
                message.description,
            )
        except struct.error as error:
            raise ValueError(f"a field of the message does not fit its record: {error}") from None
        at += HEADER_BYTES
        if slab is None:
            view[at : at + payload_bytes] = payload
            at += payload_bytes
        if tail_bytes and not flags & _TAIL_IN_SLAB:
            view[at : at + tail_bytes] = tail
        nbytes = payload_bytes + tail_bytes
        words, capacity = self._words, self._capacity
        self.free -= 1
        self.free_bytes -= nbytes
        self._totals[head % capacity] = self._total_bytes = self._total_bytes + nbytes
        self._sent_bytes = sent_bytes = self._sent_bytes + payload_bytes
        self.head = head = head + 1
        self._at = self._places[head % capacity]
        # Of two words the one that belongs to the next HEAD: whoever dies in between leaves the other one true.
        words[_SENT_BYTES + (head & 1)] = sent_bytes
        if WEAK_ORDER:
            fence_stores()
        words[_HEAD] = head

    def fullness(self, nbytes: int) -> EdgeFull:
        """How full it was at the last look, for a message that did not fit."""
        in_flight_bytes = self._total_bytes - self._acked_bytes
        return EdgeFull(self.head - self._acked, self._capacity, in_flight_bytes, self._max_bytes, nbytes)

    def refuse(self) -> None:
        """Count a message that was dropped because there was no room for it."""
        self._words[Word.REFUSED] += 1

    def end(self) -> None:
        """Nothing follows. Idempotent."""
        self.ended = True
        self.free = 0
        fence_stores()
        self._words[Word.ENDED] = 1

    def ask(self, batch: int) -> None:
        """Say that this side sleeps, until `batch` more records are acknowledged; a fence follows, then a last look."""
        self._words[Word.WRITER_WAITING] = min(self._acked + batch, self.head)

    def stop_asking(self) -> None:
        self._words[Word.WRITER_WAITING] = 0

    def _grow(self, nbytes: int) -> bool:
        """Go on in a larger region, which the engine has made; whether there is room now."""
        generation = self._words[_GENERATION]
        places = self.ring.region(generation)
        fence_stores()
        while self._generation < generation:
            self._generation += 1
            self._words[Word.GROWN_AT + self._generation] = self.head
            self._max_bytes *= 2
        capacity = len(places)
        totals = [0] * capacity
        for sequence in range(self._acked, self.head):
            totals[sequence % capacity] = self._totals[sequence % self._capacity]
        self._places, self._capacity, self._totals = places, capacity, totals
        self._at = places[self.head % capacity]
        return self.has_room(nbytes)

    def _see_acknowledgements(self) -> None:
        acked = self._words[Word.ACK]
        if not self._acked <= acked <= self.head:
            raise CorruptSegment(f"the reader acknowledged {acked} of {self.head}, after {self._acked}")
        if WEAK_ORDER:
            fence_stores()
        if acked != self._acked:
            self._acked = acked
            self._acked_bytes = self._totals[(acked - 1) % self._capacity]
        self.free = self._capacity - self.head + acked
        self.free_bytes = self._max_bytes - self._total_bytes + self._acked_bytes


def record_bytes(ring: Ring, at: int, sequence: int) -> int:
    """The size of a published record, without its header, for a writer that takes over.

    Raises:
        CorruptSegment: it makes no sense.
    """
    fields = HEADER.unpack_from(ring.view, at)
    if fields[0] != MAGIC or fields[4] != sequence or fields[9] > _LARGEST:
        raise CorruptSegment(f"ring {ring.segment.name}: record {sequence} makes no sense")
    size: int = fields[8] + fields[9]
    return size
