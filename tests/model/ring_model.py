"""The ring's protocol (shm/ring.py, shm/channel.py) step by step, for the checker.

One writer, one reader, `capacity` slots of two cells each, a bell for each process. Record `n` carries the payload
`n + 1` in both cells of slot `n % capacity`; 0 is a cell that nobody wrote yet.

A writer without room asks to be woken at a *target*: WRITER_WAITING holds 0, or the ACK from which on it is to be rung,
so that it is not woken for each record. A process that goes to sleep, whatever for, first rings the writers of all the
rings it reads that still wait: what it has acknowledged may be less than they hoped for, and it may wait for them.
Whoever spins before it sleeps only looks again before it stores its waiting flag: that needs no words, and is in the
model as the moment between the first look and the flag.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, TypeAlias

from model.behaviour import Body
from model.operations import FENCE, count, drain, fail, load, poll, ring, store


class Fault(enum.Enum):
    """What is done wrong on purpose: each of these the checker must find."""

    NONE = "nothing"
    NO_FENCE_AFTER_READER_WAITING = "the reader re-checks without a fence after its waiting flag"
    NO_FENCE_AFTER_WRITER_WAITING = "the writer re-checks without a fence after its waiting flag"
    NO_FENCE_AFTER_HEAD = "the writer looks for a waiting reader without a fence after HEAD"
    NO_FENCE_AFTER_ENDED = "the writer looks for a waiting reader without a fence after ENDED"
    NO_FENCE_AFTER_ACK = "the reader looks for a waiting writer without a fence after ACK"
    HEAD_BEFORE_PAYLOAD = "HEAD is stored before the payload"
    NO_BELL_AFTER_ENDED = "the end rings nobody"
    READER_CHECKS_BEFORE_FLAG = "the reader checks, then stores its waiting flag and sleeps"
    WRITER_CHECKS_BEFORE_FLAG = "the writer checks, then stores its waiting flag and sleeps"
    READER_CLEARS_BEFORE_CHECK = "the reader clears its waiting flag before it re-checks"
    WRITER_CLEARS_BEFORE_CHECK = "the writer clears its waiting flag before it re-checks"
    ENDED_AFTER_HEAD = "ENDED is loaded after HEAD"
    ACK_BEFORE_READ = "the record is acknowledged before its payload is read"
    RINGS_AT_THE_TARGET_ONLY = "the reader rings when ACK is the writer's target, not when it has jumped over it"
    TARGET_BEYOND_HEAD = "the writer asks for more acknowledgements than there are records"
    SLEEPY_READER = "a reader that waits for news rings no writer that waits for it"
    SLEEPY_STAGE = "a process that waits for room rings no writer that waits for it"
    SILENT_SUPERVISOR = "the supervisor does not ring the neighbours of a process that has ended"


@dataclass(frozen=True)
class Ring:
    """One ring between two processes: the names of its words.

    `batch`: how many acknowledgements its writer waits for. `hold`: how many records its reader takes before it
    acknowledges them, all at once.
    """

    writer: str
    reader: str
    capacity: int
    messages: int
    fault: Fault = Fault.NONE
    cells: int = 2
    batch: int = 1
    hold: int = 1

    @property
    def name(self) -> str:
        return f"{self.writer}>{self.reader}"

    @property
    def writer_bell(self) -> str:
        return f"{self.writer}.bell"

    @property
    def reader_bell(self) -> str:
        return f"{self.reader}.bell"

    def __getattr__(self, word: str) -> str:
        """The name of one of the ring's words: `ring.HEAD`."""
        if not word.isupper():
            raise AttributeError(word)
        return f"{self.name}.{word}"

    def cell(self, record: int, half: int) -> str:
        return f"{self.name}.slot{record % self.capacity}{'ab'[half]}"

    def delivered(self, record: int) -> str:
        return f"{self.name}.delivered{record}"

    def target(self, head: int) -> int:
        """What a writer that finds the ring full at `head` waits for."""
        return head + 1 if self.fault is Fault.TARGET_BEYOND_HEAD else head - self.capacity + self.batch

    def memory(self) -> dict[str, int]:
        names = [self.HEAD, self.ACK, self.ENDED, self.READER_WAITING, self.WRITER_WAITING]
        names += [self.WRITER_LOST, self.READER_LOST, self.writer_bell, self.reader_bell]
        names += [self.cell(slot, half) for slot in range(self.capacity) for half in range(self.cells)]
        return dict.fromkeys([*names, *map(self.delivered, range(self.messages))], 0)


Rings: TypeAlias = tuple[Ring, ...]
Positions: TypeAlias = tuple[int, ...]


def _fence(at: Ring, left_out: Fault) -> Body:
    if at.fault is not left_out:
        yield FENCE


def _ring_if(waiting: str, bell: str) -> Body:
    if (yield load(waiting)):
        yield ring(bell)


# The writer's side: RingWriter, SendEnd, Sender.


def send(at: Ring, head: int, reads: Rings = ()) -> Body:
    """Publish record `head`; False when the reader is lost. `reads`: the rings that this process reads."""
    room = yield from has_room(at, head)
    while room == "full":
        yield from _wait_for_room(at, head, reads)
        room = yield from has_room(at, head)
    if room == "lost":
        return False
    if at.fault is Fault.HEAD_BEFORE_PAYLOAD:
        yield store(at.HEAD, head + 1)
    for half in range(at.cells):
        yield store(at.cell(head, half), head + 1)
    yield store(at.HEAD, head + 1)
    yield from _fence(at, Fault.NO_FENCE_AFTER_HEAD)
    yield from _ring_if(at.READER_WAITING, at.reader_bell)
    return True


def has_room(at: Ring, head: int) -> Body:
    """'room', 'full', or 'lost': that the reader is gone is looked at only when the ring seems full."""
    if head - (yield load(at.ACK)) < at.capacity:
        return "room"
    return "lost" if (yield load(at.READER_LOST)) else "full"


def _wait_for_room(at: Ring, head: int, reads: Rings) -> Body:
    room = "full"
    if at.fault is Fault.WRITER_CHECKS_BEFORE_FLAG:
        room = yield from has_room(at, head)
    yield store(at.WRITER_WAITING, at.target(head))
    yield from _fence(at, Fault.NO_FENCE_AFTER_WRITER_WAITING)
    if at.fault is Fault.WRITER_CLEARS_BEFORE_CHECK:
        yield store(at.WRITER_WAITING, 0)
    if at.fault is not Fault.WRITER_CHECKS_BEFORE_FLAG:
        room = yield from has_room(at, head)
    if room == "full":
        if at.fault is not Fault.SLEEPY_STAGE:
            yield from _ring_waiting_writers(reads)
        yield poll(at.writer_bell)
        yield drain(at.writer_bell)
    yield store(at.WRITER_WAITING, 0)


def end(at: Ring) -> Body:
    """Say that no record follows."""
    yield store(at.ENDED, 1)
    yield from _fence(at, Fault.NO_FENCE_AFTER_ENDED)
    if at.fault is not Fault.NO_BELL_AFTER_ENDED:
        yield from _ring_if(at.READER_WAITING, at.reader_bell)


def writer(at: Ring, *, ends: bool = True) -> Body:
    """Publishes what is not published yet; one that does not end stands for one that is idle afterwards.

    Like every body here it results in True when it did its work, and in False when it gave up on a lost neighbour.
    """
    head = yield load(at.HEAD)
    while head < at.messages:
        if not (yield from send(at, head)):
            return False
        head += 1
    if ends:
        yield from end(at)
    return True


# The reader's side: RingReader, ReceiveEnd, Receiver.


def read(at: Ring, position: int) -> Body:
    """'record', 'over' or 'empty'. HEAD is loaded last: nothing is published after the end or the loss."""
    if at.fault is Fault.ENDED_AFTER_HEAD:
        there = position < (yield load(at.HEAD))
        over = yield from _over(at)
    else:
        over = yield from _over(at)
        there = position < (yield load(at.HEAD))
    return "record" if there else "over" if over else "empty"


def _over(at: Ring) -> Body:
    return bool((yield load(at.ENDED)) or (yield load(at.WRITER_LOST)))


def has_news(rings: Rings, positions: Positions) -> Body:
    """Whether there is a reason not to sleep, in whatever order: `read` looks again."""
    for at, position in zip(rings, positions, strict=True):
        if position < (yield load(at.HEAD)) or (yield from _over(at)):
            return True
    return False


def receive(rings: Rings, positions: Positions, reads: Rings = ()) -> Body:
    """(index of a ring, 'record' or 'over'). `reads`: the rings that this process reads, when they are more."""
    while True:
        for index, at in enumerate(rings):
            found = yield from read(at, positions[index])
            if found != "empty":
                return index, found
        yield from _wait_for_news(rings, positions, reads or rings)


def _wait_for_news(rings: Rings, positions: Positions, reads: Rings) -> Body:
    fault, bell = rings[0].fault, rings[0].reader_bell
    news = False
    if fault is Fault.READER_CHECKS_BEFORE_FLAG:
        news = yield from has_news(rings, positions)
    for at in rings:
        yield store(at.READER_WAITING, 1)
        yield from _fence(at, Fault.NO_FENCE_AFTER_READER_WAITING)
    if fault is Fault.READER_CLEARS_BEFORE_CHECK:
        yield store(rings[0].READER_WAITING, 0)
    if fault is not Fault.READER_CHECKS_BEFORE_FLAG:
        news = yield from has_news(rings, positions)
    if not news:
        if fault is not Fault.SLEEPY_READER:
            yield from _ring_waiting_writers(reads)
        yield poll(bell)
        yield drain(bell)
    for at in rings:
        yield store(at.READER_WAITING, 0)


def _ring_waiting_writers(reads: Rings) -> Body:
    for at in reads:
        yield from _ring_if(at.WRITER_WAITING, at.writer_bell)


def take(at: Ring, position: int) -> Body:
    """Read the payload, and let the node work on it."""
    for half in range(at.cells):
        if (yield load(at.cell(position, half))) != position + 1:
            yield fail(f"record {position} of {at.name} is stale or half written")
    yield count(at.delivered(position))


def acknowledge(at: Ring, count: int) -> Body:
    """The first `count` records are done with."""
    yield store(at.ACK, count)
    yield from _fence(at, Fault.NO_FENCE_AFTER_ACK)
    target = yield load(at.WRITER_WAITING)
    reached = count == target if at.fault is Fault.RINGS_AT_THE_TARGET_ONLY else count >= target
    if target and reached:
        yield ring(at.writer_bell)


def reader(*rings: Ring, records: int | None = None) -> Body:
    """Reads to the end, or until it has so many `records` of its only ring; begins at ACK."""
    positions: Positions = ()
    for at in rings:
        positions = (*positions, (yield load(at.ACK)))
    acknowledged = positions
    while rings and positions != (records,):
        rings, positions, acknowledged = yield from _serve(rings, positions, acknowledged, records)
    return True


def _serve(rings: Rings, positions: Positions, acknowledged: Positions, records: int | None) -> Body:
    """Work on one record, or take leave of a ring that is over; what is left to read, and from where."""
    index, found = yield from receive(rings, positions)
    at, position = rings[index], positions[index]
    if found == "record":
        if at.fault is Fault.ACK_BEFORE_READ:
            yield from acknowledge(at, position + 1)
        yield from take(at, position)
        position += 1
    done = position if found == "over" or position in {acknowledged[index] + at.hold, records} else acknowledged[index]
    if done != acknowledged[index]:
        yield from acknowledge(at, done)
    if found == "over":
        return _put(rings, index), _put(positions, index), _put(acknowledged, index)
    return rings, _put(positions, index, position), _put(acknowledged, index, done)


def _put(row: tuple[Any, ...], index: int, *instead: Any) -> tuple[Any, ...]:
    return (*row[:index], *instead, *row[index + 1 :])
