"""A ring of records: one writer, one reader, geometry fixed for life.

The segment begins with a page of shared words, aligned u64, each written by one side only; the slots follow. Positions
only grow. The reader *acknowledges* a record after it is done with it, so the ring is also the log from which another
reader goes on. HEAD is stored after the record is complete; ENDED after the last HEAD, and read before it.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import Final

from penstock.shm.errors import ChannelClosed, CorruptSegment, EndOfChannel, PeerLost, WouldBlock
from penstock.shm.fence import publish_fence
from penstock.shm.record import DESCRIPTION_AT, HEADER, HEADER_BYTES, MAGIC, Flag, Kind, Outgoing
from penstock.shm.segment import Segment

__all__ = ["Geometry", "Ring", "RingReader", "RingStatistics", "RingWriter"]

_RING_MAGIC: Final = int.from_bytes(b"PSTKRNG1", "little")
_PAGE: Final = 4096
_LARGEST: Final = 1 << 48
"""No payload is larger: more than any machine can hold."""

# Indices of u64 words. Each group has a cache line of its own.
_W_MAGIC, _W_CAPACITY, _W_SLOT_BYTES = 0, 1, 2
_W_HEAD, _W_ENDED, _W_WRITER_WAITING, _W_SENT_BYTES = 8, 9, 10, 11  # the writer's; SENT_BYTES are two words
_W_ACK, _W_READER_WAITING = 16, 17  # the reader's
_W_WRITER_LOST, _W_READER_LOST = 24, 25  # the supervisor's


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shape of a ring.

    Attributes:
        capacity: records.
        inline_bytes: payload and tail up to this size stand in the ring itself, larger payloads in a slab.
    """

    capacity: int
    inline_bytes: int

    @classmethod
    def fitting(cls, capacity: int, *, inline_bytes: int = 8064, budget_bytes: int = 2 << 20) -> Geometry:
        """Slots as large as `inline_bytes`, or smaller so that a ring of many stays within a budget."""
        room = max(512, budget_bytes // capacity // 64 * 64) - HEADER_BYTES
        return cls(capacity, min(inline_bytes, room))

    @property
    def slot_bytes(self) -> int:
        return (HEADER_BYTES + self.inline_bytes + 63) // 64 * 64

    @property
    def segment_bytes(self) -> int:
        return _PAGE + self.capacity * self.slot_bytes


@dataclass(frozen=True, slots=True)
class RingStatistics:
    """A ring as anybody who has mapped it sees it."""

    capacity: int
    sent: int
    """Records published."""
    acknowledged: int
    """Records that the reader is done with."""
    sent_bytes: int
    """Bytes of their payloads."""
    ended: bool
    writer_waiting: bool
    reader_waiting: bool
    writer_lost: bool
    reader_lost: bool

    @property
    def in_flight(self) -> int:
        return self.sent - self.acknowledged


class Ring:
    """The mapped segment of a ring, of no side: to create it, watch it, and say that one of its sides is gone."""

    def __init__(self, segment: Segment) -> None:
        """Map a ring that exists.

        Raises:
            CorruptSegment: this is no ring, or it is cut off.
        """
        self.segment = segment
        self.view: memoryview = segment.view
        if len(self.view) < _PAGE:
            raise CorruptSegment(f"segment {segment.name} of {len(self.view)} bytes is too small for a ring")
        self.words: memoryview = self.view[:_PAGE].cast("Q")
        self.capacity: int = self.words[_W_CAPACITY]
        self.slot_bytes: int = self.words[_W_SLOT_BYTES]
        if (
            self.words[_W_MAGIC] != _RING_MAGIC
            or self.capacity < 1
            or self.slot_bytes < HEADER_BYTES
            or self.slot_bytes % 64
            or _PAGE + self.capacity * self.slot_bytes > len(self.view)
        ):
            raise CorruptSegment(f"segment {segment.name} holds no ring, or not all of it")

    @classmethod
    def format(cls, segment: Segment, geometry: Geometry) -> Ring:
        """Make a ring of a fresh, zeroed segment of `geometry.segment_bytes`."""
        words = segment.view[:_PAGE].cast("Q")
        words[_W_CAPACITY] = geometry.capacity
        words[_W_SLOT_BYTES] = geometry.slot_bytes
        words[_W_MAGIC] = _RING_MAGIC
        return cls(segment)

    def writer_lost(self) -> None:
        """Say that the writer's process is gone; ring the reader's bell afterwards."""
        self.words[_W_WRITER_LOST] = 1

    def reader_lost(self) -> None:
        """Say that the reader's process is gone; ring the writer's bell afterwards."""
        self.words[_W_READER_LOST] = 1

    def statistics(self) -> RingStatistics:
        """What the words say now; `acknowledged` is read first, so that nothing seems to be in flight that is not."""
        words = self.words
        acknowledged = words[_W_ACK]
        head = words[_W_HEAD]
        return RingStatistics(
            self.capacity,
            head,
            acknowledged,
            words[_W_SENT_BYTES + (head & 1)],
            bool(words[_W_ENDED]),
            bool(words[_W_WRITER_WAITING]),
            bool(words[_W_READER_WAITING]),
            bool(words[_W_WRITER_LOST]),
            bool(words[_W_READER_LOST]),
        )


class RingWriter:
    """The writing side. Goes on at HEAD, so that a restarted writer can take over."""

    def __init__(self, ring: Ring, max_bytes: int) -> None:
        """Take the writing side.

        Args:
            ring: the ring.
            max_bytes: bound on the unacknowledged bytes; one message may pass it alone, when the ring is empty.
        """
        self.ring = ring
        self.inline_bytes: int = ring.slot_bytes - HEADER_BYTES
        self._view = ring.view
        self._words = ring.words
        self._capacity = ring.capacity
        self._slot_bytes = ring.slot_bytes
        self._max_bytes = max_bytes
        self.head: int = self._words[_W_HEAD]
        self.ended: bool = bool(self._words[_W_ENDED])
        self._acked = self._words[_W_ACK]
        self._sizes = [0] * self._capacity
        self._pending_bytes = 0
        self._sent_bytes = self._words[_W_SENT_BYTES + (self.head & 1)]
        if not 0 <= self.head - self._acked <= self._capacity:
            raise CorruptSegment(f"ring {ring.segment.name}: {self._acked} acknowledged of {self.head}")
        for sequence in range(self._acked, self.head):
            fields = HEADER.unpack_from(self._view, self._at(sequence))
            if fields[0] != MAGIC or fields[4] != sequence or fields[9] > _LARGEST:
                raise CorruptSegment(f"ring {ring.segment.name}: record {sequence} makes no sense")
            self._note(sequence, fields[8] + fields[9])

    def has_room(self, nbytes: int) -> bool:
        """Whether a message of this size could be written now.

        Raises:
            ChannelClosed: the ring was ended.
            PeerLost: the reader's process is gone.
            CorruptSegment: the reader's position makes no sense.
        """
        if self.ended:
            raise ChannelClosed("the channel was ended")
        if self._fits(nbytes):
            return True
        self._see_acknowledgements()
        if self._words[_W_READER_LOST]:
            raise PeerLost("the process that reads is gone")
        return self._fits(nbytes)

    def write(self, message: Outgoing, flags: int, arena: int = 0, lease: int = 0, offset: int = 0) -> None:
        """Publish a message. The caller has made sure of room, and that a payload that is not inline is in its slab.

        Raises:
            ValueError: a number of the message has more bits than its field (a time stamp beyond 64, say).
        """
        words = self._words
        head = self.head
        payload, tail = message.payload, message.tail
        payload_bytes, tail_bytes = len(payload), len(tail)
        at = self._at(head)
        try:
            HEADER.pack_into(
                self._view,
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
                time.monotonic_ns(),
                arena,
                lease,
                offset,
            )
        except struct.error as error:
            raise ValueError(f"a field of the message does not fit its record: {error}") from None
        self._view[at + DESCRIPTION_AT : at + HEADER_BYTES] = message.description
        at += HEADER_BYTES
        if not flags & Flag.SLAB:
            self._view[at : at + payload_bytes] = payload
            at += payload_bytes
        if tail_bytes and not flags & Flag.TAIL_IN_SLAB:
            self._view[at : at + tail_bytes] = tail
        self._note(head, payload_bytes + tail_bytes)
        self._sent_bytes += payload_bytes
        # Of two words the one that belongs to the next HEAD: whoever dies in between leaves the other one true.
        words[_W_SENT_BYTES + (head + 1 & 1)] = self._sent_bytes
        publish_fence()
        words[_W_HEAD] = self.head = head + 1

    def end(self) -> None:
        """Nothing follows. Idempotent."""
        self.ended = True
        publish_fence()
        self._words[_W_ENDED] = 1

    @property
    def reader_waiting(self) -> bool:
        """Whether the reader sleeps or is about to; look behind a fence only."""
        return bool(self._words[_W_READER_WAITING])

    def waiting(self, flag: bool) -> None:
        """Say that this side sleeps or is about to; a fence follows, then one more look."""
        self._words[_W_WRITER_WAITING] = flag

    def _at(self, sequence: int) -> int:
        return _PAGE + sequence % self._capacity * self._slot_bytes

    def _note(self, sequence: int, nbytes: int) -> None:
        self._sizes[sequence % self._capacity] = nbytes
        self._pending_bytes += nbytes

    def _fits(self, nbytes: int) -> bool:
        pending = self.head - self._acked
        return pending == 0 or (pending < self._capacity and self._pending_bytes + nbytes <= self._max_bytes)

    def _see_acknowledgements(self) -> None:
        acked = self._words[_W_ACK]
        if not self._acked <= acked <= self.head:
            raise CorruptSegment(f"the reader acknowledged {acked} of {self.head}, after {self._acked}")
        publish_fence()
        for sequence in range(self._acked, acked):
            self._pending_bytes -= self._sizes[sequence % self._capacity]
        self._acked = acked


class RingReader:
    """The reading side. Starts at the first record that was not acknowledged."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.next: int = ring.words[_W_ACK]
        self.acknowledged: int = self.next
        self._view = ring.view
        self._words = ring.words
        self._capacity = ring.capacity
        self._slot_bytes = ring.slot_bytes
        self.inline_bytes: int = ring.slot_bytes - HEADER_BYTES
        self._head = self.next

    def has_news(self) -> bool:
        """Whether `read` would give a record, or the end."""
        return self._words[_W_HEAD] != self.next or bool(self._words[_W_ENDED]) or bool(self._words[_W_WRITER_LOST])

    def read(self) -> tuple[tuple[int, ...], int]:
        """The next header, checked as far as the ring can, and where its slot's contents begin; `advance` takes it.

        Raises:
            WouldBlock: there is none yet.
            EndOfChannel: there will be none.
            PeerLost: there will be none, as the writer's process is gone.
            CorruptSegment: it makes no sense.
        """
        if self.next == self._head:
            self._see_head()
        at = _PAGE + self.next % self._capacity * self._slot_bytes
        fields = HEADER.unpack_from(self._view, at)
        if fields[0] != MAGIC or fields[4] != self.next:
            raise CorruptSegment(f"record {self.next} has magic {fields[0]:#x} and sequence {fields[4]}")
        if not Kind.DATA <= fields[1] <= Kind.COMPLETION or fields[2] > 7:
            raise CorruptSegment(f"record {self.next} is of kind {fields[1]} with flags {fields[2]:#x}")
        return fields, at + HEADER_BYTES

    def advance(self) -> None:
        """The record that `read` showed is taken."""
        self.next += 1

    def acknowledge(self) -> None:
        """The oldest unacknowledged record is done with: its slot may be overwritten.

        Raises:
            ChannelClosed: every record that was read is acknowledged already.
        """
        if self.acknowledged == self.next:
            raise ChannelClosed("there is no record to acknowledge")
        self.acknowledged += 1
        publish_fence()
        self._words[_W_ACK] = self.acknowledged

    @property
    def writer_waiting(self) -> bool:
        """Whether the writer sleeps or is about to; look behind a fence only."""
        return bool(self._words[_W_WRITER_WAITING])

    def waiting(self, flag: bool) -> None:
        """Say that this side sleeps or is about to; a fence follows, then one more look."""
        self._words[_W_READER_WAITING] = flag

    def _see_head(self) -> None:
        ended, lost = self._words[_W_ENDED], self._words[_W_WRITER_LOST]
        publish_fence()
        head = self._words[_W_HEAD]
        if head == self.next:
            if ended:
                raise EndOfChannel("the channel has ended")
            if lost:
                raise PeerLost("the process that writes is gone")
            raise WouldBlock
        if not self.next < head <= self.acknowledged + self._capacity:
            raise CorruptSegment(f"the writer is at {head}, the reader at {self.next}, of {self._capacity} slots")
        publish_fence()
        self._head = head
