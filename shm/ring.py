"""A ring of records: one writer, one reader.

The segment begins with a page of shared words, aligned u64, each written by one side only; the slots follow. Positions
only grow. HEAD is stored after the record is complete; ENDED after the last HEAD, and read before it.

A ring that blocks can *grow*, so that a graph does not stand still for want of room. Its segment has several *regions*
of slots, each twice as large as the one before; only the first is there at the beginning. To grow, the engine makes the
next one really there, then stores GENERATION, then rings the writer. The writer, who alone decides positions, looks at
GENERATION when it finds no room, stores GROWN_AT[k] = HEAD, and from that position on uses region k: position p stands
in slot p % capacity of it. The reader sees GROWN_AT behind HEAD and changes the region at that position. Words alone
say in which region a record stands, so a successor of either side finds it; a region is never used again.

What happens when the ring is full is its *policy*. `writing` and `reading` are the two sides of a ring that keeps what
it has; `dropping` are those of one that gives up its oldest record.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from penstock.shm.errors import CorruptSegment, GrowthRefused
from penstock.shm.fence import fence
from penstock.shm.record import HEADER_BYTES
from penstock.shm.segment import Segment

__all__ = ["LARGEST_CAPACITY", "LARGEST_GROWTH", "Geometry", "Policy", "Ring", "RingStatistics", "Word"]

_RING_MAGIC: Final = int.from_bytes(b"PSTKRNG2", "little")
_PAGE: Final = 4096
_LOOKS: Final = 100
"""A reader goes on every few microseconds at most; one that seems to go on at each look writes nonsense."""
LARGEST_CAPACITY: Final = (1 << 16) - 1
"""Of a ring: CLAIM has 16 bits for a slot."""
LARGEST_GROWTH: Final = 15
"""How often a ring can grow: each time has a word of its own."""


class Policy(enum.IntEnum):
    """What a writer does when its edge is full."""

    BLOCK = 0
    """It waits. Nothing is lost."""
    DROP_NEWEST = 1
    """The message that does not fit is dropped."""
    DROP_OLDEST = 2
    """The oldest message that nobody has taken is dropped. With a capacity of one that is *latest*."""
    ERROR = 3
    """It fails at once."""


class Word:
    """Indices of the shared u64 words. Each group has a cache line of its own."""

    MAGIC, CAPACITY, SLOT_BYTES, POLICY, GROWTH = 0, 1, 2, 3, 4
    HEAD, ENDED, WRITER_WAITING, SENT_BYTES, REFUSED, EVICT = 8, 9, 10, 11, 13, 14  # the writer's
    """SENT_BYTES are two words, of which the one that belongs to HEAD counts. WRITER_WAITING: see `writing`."""
    ACK, READER_WAITING, RECEIVED, CLAIM, VALID, DISCARDED = 16, 17, 18, 20, 21, 22  # the reader's
    """RECEIVED are two words, and they, CLAIM and VALID belong to a ring that drops its oldest: see `dropping`.
    DISCARDED are two words, of a ring that keeps what it has: see `reading`."""
    WRITER_LOST, READER_LOST = 24, 25  # the supervisor's
    STALE_BELOW, GENERATION = 32, 33  # the engine's
    """The reader discards what was published under a lower number. The writer may use the regions up to GENERATION."""
    GROWN_AT = 40  # the writer's
    """GROWN_AT + k: from which position on region k is used; 0: not yet. The word behind the last one stays 0."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shape of a ring.

    Attributes:
        capacity: records.
        inline_bytes: payload and tail up to this size stand in the ring itself, larger payloads in a slab.
        policy: what happens when it is full.
        growth: how often it may grow, doubling each time; only where its policy is to block.
    """

    capacity: int
    inline_bytes: int
    policy: Policy = Policy.BLOCK
    growth: int = 0

    @classmethod
    def fitting(
        cls,
        capacity: int,
        policy: Policy = Policy.BLOCK,
        growth: int = 0,
        *,
        inline_bytes: int = 8128,
        budget_bytes: int = 2 << 20,
    ) -> Geometry:
        """Slots as large as `inline_bytes`, or smaller so that a ring of many stays within a budget."""
        room = max(512, budget_bytes // capacity // 64 * 64) - HEADER_BYTES
        return cls(capacity, min(inline_bytes, room), policy, growth if policy is Policy.BLOCK else 0)

    @property
    def slot_bytes(self) -> int:
        """An odd number of cache lines, so that the headers of different slots do not compete for the same ones."""
        return (HEADER_BYTES + self.inline_bytes + 63) // 64 * 64 | 64

    @property
    def segment_bytes(self) -> int:
        """What it needs at first."""
        begin, slots = _layout(self.capacity, self.policy)
        return begin + slots * self.slot_bytes

    @property
    def reserve_bytes(self) -> int:
        """What it can grow by."""
        return _region(self.capacity, self.slot_bytes, self.growth + 1)[0] - self.segment_bytes if self.growth else 0


def _layout(capacity: int, policy: int) -> tuple[int, int]:
    """Where the slots begin, and how many there are: a ring that drops has one to spare, and an index before them."""
    if policy != Policy.DROP_OLDEST:
        return _PAGE, capacity
    return _PAGE + -(-capacity * 8 // _PAGE) * _PAGE, capacity + 1


def _region(capacity: int, slot_bytes: int, number: int) -> tuple[int, int]:
    """Where a region of a ring that can grow begins, and how many slots it has."""
    return _PAGE + ((1 << number) - 1) * capacity * slot_bytes, capacity << number


@dataclass(frozen=True, slots=True)
class RingStatistics:
    """A ring as anybody who has mapped it sees it: sent = received + dropped + in flight, exactly."""

    capacity: int
    """Of records, as it has grown."""
    sent: int
    """Messages that the writer put in, those that were dropped at once included."""
    received: int
    """Messages that the reader is done with."""
    dropped: int
    """By the ring's policy, or discarded by the reader: too old, or interrupted."""
    in_flight: int
    sent_bytes: int
    """Bytes of the published payloads."""
    ended: bool
    writer_waiting: bool
    reader_waiting: bool
    writer_lost: bool
    reader_lost: bool


class Ring:
    """The mapped segment of a ring, of no side: to create it, watch it, and say that one of its sides is gone."""

    SLOT_BITS: Final = 16
    """Of CLAIM and VALID, for the slot; the rest is for the record."""

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
        self.capacity: int = self.words[Word.CAPACITY]
        self.slot_bytes: int = self.words[Word.SLOT_BYTES]
        self.growth: int = self.words[Word.GROWTH]
        policy = self.words[Word.POLICY]
        begin, slots = _layout(self.capacity, policy)
        if (
            self.words[Word.MAGIC] != _RING_MAGIC
            or policy > max(Policy)
            or self.growth > (LARGEST_GROWTH if policy == Policy.BLOCK else 0)
            or not 1 <= self.capacity <= LARGEST_CAPACITY
            or self.slot_bytes < HEADER_BYTES
            or self.slot_bytes % 64
            or begin + slots * self.slot_bytes > len(self.view)
            or (self.growth and _region(self.capacity, self.slot_bytes, self.growth + 1)[0] > len(self.view))
        ):
            raise CorruptSegment(f"segment {segment.name} holds no ring, or not all of it")
        self.policy: Policy = Policy(policy)
        self.places: list[int] = [begin + slot * self.slot_bytes for slot in range(slots)]
        """Where the slots begin in `view`."""
        self.index: memoryview = self.view[_PAGE:begin].cast("Q")
        """Of a ring that drops its oldest: which slot holds record n, at n % capacity."""

    @classmethod
    def format(cls, segment: Segment, geometry: Geometry) -> Ring:
        """Make a ring of a fresh, zeroed segment of `geometry.segment_bytes`."""
        words = segment.view[:_PAGE].cast("Q")
        words[Word.CAPACITY] = geometry.capacity
        words[Word.SLOT_BYTES] = geometry.slot_bytes
        words[Word.POLICY] = geometry.policy
        words[Word.GROWTH] = geometry.growth
        words[Word.MAGIC] = _RING_MAGIC
        return cls(segment)

    def region(self, number: int) -> list[int]:
        """Where the slots of a region begin in `view`.

        Raises:
            CorruptSegment: there is none of this number.
        """
        if number > self.growth:
            raise CorruptSegment(f"ring {self.segment.name} has {self.growth + 1} regions, no number {number}")
        begin, slots = _region(self.capacity, self.slot_bytes, number)
        return [begin + slot * self.slot_bytes for slot in range(slots)] if number else self.places

    def region_of(self, position: int) -> int:
        """In which region a record stands; for position HEAD, where the writer is."""
        words, number = self.words, 0
        while 0 < words[Word.GROWN_AT + number + 1] <= position:
            number += 1
        return number

    def place(self, position: int) -> int:
        """Where in `view` a record stands, of a ring that keeps what it has."""
        begin, slots = _region(self.capacity, self.slot_bytes, self.region_of(position))
        return begin + position % slots * self.slot_bytes

    def still_has(self, position: int, head: int) -> bool:
        """Whether nothing was written over a record since; what comes at `head` may have been, in part."""
        region = self.region_of(position)
        behind = self.words[Word.GROWN_AT + region + 1] or head + 1
        return position >= behind - (self.capacity << region)

    def grow(self) -> int:
        """Let it hold twice as many records and bytes; ring the writer's bell afterwards. The new capacity.

        Raises:
            GrowthRefused: it has grown as often as it may.
            OutOfSharedMemory: there is no room for the next region in /dev/shm.
        """
        number: int = self.words[Word.GENERATION] + 1
        if number > self.growth:
            raise GrowthRefused(self.capacity << self.growth)
        begin, slots = _region(self.capacity, self.slot_bytes, number)
        self.segment.extend(begin, slots * self.slot_bytes, what=f"a ring of {slots} records")
        self.words[Word.GENERATION] = number
        return slots

    def writer_lost(self) -> None:
        """Say that the writer's process is gone; ring the reader's bell afterwards."""
        self.words[Word.WRITER_LOST] = 1

    def reader_lost(self) -> None:
        """Say that the reader's process is gone; ring the writer's bell afterwards."""
        self.words[Word.READER_LOST] = 1

    def end(self) -> None:
        """End it in the place of a writer that has nothing to send; ring the reader's bell afterwards."""
        fence()
        self.words[Word.ENDED] = 1

    def interrupt(self) -> None:
        """What is in the ring is stale: its reader discards what it has not taken yet."""
        self.words[Word.STALE_BELOW] = self.words[Word.HEAD]

    @property
    def acknowledged(self) -> int:
        """The position up to which the reader is done with everything: received, or dropped."""
        position: int = self.words[Word.ACK]
        return position >> 1 if self.policy is Policy.DROP_OLDEST else position

    def statistics(self) -> RingStatistics:
        """What the words say now: exact, also while both sides are at work."""
        words = self.words
        look = self._look_for_gaps if self.policy is Policy.DROP_OLDEST else self._look
        positions = (words[Word.ACK], words[Word.EVICT])
        for _ in range(_LOOKS):
            received, dropped, in_flight = look(*positions)
            before, positions = positions, (words[Word.ACK], words[Word.EVICT])
            if positions == before:
                break  # else a side went on meanwhile, and the figures do not fit together
        return RingStatistics(
            self.capacity << words[Word.GENERATION],
            received + dropped + in_flight,
            received,
            dropped,
            in_flight,
            words[Word.SENT_BYTES + (words[Word.HEAD] & 1)],
            bool(words[Word.ENDED]),
            bool(words[Word.WRITER_WAITING]),
            bool(words[Word.READER_WAITING]),
            bool(words[Word.WRITER_LOST]),
            bool(words[Word.READER_LOST]),
        )

    def _look(self, acknowledged: int, _: int) -> tuple[int, int, int]:
        """(received, dropped, in flight)."""
        words = self.words
        discarded = words[Word.DISCARDED + (acknowledged & 1)]
        return acknowledged - discarded, discarded + words[Word.REFUSED], words[Word.HEAD] - acknowledged

    def _look_for_gaps(self, acknowledged: int, evicted: int) -> tuple[int, int, int]:
        """(received, dropped, in flight): what lies behind both positions and was not received was dropped.

        CLAIM after EVICT, so that a claim in time is seen. Whether it was is not known before VALID says so: what is
        claimed counts as in hand.
        """
        words = self.words
        received, position = words[Word.RECEIVED + (acknowledged & 1)], acknowledged >> 1
        behind = max(position, evicted)
        in_hand = int(position < words[Word.CLAIM] >> self.SLOT_BITS <= behind)
        dropped = behind - received - in_hand + words[Word.REFUSED]
        return received, dropped, words[Word.HEAD] - behind + in_hand
