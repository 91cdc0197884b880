"""Both sides of a ring that gives up its oldest record when it is full: the writer never waits.

The writer must not move the reader's position, as it would overwrite what is being read. So each side has a position of
its own, and the next record is the one behind both: EVICT is the writer's, ACK holds the reader's. The reader *claims*
a record before it looks whether it is still there; the writer evicts one before it looks whether it is claimed; behind
their fences at least one of them sees the other:

    writer: EVICT = p + 1;  fence;  may the slot of p be written?  only if CLAIM does not name p
    reader: CLAIM = p, slot;  fence;  is p mine?                    only if EVICT is not above p;  then VALID = CLAIM

A claimed slot can not be used, so there is one more slot than records, and an index says where each record stands. The
reader has one record at a time. VALID tells the reader that comes after a crash whether the claimed record was its own;
both words name the slot, `(p + 1) << 16 | slot`, as the index may have been used again by then.

ACK holds `position << 1 | parity`, where the parity of the number of received records says which of the two words of
RECEIVED is right: both change in one store. What lies behind both positions and was not received was dropped, so the
ledger is exact by construction (`Ring.statistics`). `tests/model/drop_model.py` explores it whole. A record that the
reader discards, as it is too old or stale, is claimed and acknowledged without being counted: a gap like others.
"""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import dataclass
from time import monotonic_ns
from typing import Final

from penstock.shm.errors import ChannelClosed, CorruptSegment, EndOfChannel, PeerLost
from penstock.shm.fence import fence, fence_stores
from penstock.shm.reading import read_header
from penstock.shm.record import HEADER_BYTES, Field, Flag, Header, Outgoing
from penstock.shm.ring import Ring, Word
from penstock.shm.slab import Slab, SlabPool
from penstock.shm.writing import RingWriter

__all__ = ["DroppingReader", "DroppingWriter"]

_SLOT_BITS: Final = Ring.SLOT_BITS
_SLOT_MASK: Final = (1 << _SLOT_BITS) - 1
_POSITIONS: Final = 1 << 64 - _SLOT_BITS
"""No position is larger: a claim has no more bits for it."""


@dataclass(slots=True)
class _Kept:
    """A record that the writer has put in and not seen the last of."""

    sequence: int
    slot: int
    nbytes: int
    slab: Slab | None


class DroppingWriter(RingWriter):
    """The writing side. Goes on at HEAD, so that a restarted writer can take over."""

    def __init__(self, ring: Ring, max_bytes: int, pool: SlabPool, lane: int) -> None:
        """Take the writing side.

        Args:
            ring: the ring.
            max_bytes: bound on the bytes that wait; one message may pass it alone.
            pool: whose slabs the records refer to.
            lane: of the edge.

        Raises:
            CorruptSegment: what stands in the ring makes no sense.
        """
        self._pool = pool
        self._lane = lane
        self._waiting: deque[_Kept] = deque()
        self._waiting_bytes = 0
        self._limbo: _Kept | None = None
        """A record that lies behind both positions, and that the reader has claimed: its slot is not ours yet."""
        self._unused = list(range(len(ring.places)))
        super().__init__(ring, max_bytes)

    def has_room(self, nbytes: int) -> bool:
        """Always, once the oldest records have made room; afterwards `write` is due.

        Raises:
            ChannelClosed: the ring was ended.
            PeerLost: the reader's process is gone.
            CorruptSegment: the reader's position makes no sense.
        """
        if self.ended:
            raise ChannelClosed("the channel was ended")
        if self._words[Word.READER_LOST]:
            raise PeerLost("the process that reads is gone")
        self._forget_the_read()
        while self._waiting and (
            len(self._waiting) >= self.ring.capacity or self._waiting_bytes + nbytes > self._max_bytes
        ):
            self._evict_oldest()
        return True

    def write(self, message: Outgoing, flags: int, slab: Slab | None = None) -> None:
        """Publish a message, after `has_room` has made room for it.

        Raises:
            ValueError: a number of the message has more bits than its field (a time stamp beyond 64, say).
        """
        ring, head, slot = self.ring, self.head, self._unused[-1]
        ring.index[head % ring.capacity] = slot
        self._at = ring.places[slot]
        super().write(message, flags, slab)
        self._unused.pop()
        self._waiting.append(_Kept(head, slot, message.nbytes, slab))
        self._waiting_bytes += message.nbytes
        self.free = 0  # `has_room` is always asked

    def _evict_oldest(self) -> None:
        self._words[Word.EVICT] = self._waiting[0].sequence + 1
        fence()
        self._take_leave()

    def is_wanted(self, sequence: int) -> bool:
        """Of a writer that takes over: whether a record that was not taken yet may still be."""
        in_limbo = self._limbo is not None and self._limbo.sequence == sequence
        return in_limbo or (bool(self._waiting) and self._waiting[0].sequence <= sequence < self.head)

    def _forget_the_read(self) -> None:
        """Take the slots back whose records the reader is done with."""
        position = self._words[Word.ACK] >> 1
        if position > self.head:
            raise CorruptSegment(f"the reader is at {position} of {self.head}")
        if self._limbo is not None:
            self._look_at_limbo(self._words[Word.CLAIM])
        while self._waiting and self._waiting[0].sequence < position:
            self._take_leave()

    def _take_leave(self) -> None:
        """The oldest record lies behind both positions: its slot is ours again, unless the reader has it in hand."""
        record = self._waiting.popleft()
        self._waiting_bytes -= record.nbytes
        claim = self._words[Word.CLAIM]  # once: between two looks the reader may go from one record to the other
        self._look_at_limbo(claim)
        if claim >> _SLOT_BITS == record.sequence + 1:
            self._limbo = record
        else:
            self._take_back(record)

    def _look_at_limbo(self, claim: int) -> None:
        if self._limbo is not None and claim >> _SLOT_BITS != self._limbo.sequence + 1:
            self._take_back(self._limbo)
            self._limbo = None

    def _take_back(self, record: _Kept) -> None:
        self._unused.append(record.slot)
        if record.slab is not None:
            record.slab.take_back(self._lane, lambda sequence: sequence != record.sequence, taken=False)

    def _take_over(self) -> None:
        """What the ring holds of a writer that is gone."""
        ring, words = self.ring, self._words
        first, claimed = max(words[Word.EVICT], words[Word.ACK] >> 1), words[Word.CLAIM]
        if not first <= self.head <= first + ring.capacity:
            raise CorruptSegment(f"ring {ring.segment.name}: positions {first} and {self.head} make no sense")
        for sequence in range(first, self.head):
            self._waiting.append(self._keep(sequence, ring.index[sequence % ring.capacity]))
        self._waiting_bytes = sum(record.nbytes for record in self._waiting)
        if 0 < claimed >> _SLOT_BITS <= first and (slot := claimed & _SLOT_MASK) in self._unused:
            with contextlib.suppress(CorruptSegment):  # claimed too late: the slot was used again, its reader retreats
                self._limbo = self._keep((claimed >> _SLOT_BITS) - 1, slot)

    def _keep(self, sequence: int, slot: int) -> _Kept:
        ring = self.ring
        if slot not in self._unused:
            raise CorruptSegment(f"ring {ring.segment.name}: record {sequence} is said to stand in slot {slot}")
        fields = read_header(ring.view, ring.places[slot], sequence)
        self._unused.remove(slot)
        slab = self._pool.find(fields[Field.ARENA], fields[Field.LEASE]) if fields[Field.FLAGS] & Flag.SLAB else None
        return _Kept(sequence, slot, fields[Field.TAIL_BYTES] + fields[Field.PAYLOAD_BYTES], slab)


class DroppingReader:
    """The reading side; one record at a time. Resumes the record that its predecessor had in hand.

    Attributes:
        next: the sequence of the record that `peek` gave, or the position behind the last one.
        contents_at: where the contents of its slot begin.
    """

    def __init__(self, ring: Ring, max_age_ns: int = 0) -> None:
        """Take the reading side.

        Args:
            ring: the ring.
            max_age_ns: records that were published longer ago are discarded; 0: none is too old.

        Raises:
            CorruptSegment: what stands in the ring makes no sense.
        """
        self.ring = ring
        self.words: memoryview = ring.words
        self.contents_at = 0
        packed = self.words[Word.ACK]
        self.next: int = packed >> 1
        self._received: int = self.words[Word.RECEIVED + (packed & 1)]
        if self._received > self.next:
            raise CorruptSegment(f"ring {ring.segment.name}: {self._received} received of {self.next}")
        self._max_age_ns = max_age_ns
        self._recalled = -1
        self._in_hand = False
        claimed = self.words[Word.CLAIM]
        self._resumes = claimed >> _SLOT_BITS > self.next and claimed == self.words[Word.VALID]
        if self._resumes:
            self.next = (claimed >> _SLOT_BITS) - 1
        else:
            self.words[Word.CLAIM] = 0

    @property
    def acknowledged(self) -> int:
        """The position up to which everything is done with: received, or dropped."""
        position: int = self.words[Word.ACK] >> 1
        return position

    @property
    def taken(self) -> int:
        """The position behind what was taken last."""
        return self.next + self._in_hand

    def has_news(self) -> bool:
        """Whether `peek` would give a record, or raise."""
        words = self.words
        news = max(self.next, words[Word.EVICT]) != words[Word.HEAD]
        return news or self._resumes or words[Word.ENDED] != 0 or words[Word.WRITER_LOST] != 0

    def peek(self) -> Header | None:
        """Claim the oldest record that is there, or None; `advance` takes it.

        Raises:
            RuntimeError: the last one was not acknowledged.
            EndOfChannel, PeerLost, CorruptSegment: as `RingReader.peek`.
        """
        if self._in_hand:
            raise RuntimeError("an edge that drops its oldest gives one record at a time: acknowledge it first")
        ring = self.ring
        while True:
            slot = self.words[Word.CLAIM] & _SLOT_MASK if self._resumes else self._claim()
            if slot is None:
                return None
            if slot >= len(ring.places):
                raise CorruptSegment(f"record {self.next} is said to stand in slot {slot} of {len(ring.places)}")
            self._resumes = False
            at = ring.places[slot]
            self.contents_at = at + HEADER_BYTES
            header = read_header(ring.view, at, self.next)
            if not self._is_stale(header):
                return header
            self._leave()

    def recall(self, sequence: int) -> None:
        """Let `peek` give the record that a predecessor had in hand, however old and stale."""
        self._recalled = sequence

    def advance(self) -> None:
        """The record that `peek` showed is taken."""
        self._in_hand = True

    def acknowledge(self) -> int:
        """The record in hand is done with. The new position.

        Raises:
            ChannelClosed: there is none.
        """
        if not self._in_hand:
            raise ChannelClosed("there is no record to acknowledge")
        self._in_hand = False
        self._received = received = self._received + 1
        self.words[Word.RECEIVED + (received & 1)] = received
        fence_stores()
        return self._leave()

    def _leave(self) -> int:
        """The claimed record lies behind us."""
        words = self.words
        self.next = position = self.next + 1
        words[Word.ACK] = position << 1 | self._received & 1
        fence_stores()
        words[Word.CLAIM] = 0
        return position

    def _is_stale(self, header: Header) -> bool:
        if self.next == self._recalled:
            return False
        if self.next < self.words[Word.STALE_BELOW]:
            return True
        max_age_ns = self._max_age_ns
        return max_age_ns > 0 and monotonic_ns() - header[Field.PUBLISHED_NS] > max_age_ns

    def _claim(self) -> int | None:
        """The slot of the next record, which is ours from now on."""
        words = self.words
        while True:
            ended, lost = words[Word.ENDED], words[Word.WRITER_LOST]
            fence_stores()
            position = max(self.next, words[Word.EVICT])
            head = words[Word.HEAD]
            if position >= head:
                words[Word.CLAIM] = 0
                return self._nothing(position, head, ended=ended, lost=lost)
            if head >= _POSITIONS:
                raise CorruptSegment(f"the writer is at {head}, and no record has that number")
            fence_stores()
            slot: int = self.ring.index[position % self.ring.capacity]
            if slot > _SLOT_MASK:
                return slot  # nonsense, which `peek` refuses
            words[Word.CLAIM] = claim = (position + 1) << _SLOT_BITS | slot
            fence()
            if words[Word.EVICT] <= position:
                words[Word.VALID] = claim
                self.next = position
                return slot

    @staticmethod
    def _nothing(position: int, head: int, *, ended: int, lost: int) -> None:
        if position > head:
            raise CorruptSegment(f"the writer is at {head}, and has given up everything before {position}")
        if ended:
            raise EndOfChannel("the channel has ended")
        if lost:
            raise PeerLost("the process that writes is gone")
