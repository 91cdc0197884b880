"""Leases step by step (shm/arena.py, shm/lease.py): how a slab is held for those who read it in place.

A slab has for each lane (an edge of its writer) a byte, which says that the reader there may hold it, and a sequence,
which says for which record. The writer sets the byte before it publishes the record; the reader clears it when it has
acknowledged the record *and* its view is gone. All bytes clear: free.

    writer: payload;  for each lane: SEQ = HEAD;  BYTE = 1;  the record;  HEAD + 1
    reader: read;  ACK = n + 1;  read on;  BYTE = 0           (its last load comes before its store: no fence)

After a crash the sequence tells what a set byte means. A new reader clears what it has acknowledged: those views died.
A new writer clears what it never published. So SEQ is stored before the byte, and looked at *after* it: the slab of a
byte that is set can not be given to another record meanwhile.

The rings are the ring's business (ring_model): here the waits can not go wrong, and a ring holds all records there are.
A writer without a free slab skips a turn, which stands for growing as well as for waiting. Record `n` has the payload
`n + 1` on each lane.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from model.behaviour import Body
from model.operations import fail, load, poll, store


class Fault(enum.Enum):
    """What is done wrong on purpose: each of these the checker must find."""

    NONE = "nothing"
    RELEASE_BEFORE_ACK = "the byte is cleared before the record is acknowledged"
    BYTE_AFTER_HEAD = "the byte is set after the record was published"
    SEQUENCE_AFTER_BYTE = "the sequence is stored after the byte"
    OTHER_LANE_IGNORED = "the writer recycles a slab that another lane still holds"
    READER_SWEEPS_ALL = "a new reader clears every byte of its lane"
    READER_SWEEPS_NOTHING = "a new reader clears nothing"
    READER_SWEEPS_BY_SEQUENCE = "a new reader looks at the sequence before the byte"
    WRITER_ADOPTS_ALL = "a new writer takes every set byte for a reader's"
    WRITER_ADOPTS_NONE = "a new writer takes every set byte for one that it never published"
    LOST_READER_KEEPS = "the writer does not clear the lane of a reader that is gone for good"


class View(enum.Enum):
    """How long a reader holds what it reads in place."""

    UNTIL_ACK = "its view goes before the acknowledgement"
    AFTER_ACK = "its view goes after the acknowledgement"
    AFTER_NEXT = "its view goes after the next record was acknowledged, or when there is none"


@dataclass(frozen=True)
class Edges:
    """A writer's slabs and lanes. `mortal`: a reader may go for good, so the writer looks."""

    slabs: int
    lanes: int
    messages: int
    view: View = View.AFTER_ACK
    fault: Fault = Fault.NONE
    mortal: bool = False

    def memory(self) -> dict[str, int]:
        lanes, slabs = range(self.lanes), range(self.slabs)
        names = [word(lane) for lane in lanes for word in (head, ack, lost)]
        names += [record(lane, number) for lane in lanes for number in range(self.messages)]
        names += [word(slab, lane) for slab in slabs for lane in lanes for word in (byte, sequence)]
        return dict.fromkeys([*names, *map(payload, slabs)], 0)


Row: TypeAlias = tuple[int, ...]
Views: TypeAlias = tuple[tuple[int, int], ...]
"""Records and their slabs, the oldest first."""


def head(lane: int) -> str:
    return f"lane{lane}.HEAD"


def ack(lane: int) -> str:
    return f"lane{lane}.ACK"


def lost(lane: int) -> str:
    return f"lane{lane}.READER_LOST"


def record(lane: int, number: int) -> str:
    """Which slab a record refers to."""
    return f"lane{lane}.record{number}"


def byte(slab: int, lane: int) -> str:
    return f"slab{slab}.BYTE{lane}"


def sequence(slab: int, lane: int) -> str:
    return f"slab{slab}.SEQ{lane}"


def payload(slab: int) -> str:
    return f"slab{slab}.payload"


# The writer's side.


def writer(at: Edges) -> Body:
    """As many turns as there are records: each sends to every lane that is open and does not have the record yet."""
    heads: Row = ()
    for lane in range(at.lanes):
        heads = (*heads, (yield load(head(lane))))
    yield from _adopt(at, heads)
    open_lanes = tuple(range(at.lanes))
    for _turn in range(at.messages):
        open_lanes = yield from _take_leave(at, open_lanes)
        heads = yield from _turn_of(at, heads, open_lanes)
    if at.mortal:
        yield poll(lost(0))
        yield from _take_leave(at, open_lanes)
    return True


def _adopt(at: Edges, heads: Row) -> Body:
    """A byte whose record was never published: nobody knows of it."""
    for lane, published in enumerate(heads):
        for slab in range(at.slabs):
            if at.fault is Fault.WRITER_ADOPTS_ALL or not (yield load(byte(slab, lane))):
                continue
            if at.fault is Fault.WRITER_ADOPTS_NONE or (yield load(sequence(slab, lane))) >= published:
                yield store(byte(slab, lane), 0)


def _take_leave(at: Edges, lanes: Row) -> Body:
    """Of readers that are gone for good, with all that they held; the lanes that are left."""
    left: Row = ()
    for lane in lanes:
        if not (at.mortal and (yield load(lost(lane)))):
            left = (*left, lane)
            continue
        for slab in range(at.slabs) if at.fault is not Fault.LOST_READER_KEEPS else ():
            yield store(byte(slab, lane), 0)
    return left


def _turn_of(at: Edges, heads: Row, lanes: Row) -> Body:
    number = min((heads[lane] for lane in lanes), default=at.messages)
    if number == at.messages:
        return heads
    slab = yield from _free_slab(at)
    if slab is None:
        return heads
    yield store(payload(slab), number + 1)
    for lane in lanes:
        if heads[lane] == number:
            yield from _send(at, lane, number, slab)
            heads = (*heads[:lane], number + 1, *heads[lane + 1 :])
    return heads


def _free_slab(at: Edges) -> Body:
    for slab in range(at.slabs):
        held = False
        for lane in range(1 if at.fault is Fault.OTHER_LANE_IGNORED else at.lanes):
            held = held or bool((yield load(byte(slab, lane))))
        if not held:
            return slab
    return None


def _send(at: Edges, lane: int, number: int, slab: int) -> Body:
    lease = ((sequence(slab, lane), number), (byte(slab, lane), 1))
    publication = ((record(lane, number), slab), (head(lane), number + 1))
    stores = (*lease, *publication)
    if at.fault is Fault.SEQUENCE_AFTER_BYTE:
        stores = (*reversed(lease), *publication)
    if at.fault is Fault.BYTE_AFTER_HEAD:
        stores = (lease[0], *publication, lease[1])
    for word, value in stores:
        yield store(word, value)


# The reader's side.


def reader(at: Edges, lane: int) -> Body:
    """Reads what comes, for ever; begins at ACK."""
    position = yield load(ack(lane))
    yield from _sweep(at, lane, position)
    views: Views = ()
    while True:
        if position == (yield load(head(lane))):
            views = yield from release(at, lane, views, 0)
            yield poll(head(lane), position)
        slab = yield load(record(lane, position))
        views = (*views, (position, slab))
        yield from look(at, views)
        if at.fault is Fault.RELEASE_BEFORE_ACK:
            yield store(byte(slab, lane), 0)
            views = views[:-1]
        position += 1
        yield store(ack(lane), position)
        views = yield from release(at, lane, views, 1 if at.view is View.AFTER_NEXT else 0)


def _sweep(at: Edges, lane: int, acknowledged: int) -> Body:
    """What the one before acknowledged, it holds no more; the rest will be delivered again."""
    for slab in range(at.slabs) if at.fault is not Fault.READER_SWEEPS_NOTHING else ():
        if at.fault is Fault.READER_SWEEPS_BY_SEQUENCE:
            number = yield load(sequence(slab, lane))
            held = yield load(byte(slab, lane))
        else:
            held = yield load(byte(slab, lane))
            number = yield load(sequence(slab, lane))
        if held and (number < acknowledged or at.fault is Fault.READER_SWEEPS_ALL):
            yield store(byte(slab, lane), 0)


def look(at: Edges, views: Views) -> Body:
    """Read in place what is held."""
    for number, slab in views:
        if (yield load(payload(slab))) != number + 1:
            yield fail(f"record {number} was overwritten while it was held")


def release(at: Edges, lane: int, views: Views, keep: int) -> Body:
    """Let go of all views but the newest `keep`; what is left."""
    if at.view is not View.UNTIL_ACK:
        yield from look(at, views)
    for _number, slab in views[: len(views) - keep]:
        yield store(byte(slab, lane), 0)
    return views[len(views) - keep :]
