"""Leases on an edge that drops its oldest record, step by step: lease_model and drop_model in one.

Of a record that is dropped nobody clears the byte of its slab but the writer, and it must not do so when the reader has
taken the record just before. So a byte has three values: 0 free, 1 published and not taken, 2 taken.

    reader: CLAIM; fence; EVICT? ours: VALID;  BYTE = 2;  read;  acknowledge;  BYTE = 0
    writer: EVICT = v + 1; fence;  not CLAIMed and *then* BYTE still 1: nobody will take v, BYTE = 0

While v is claimed the writer can not know: v is in *limbo*, until a later put finds another claim. Then 1 says that the
reader retreated, and 2 or 0 that it took the record and sees to it. The claim is loaded before the byte: a reader that
took v and acknowledged it in between would otherwise lose a slab that it still holds.

A new reader clears what was taken and acknowledged. A new writer first sees what is waiting, and what is dropped and
claimed and so in limbo again; *then* it clears whatever else nobody took: never published, or dropped and not claimed.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from model.behaviour import Body
from model.drop_model import (
    DropRing,
    Kept,
    Slots,
    acknowledge,
    make_room,
    packed,
    publish,
    recover,
    resume,
    take,
    unpacked,
    wait_for_news,
)
from model.lease_model import View, Views, payload
from model.operations import fail, load, store

FREE, PUBLISHED, TAKEN = 0, 1, 2
NO_SLAB = -1


class LeaseFault(enum.Enum):
    """What is done wrong on purpose: each of these the checker must find."""

    NONE = "nothing"
    CLAIM_IGNORED = "the writer clears the byte of what it drops without a look at CLAIM"
    TAKEN_IGNORED = "the writer clears the byte of what it drops though it says 'taken'"
    BYTE_BEFORE_CLAIM = "the writer looks at the byte before it looks at CLAIM"
    SEQUENCE_IGNORED = "the writer takes the byte of a slab that was used again for the byte of what it dropped"
    NO_LIMBO = "the writer never looks again at what was claimed when it was dropped"
    LIMBO_FORGOTTEN = "a new writer does not look again at what is claimed and dropped"
    RETREAT_CLEARS = "a reader whose claim came too late clears the byte"
    READER_SWEEPS_IN_HAND = "a new reader clears the byte of what it is about to resume"
    READER_SWEEPS_NOTHING = "a new reader clears nothing"
    WRITER_ADOPTS_ALL = "a new writer clears nothing"
    ADOPTS_FIRST = "a new writer looks at CLAIM once for the bytes, and later once more for what is in limbo"


@dataclass(frozen=True)
class LeasedRing(DropRing):
    """A dropping ring whose records refer to slabs."""

    bell: bool = False
    slabs: int = 2
    view: View = View.AFTER_ACK
    wrong: LeaseFault = LeaseFault.NONE

    def header(self, record: int, slab: int) -> int:
        return packed(record, slab)

    def unpack(self, cell: int) -> tuple[int, int]:
        return unpacked(cell)

    def before_claim(self, record: Kept) -> Body:
        if self.wrong is LeaseFault.CLAIM_IGNORED:
            yield from self.take_back(record, None)
        if self.wrong is LeaseFault.BYTE_BEFORE_CLAIM:
            return (yield load(byte(record.slab)))
        return None

    def take_back(self, record: Kept, seen: int | None) -> Body:
        """Free the slab of a dropped record unless it was taken."""
        if seen is None:
            seen = yield load(byte(record.slab))
        taken = seen == TAKEN and self.wrong is LeaseFault.TAKEN_IGNORED
        if not (seen == PUBLISHED or taken):
            return
        if self.wrong is LeaseFault.SEQUENCE_IGNORED or (yield load(sequence(record.slab))) == record.record:
            yield store(byte(record.slab), FREE)

    def leave_limbo(self, record: Kept) -> Body:
        if self.wrong is not LeaseFault.NO_LIMBO and record.slab != NO_SLAB:
            yield from self.take_back(record, None)

    def retreat(self, slot: int) -> Body:
        if self.wrong is LeaseFault.RETREAT_CLEARS:
            yield store(byte(unpacked((yield load(self.cell(slot, 0))))[1]), FREE)

    def memory(self) -> dict[str, int]:
        words = [word(slab) for slab in range(self.slabs) for word in (byte, sequence, payload)]
        return {**super().memory(), **dict.fromkeys(words, 0)}


def byte(slab: int) -> str:
    return f"slab{slab}.BYTE"


def sequence(slab: int) -> str:
    return f"slab{slab}.SEQ"


# The writer's side.


def writer(at: LeasedRing) -> Body:
    """As many turns as there are records; results in what is still in limbo, if anything is."""
    head = yield load("HEAD")
    if at.wrong is LeaseFault.ADOPTS_FIRST:
        yield from _adopt_by_positions(at, head)
    slots = yield from recover(at, head)
    if at.wrong not in {LeaseFault.ADOPTS_FIRST, LeaseFault.WRITER_ADOPTS_ALL}:
        yield from _adopt(at, slots)
    if at.wrong is LeaseFault.LIMBO_FORGOTTEN and slots.limbo:
        slots = replace(slots, limbo=replace(slots.limbo, slab=NO_SLAB))
    for _turn in range(at.messages):
        if head < at.messages:
            slots, _ = yield from make_room(at, slots)
            slab = yield from _free_slab(at)
            if slab is not None:
                yield store(payload(slab), head + 1)
                yield store(sequence(slab), head)
                yield store(byte(slab), PUBLISHED)
                slots = yield from publish(at, head, slots, slab=slab)
                head += 1
    limbo = slots.limbo
    return "in limbo", limbo and (limbo.record, limbo.slab)


def _adopt(at: LeasedRing, slots: Slots) -> Body:
    """Whatever nobody took and is neither waiting nor in limbo was dropped, or never published."""
    wanted = tuple(kept.record for kept in (*slots.waiting, slots.limbo) if kept is not None)
    for slab in range(at.slabs):
        if (yield load(byte(slab))) == PUBLISHED and (yield load(sequence(slab))) not in wanted:
            yield store(byte(slab), FREE)


def _adopt_by_positions(at: LeasedRing, head: int) -> Body:
    evicted = yield load("EVICT")
    oldest = max(evicted, (yield load("NEXT")) >> 1)
    claimed = unpacked((yield load("CLAIM")))[0]
    for slab in range(at.slabs):
        if (yield load(byte(slab))) == PUBLISHED:
            number = yield load(sequence(slab))
            if not (oldest <= number < head or number == claimed):
                yield store(byte(slab), FREE)


def _free_slab(at: LeasedRing) -> Body:
    for slab in range(at.slabs):
        if (yield load(byte(slab))) == FREE:
            return slab
    return None


# The reader's side.


def reader(at: LeasedRing) -> Body:
    """Reads what comes, for ever; goes on at NEXT, with the record that was taken and not acknowledged."""
    packed_next = yield load("NEXT")
    received = yield load(f"RECEIVED{packed_next & 1}")
    following = packed_next >> 1
    found = yield from resume(at, following)
    yield from _sweep(at, following)
    views: Views = ()
    while True:
        found = found or (yield from take(at, following))
        if found == "empty":
            views = yield from _release(at, views, 0)
            yield from wait_for_news(at, following)
        else:
            views = yield from _open(at, found, views)
            received += 1
            yield from acknowledge(at, found[0], received)
            following = found[0] + 1
            views = yield from _release(at, views, 1 if at.view is View.AFTER_NEXT else 0)
        found = None


def _sweep(at: LeasedRing, following: int) -> Body:
    """What the one before took and acknowledged, it holds no more."""
    for slab in range(at.slabs) if at.wrong is not LeaseFault.READER_SWEEPS_NOTHING else ():
        if (yield load(byte(slab))) == TAKEN:
            in_hand = (yield load(sequence(slab))) >= following
            if at.wrong is LeaseFault.READER_SWEEPS_IN_HAND or not in_hand:
                yield store(byte(slab), FREE)


def _open(at: LeasedRing, found: tuple[int, int], views: Views) -> Body:
    """Take the slab of a record, and read in place; all that is held now."""
    record, slab = unpacked((yield load(at.cell(found[1], 0))))
    if record != found[0]:
        yield fail(f"record {found[0]} is not what it claims to be")
    yield store(byte(slab), TAKEN)
    views = (*views, (record, slab))
    yield from _look(views)
    return views


def _look(views: Views) -> Body:
    for record, slab in views:
        if (yield load(payload(slab))) != record + 1:
            yield fail(f"record {record} was overwritten while it was held")


def _release(at: LeasedRing, views: Views, keep: int) -> Body:
    """Let go of all views but the newest `keep`; what is left."""
    if at.view is not View.UNTIL_ACK:
        yield from _look(views)
    for _record, slab in views[: len(views) - keep]:
        yield store(byte(slab), FREE)
    return views[len(views) - keep :]
