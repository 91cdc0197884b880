"""Leases on an edge that drops its oldest record, step by step: lease_model and drop_model in one.

Of a record that is dropped nobody clears the byte of its slab but the writer, and it must not do so when the reader has
taken the record just before. So a byte has three values: 0 free, 1 published and not taken, 2 taken.

    reader: CLAIM; fence; EVICT? ours: VALID;  BYTE = 2;  read;  acknowledge;  BYTE = 0
    writer: EVICT = v + 1; fence;  not CLAIMed and *then* BYTE still 1: nobody will take v, BYTE = 0

While v is claimed the writer can not know: v is in *limbo*, until a later put finds another claim. Then 1 says that the
reader retreated, and 2 or 0 that it took the record and sees to it. The claim is loaded before the byte: a reader that
took v and acknowledged it in between would otherwise lose a slab that it still holds.

A new reader clears what was taken and acknowledged. A new writer clears what was never published, and what was dropped
and is not claimed; what was dropped and is claimed is in limbo again.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from model.behaviour import Body
from model.drop_model import (
    DropRing,
    Held,
    acknowledge,
    evict,
    free_slot,
    packed,
    rebuild,
    resume,
    take,
    unpacked,
    wait_for_news,
)
from model.lease_model import View, Views, payload
from model.operations import fail, load, store

FREE, PUBLISHED, TAKEN = 0, 1, 2


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


@dataclass(frozen=True)
class LeasedRing(DropRing):
    """A dropping ring whose records refer to slabs."""

    bell: bool = False
    slabs: int = 2
    view: View = View.AFTER_ACK
    wrong: LeaseFault = LeaseFault.NONE

    def retreat(self, slot: int) -> Body:
        if self.wrong is LeaseFault.RETREAT_CLEARS:
            yield store(byte(unpacked((yield load(self.cell(slot, 0))))[1]), FREE)

    def memory(self) -> dict[str, int]:
        words = [word(slab) for slab in range(self.slabs) for word in (byte, sequence, payload)]
        return {**super().memory(), **dict.fromkeys(words, 0)}


Limbo: TypeAlias = "tuple[int, int] | None"
"""A record that was claimed when it was dropped, and its slab."""


def byte(slab: int) -> str:
    return f"slab{slab}.BYTE"


def sequence(slab: int) -> str:
    return f"slab{slab}.SEQ"


# The writer's side.


def writer(at: LeasedRing) -> Body:
    """As many turns as there are records; results in what is still in limbo, if anything is."""
    head = yield load("HEAD")
    evicted = yield load("EVICT")
    limbo = yield from _adopt(at, head, evicted)
    held = yield from rebuild(at, head, evicted)
    for _turn in range(at.messages):
        slab = yield from _free_slab(at)
        if slab is not None and head < at.messages:
            evicted, held, limbo = yield from _put(at, head, evicted, held, limbo, slab)
            head += 1
    return "in limbo", limbo


def _adopt(at: LeasedRing, head: int, evicted: int) -> Body:
    """Make of the bytes what the one before would have made of them."""
    limbo: Limbo = None
    oldest = max(evicted, (yield load("NEXT")) >> 1)
    claimed = unpacked((yield load("CLAIM")))[0]
    for slab in range(at.slabs) if at.wrong is not LeaseFault.WRITER_ADOPTS_ALL else ():
        if (yield load(byte(slab))) != PUBLISHED:
            continue
        number = yield load(sequence(slab))
        if number >= head or (number < oldest and number != claimed):
            yield store(byte(slab), FREE)
        elif number < oldest and at.wrong is not LeaseFault.LIMBO_FORGOTTEN:
            limbo = (number, slab)
    return limbo


def _free_slab(at: LeasedRing) -> Body:
    for slab in range(at.slabs):
        if (yield load(byte(slab))) == FREE:
            return slab
    return None


def _put(at: LeasedRing, head: int, evicted: int, held: Held, limbo: Limbo, slab: int) -> Body:
    """Publish record `head` in a slab; what is evicted, held and in limbo afterwards."""
    yield store(payload(slab), head + 1)
    yield store(sequence(slab), head)
    yield store(byte(slab), PUBLISHED)
    oldest = max(evicted, (yield load("NEXT")) >> 1)
    dropped: Limbo = None
    if head - oldest == at.capacity:
        dropped = oldest, unpacked((yield load(at.cell(held.index(oldest), 0))))[1]
        evicted = oldest = yield from evict(at, oldest)
    early = (yield load(byte(dropped[1]))) if dropped and at.wrong is LeaseFault.BYTE_BEFORE_CLAIM else None
    claim = yield load("CLAIM")
    limbo = yield from _settle(at, limbo, claim, None)
    limbo = (yield from _settle(at, dropped, claim, early)) or limbo
    slot = free_slot(at, held, oldest, claim)
    yield store(at.cell(slot, 0), packed(head, slab))
    yield store(at.index(head), slot)
    yield store("HEAD", head + 1)
    return evicted, (*held[:slot], head, *held[slot + 1 :]), limbo


def _settle(at: LeasedRing, dropped: Limbo, claim: int, seen: int | None) -> Body:
    """Free the slab of a dropped record unless it was taken; what can not be known yet is in limbo."""
    if dropped is None:
        return None
    record, slab = dropped
    if unpacked(claim)[0] == record and at.wrong is not LeaseFault.CLAIM_IGNORED:
        return None if at.wrong is LeaseFault.NO_LIMBO else dropped
    if seen is None:
        seen = yield load(byte(slab))
    again = at.wrong is not LeaseFault.SEQUENCE_IGNORED and (yield load(sequence(slab))) != record
    if not again and (seen == PUBLISHED or (seen == TAKEN and at.wrong is LeaseFault.TAKEN_IGNORED)):
        yield store(byte(slab), FREE)
    return None


# The reader's side.


def reader(at: LeasedRing) -> Body:
    """Reads what comes, for ever; goes on at NEXT, with the record that was taken and not acknowledged."""
    packed_next = yield load("NEXT")
    received = yield load(f"RECEIVED{packed_next & 1}")
    following = packed_next >> 1
    yield from _sweep(at, following)
    found = yield from resume(at, following)
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
