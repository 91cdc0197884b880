"""How a ring grows (shm/ring.py), step by step: a region of one slot, then of two, then of four.

The engine makes the next region really there, stores GENERATION and rings the writer. The writer looks at GENERATION
when it finds no room, stores GROWN_AT[k] = HEAD and goes on in region k. The reader loads GROWN_AT behind HEAD and
changes the region there. Both know nothing but the words when they start, so a successor goes on where the ring says.

The reader here takes nothing before `needs` records are published: without growth the two wait for each other.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from model.behaviour import Body, Process
from model.checker import Model
from model.operations import FENCE, count, drain, fail, load, poll, ring, store
from model.systems import NOBODY, Kills, watched


class Fault(enum.Enum):
    """What is done wrong on purpose."""

    NONE = "nothing"
    RAISED_BEFORE_IT_IS_THERE = "GENERATION is stored before the region is really there"
    NO_BELL_AFTER_GENERATION = "the engine does not ring the writer"
    GROWN_AT_AFTER_HEAD = "GROWN_AT is stored after the first record of the new region is published"
    GROWN_AT_LOADED_BEFORE_HEAD = "the reader loads GROWN_AT, then HEAD"
    READER_DOES_NOT_STOP_AT_GROWN_AT = "the reader reads on in the old region as far as HEAD goes"
    WRITER_STARTS_IN_FIRST_REGION = "a new writer does not look at GROWN_AT"
    WRITER_TRUSTS_GENERATION = "a new writer believes that the last one has grown as far as the engine allowed"
    WRITER_MOVES_GROWN_AT = "a new writer stores GROWN_AT once more"
    READER_STARTS_IN_LAST_REGION = "a new reader takes the newest region, wherever its position is"
    ONE_TOO_MANY = "the writer counts the old region's room beside the new one's"


@dataclass(frozen=True)
class Growing:
    """A ring of one slot, that may grow `growth` times, and `messages` for it."""

    messages: int
    growth: int
    needs: int
    fault: Fault = Fault.NONE

    writer_bell = "writer.bell"
    reader_bell = "reader.bell"

    def cell(self, region: int, record: int) -> str:
        return f"region{region}.slot{record % (1 << region)}"

    def memory(self) -> dict[str, int]:
        names = ["HEAD", "ACK", "GENERATION", "WRITER_LOST", "READER_LOST", self.writer_bell, self.reader_bell]
        names += [f"GROWN_AT{k}" for k in range(1, self.growth + 1)] + [f"there{k}" for k in range(1, self.growth + 1)]
        names += [f"region{k}.slot{n}" for k in range(self.growth + 1) for n in range(1 << k)]
        return dict.fromkeys([*names, *(f"delivered{n}" for n in range(self.messages))], 0)


def engine(at: Growing) -> Body:
    """Lets the ring grow as often as it may, at any time."""
    for k in range(1, at.growth + 1):
        early = at.fault is Fault.RAISED_BEFORE_IT_IS_THERE
        yield store("GENERATION" if early else f"there{k}", k)
        yield store(f"there{k}" if early else "GENERATION", k)
        yield FENCE  # making memory really there, and the bell, are calls into the kernel
        if at.fault is not Fault.NO_BELL_AFTER_GENERATION:
            yield ring(at.writer_bell)
    return True


def region_of(at: Growing, position: int) -> Body:
    """In which region a record stands."""
    region = 0
    while region < at.growth and 0 < (yield load(f"GROWN_AT{region + 1}")) <= position:
        region += 1
    return region


def writer(at: Growing) -> Body:
    head = yield load("HEAD")
    region = yield from _region_of_writer(at, head)
    while head < at.messages:
        before = region
        region = yield from _wait_for_room(at, head, region)
        if region < 0:
            return False
        if region and not (yield load(f"there{region}")):
            yield fail(f"region {region} is touched before it is there")
        yield store(at.cell(region, head), head + 1)
        yield store("HEAD", head + 1)
        if at.fault is Fault.GROWN_AT_AFTER_HEAD and region != before:
            yield store(f"GROWN_AT{region}", head)
        head += 1
        yield FENCE
        yield ring(at.reader_bell)
    return True


def _region_of_writer(at: Growing, head: int) -> Body:
    if at.fault is Fault.WRITER_STARTS_IN_FIRST_REGION:
        return 0
    if at.fault is Fault.WRITER_TRUSTS_GENERATION:
        return (yield load("GENERATION"))
    region = yield from region_of(at, head)
    if at.fault is Fault.WRITER_MOVES_GROWN_AT and region:
        yield store(f"GROWN_AT{region}", head)
    return region


def _wait_for_room(at: Growing, head: int, region: int) -> Body:
    """The region in which the next record goes; -1 when the reader is lost."""
    while True:
        room, region = yield from _has_room(at, head, region)
        if room:
            return region
        if (yield load("READER_LOST")):
            return -1
        yield poll(at.writer_bell)
        yield drain(at.writer_bell)


def _has_room(at: Growing, head: int, region: int) -> Body:
    """(whether there is room, the region), which may be a new one."""
    acknowledged = yield load("ACK")
    capacity = (2 << region) - 1 if at.fault is Fault.ONE_TOO_MANY else 1 << region
    if head - acknowledged < capacity:
        return True, region
    generation = yield load("GENERATION")
    if generation <= region:
        return False, region
    if at.fault is Fault.GROWN_AT_AFTER_HEAD:
        return True, generation
    while region < generation:
        region += 1
        yield store(f"GROWN_AT{region}", head)
    return True, region


def reader(at: Growing) -> Body:
    position = yield load("ACK")
    region = yield from _region_of_reader(at, position)
    known = position
    if position < at.needs:
        yield poll("HEAD", at.needs - 1)
    while position < at.messages:
        if position == known:
            known, region = yield from _look(at, position, region)
            if known < 0:
                return True
            if known == position:
                yield poll(at.reader_bell)
                yield drain(at.reader_bell)
                continue
        if (yield load(at.cell(region, position))) != position + 1:
            yield fail(f"record {position} does not stand in region {region}")
        yield count(f"delivered{position}")
        position += 1
        yield store("ACK", position)
        yield FENCE
        yield ring(at.writer_bell)
    return True


def _region_of_reader(at: Growing, position: int) -> Body:
    if at.fault is Fault.READER_STARTS_IN_LAST_REGION:
        return (yield from region_of(at, at.messages))
    return (yield from region_of(at, position))


def _look(at: Growing, position: int, region: int) -> Body:
    """(how far the region is written, the region); -1 when the writer is lost and that was all."""
    early = 0
    if at.fault is Fault.GROWN_AT_LOADED_BEFORE_HEAD and region < at.growth:
        early = yield load(f"GROWN_AT{region + 1}")
    lost = yield load("WRITER_LOST")
    head = yield load("HEAD")
    if head == position:
        return (-1 if lost else position), region
    if region == at.growth:
        return head, region
    if at.fault is Fault.GROWN_AT_LOADED_BEFORE_HEAD:
        grown_at = early
    else:
        grown_at = yield load(f"GROWN_AT{region + 1}")
    if not grown_at:
        return head, region
    region = yield from region_of(at, position)
    if region == at.growth or at.fault is Fault.READER_DOES_NOT_STOP_AT_GROWN_AT:
        return head, region
    next_at = yield load(f"GROWN_AT{region + 1}")
    return min(head, next_at or head), region


def growing(
    messages: int,
    growth: int,
    needs: int,
    fault: Fault = Fault.NONE,
    kills: Kills = NOBODY,
    *,
    tso: bool = True,
    reduced: bool = False,
) -> Model:
    """Writer, reader, and an engine that lets their ring grow; where anybody is killed, with their supervisors."""
    at = Growing(messages, growth, needs, fault)
    bodies: dict[str, Callable[[], Body]] = {"writer": partial(writer, at), "reader": partial(reader, at)}
    processes = [Process(name, body, killable=name in kills.victims) for name, body in bodies.items()]
    processes.append(Process("engine", partial(engine, at)))
    if kills.victims:
        processes.append(watched("writer", ("WRITER_LOST",), (at.reader_bell,), kills))
        processes.append(watched("reader", ("READER_LOST",), (at.writer_bell,), kills))
    final = partial(_all_delivered, at, kills.times if kills.restarts else 0)
    return Model(at.memory(), tuple(processes), final=final, kills=kills.times, tso=tso, reduced=reduced)


def _all_delivered(at: Growing, restarts: int, memory: Mapping[str, int], results: Mapping[str, Any]) -> str | None:
    times = [memory[f"delivered{record}"] for record in range(at.messages)]
    if max(times) > 1 + restarts:
        return f"deliveries {times}"
    published = memory["HEAD"]
    if results.get("reader") and not (all(times[:published]) and memory["ACK"] == published):
        return f"{published} were published, delivered {times}, and the reader thinks it is done"
    if results.get("writer") and published != at.messages:
        return f"the writer thinks it is done after {published}"
    return None
