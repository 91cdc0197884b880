"""The ring that drops its oldest record (policies drop_oldest and latest) step by step: the writer never waits.

The reader's position is the reader's alone, so the writer drops by EVICT: all records below it are gone, but for the
one that the reader has *claimed*, whose slot stays untouched. So there is a slot more than the capacity, and an index
tells which slot holds a record. Record `n` carries the payload `n + 1` in each cell of its slot.

    put:   EVICT = v + 1;          fence;  a slot that is neither live nor CLAIMed;  INDEX;  HEAD
    take:  CLAIM = record and slot;  fence;  EVICT above it? retreat: it is ours;      VALID = CLAIM

Either the writer sees the claim, or the reader sees the eviction. VALID tells a restarted reader, and the ledger, that
the claim was a success. CLAIM names the slot as well as the record: once the record was evicted its place in the index
is another record's, and neither a new reader nor a new writer could find the slot again.

NEXT carries in its lowest bit which of two words counts what was received, so that one store commits position and
count together. Nobody but the properties counts what was dropped: it is the gaps.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from model.behaviour import Body
from model.operations import FENCE, count, drain, fail, load, poll, ring, store

BELL = "reader.bell"
SLOT_BITS = 2


class Fault(enum.Enum):
    """What is done wrong on purpose: each of these the checker must find."""

    NONE = "nothing"
    NO_FENCE_AFTER_EVICT = "the writer looks for a claim without a fence after EVICT"
    NO_FENCE_AFTER_CLAIM = "the reader looks for an eviction without a fence after CLAIM"
    NO_FENCE_AFTER_HEAD = "the writer looks for a waiting reader without a fence after HEAD"
    NO_FENCE_AFTER_ENDED = "the writer looks for a waiting reader without a fence after ENDED"
    NO_FENCE_AFTER_READER_WAITING = "the reader re-checks without a fence after its waiting flag"
    WRITER_MOVES_NEXT = "the writer drops by moving the reader's position"
    CLAIM_IGNORED = "the writer reuses the slot of an evicted record though it is claimed"
    NO_VALID_WORD = "a new reader takes any claim for a success"
    EVICT_AFTER_WRITE = "EVICT is stored after the slot was written"
    INDEX_AFTER_HEAD = "INDEX is stored after HEAD"
    TWO_COMMITS = "the position and the received count are two words that know nothing of each other"
    READER_ASKS_INDEX = "a new reader looks in the index for the slot of the record it resumes"
    WRITER_ASKS_INDEX = "a new writer looks in the index for the slot that is claimed"


@dataclass(frozen=True)
class DropRing:
    """A ring with its size, and what is wrong with it.

    Without a `bell` the reader's waits can not go wrong, and nothing ends: for models whose concern is something else.
    """

    capacity: int
    messages: int
    fault: Fault = Fault.NONE
    cells: int = 1
    bell: bool = True

    @property
    def slots(self) -> int:
        return self.capacity + 1

    def index(self, record: int) -> str:
        return f"INDEX{record % self.capacity}"

    def cell(self, slot: int, half: int) -> str:
        return f"slot{slot}{'ab'[half]}"

    def retreat(self, slot: int) -> Body:
        """What else a reader does when its claim came too late."""
        yield from ()

    def memory(self) -> dict[str, int]:
        names = ["HEAD", "EVICT", "ENDED", "NEXT", "RECEIVED0", "RECEIVED1", "CLAIM", "VALID", "READER_WAITING"]
        names += ["WRITER_LOST", "READER_LOST", BELL, *map(self.index, range(self.capacity))]
        names += [self.cell(slot, half) for slot in range(self.slots) for half in range(self.cells)]
        names += [ghost(record) for record in range(self.messages) for ghost in (delivered, acknowledged)]
        return dict.fromkeys(names, 0)


Held: TypeAlias = tuple["int | None", ...]
"""The record in each slot, as far as its writer knows; None where it does not matter."""


def delivered(record: int) -> str:
    """A word for the properties: how often the record's payload was read."""
    return f"delivered{record}"


def acknowledged(record: int) -> str:
    """A word for the properties: how often somebody began to acknowledge the record."""
    return f"acknowledged{record}"


def packed(record: int, slot: int) -> int:
    """A record and its slot in one word, as CLAIM has them."""
    return record + 1 << SLOT_BITS | slot


def unpacked(claim: int) -> tuple[int, int]:
    """Record and slot of such a word; the record is -1 when there is none."""
    return (claim >> SLOT_BITS) - 1, claim & (1 << SLOT_BITS) - 1


def fence(at: DropRing, left_out: Fault) -> Body:
    if at.fault is not left_out:
        yield FENCE


def tell_reader(at: DropRing, left_out: Fault) -> Body:
    if not at.bell:
        return
    yield from fence(at, left_out)
    if (yield load("READER_WAITING")):
        yield ring(BELL)


# The writer's side.


def put(at: DropRing, head: int, evicted: int, held: Held) -> Body:
    """Publish record `head`, dropping the oldest when the ring is full; what is evicted and held afterwards."""
    oldest = max(evicted, (yield load("NEXT")) >> 1)
    full = head - oldest == at.capacity
    if full and at.fault is not Fault.EVICT_AFTER_WRITE:
        evicted = yield from evict(at, oldest)
    claim = yield load("CLAIM")
    slot = free_slot(at, held, oldest + full, claim)
    for half in range(at.cells):
        yield store(at.cell(slot, half), head + 1)
    if full and at.fault is Fault.EVICT_AFTER_WRITE:
        evicted = yield from evict(at, oldest)
    words = ((at.index(head), slot), ("HEAD", head + 1))
    for word, value in reversed(words) if at.fault is Fault.INDEX_AFTER_HEAD else words:
        yield store(word, value)
    yield from tell_reader(at, Fault.NO_FENCE_AFTER_HEAD)
    return evicted, (*held[:slot], head, *held[slot + 1 :])


def evict(at: DropRing, oldest: int) -> Body:
    if at.fault is Fault.WRITER_MOVES_NEXT:
        yield store("NEXT", (oldest + 1) << 1 | (yield load("NEXT")) & 1)
    else:
        yield store("EVICT", oldest + 1)
    yield from fence(at, Fault.NO_FENCE_AFTER_EVICT)
    return oldest + 1


def free_slot(at: DropRing, held: Held, oldest: int, claim: int) -> int:
    """There always is one: at most capacity - 1 records are live, and one more is claimed."""
    record, slot = unpacked(claim)
    claimed = {slot} if record >= 0 else set()
    if at.fault is Fault.WRITER_ASKS_INDEX:
        claimed = {slot for slot, there in enumerate(held) if there == record}
    if at.fault is Fault.CLAIM_IGNORED:
        claimed = set()
    free = {slot for slot, there in enumerate(held) if there is None or there < oldest}
    return min(free - claimed)


def rebuild(at: DropRing, head: int, evicted: int) -> Body:
    """What a new writer knows of the slots: the live records of the index. What is claimed, CLAIM says at each put."""
    held: Held = (None,) * at.slots
    oldest = max(evicted, (yield load("NEXT")) >> 1)
    if at.fault is Fault.WRITER_ASKS_INDEX:
        oldest = min(oldest, max(0, unpacked((yield load("CLAIM")))[0]))
    for record in range(oldest, head):
        slot = yield load(at.index(record))
        held = (*held[:slot], record, *held[slot + 1 :])
    return held


def writer(at: DropRing, *, ends: bool = True) -> Body:
    """Publishes what is not published yet; goes on at HEAD. One that does not end stands for one that is idle."""
    head = yield load("HEAD")
    evicted = yield load("EVICT")
    held = yield from rebuild(at, head, evicted)
    while head < at.messages:
        evicted, held = yield from put(at, head, evicted, held)
        head += 1
    if ends:
        yield store("ENDED", 1)
        yield from tell_reader(at, Fault.NO_FENCE_AFTER_ENDED)
    return True


# The reader's side.


def take(at: DropRing, following: int) -> Body:
    """The oldest record there is from `following` on, claimed: (record, slot); 'empty', or 'over'."""
    retreated = False
    while True:
        over = at.bell and ((yield load("ENDED")) or (yield load("WRITER_LOST")))
        record = max(following, (yield load("EVICT")))
        if record == (yield load("HEAD")):
            if retreated:
                yield store("CLAIM", 0)
            return "over" if over else "empty"
        slot = yield load(at.index(record))
        yield store("CLAIM", packed(record, slot))
        yield from fence(at, Fault.NO_FENCE_AFTER_CLAIM)
        if (yield load("EVICT")) <= record:
            yield store("VALID", packed(record, slot))
            return record, slot
        yield from at.retreat(slot)
        retreated = True


def receive(at: DropRing, following: int) -> Body:
    """(record, slot), or 'over'."""
    while True:
        found = yield from take(at, following)
        if found != "empty":
            return found
        yield from wait_for_news(at, following)


def wait_for_news(at: DropRing, following: int) -> Body:
    if not at.bell:
        yield poll("HEAD", max(following, (yield load("EVICT"))))
        return
    yield store("READER_WAITING", 1)
    yield from fence(at, Fault.NO_FENCE_AFTER_READER_WAITING)
    if not ((yield load("ENDED")) or (yield load("WRITER_LOST"))):
        record = max(following, (yield load("EVICT")))
        if record == (yield load("HEAD")):
            yield poll(BELL)
            yield drain(BELL)
    yield store("READER_WAITING", 0)


def read(at: DropRing, record: int, slot: int) -> Body:
    """Read the payload, and let the node work on it."""
    for half in range(at.cells):
        if (yield load(at.cell(slot, half))) != record + 1:
            yield fail(f"record {record} was overwritten, or is not what it claims to be")
    yield count(delivered(record))


def acknowledge(at: DropRing, record: int, received: int) -> Body:
    """The record is done with: with it, so many were received."""
    parity = 0 if at.fault is Fault.TWO_COMMITS else received & 1
    yield count(acknowledged(record))
    yield store(f"RECEIVED{parity}", received)
    yield store("NEXT", (record + 1) << 1 | parity)
    yield store("CLAIM", 0)


def resume(at: DropRing, following: int) -> Body:
    """What a new reader finds claimed and not acknowledged, None when its claim was no success."""
    claim = yield load("CLAIM")
    record, slot = unpacked(claim)
    success = at.fault is Fault.NO_VALID_WORD or claim == (yield load("VALID"))
    if not (success and record >= following):
        yield store("CLAIM", 0)
        return None
    if at.fault is Fault.READER_ASKS_INDEX:
        slot = yield load(at.index(record))
    return record, slot


def reader(at: DropRing, *, ends: bool = True) -> Body:
    """Reads to the end or to the last record; goes on at NEXT, with the record that was taken, not acknowledged."""
    packed_next = yield load("NEXT")
    received = yield load(f"RECEIVED{packed_next & 1}")
    following = packed_next >> 1
    found = yield from resume(at, following)
    while found != "over" and (ends or following < at.messages):
        if found is None:
            found = yield from receive(at, following)
            continue
        yield from read(at, *found)
        received += 1
        yield from acknowledge(at, found[0], received)
        following, found = found[0] + 1, None
    return True
