"""The processes of the soak: writers, which are never told of a reader's death, and readers, which may die any time."""

from __future__ import annotations

import logging
import random
from collections import deque
from dataclasses import dataclass
from typing import Any

from bench.peers import Fd
from bench.soaking.schedule import Bytes, Schedule, begin_of, block, content, is_content
from penstock.shm.arena import ArenaMap
from penstock.shm.blocking import Receiver, Sender, wait_any
from penstock.shm.channel import EdgeOptions
from penstock.shm.doorbell import Doorbell
from penstock.shm.errors import EndOfChannel, WouldBlock
from penstock.shm.record import Outgoing
from penstock.shm.ring import Ring
from penstock.shm.segment import Segment
from penstock.shm.slab import SlabPool

__all__ = ["LATE", "Edge", "read", "write"]

_MAX_BYTES = 32 << 20
_KEEP = 0.2
"""How many of the payloads a reader keeps, up to `_KEPT_FOR` messages longer than it has to: often too many."""
_KEPT_FOR = 150
LATE = 4
"""Records that a reader may have checked and not acknowledged yet."""
MARKS = (0.1, 0.5, 1.0)
"""At which parts of its way a writer says how much shared memory it has."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A ring and both its sides."""

    number: int
    """Of all edges: its word in the shared table of progress."""
    writer: int
    lane: int
    ring: str
    family: str
    writer_bell: int
    """Which of the bells that every process is given."""
    reader_bell: int

    @property
    def name(self) -> str:
        return f"{self.number} (writer {self.writer}, lane {self.lane})"

    @property
    def options(self) -> EdgeOptions:
        return EdgeOptions(name=self.name, lane=self.lane, max_bytes=_MAX_BYTES)


def write(reports: Any, bells: list[Fd], writer: int, seed: int, records: int, edges: list[Edge]) -> None:
    """Send it all; then wait to be told that nobody reads any more."""
    schedule, block_bytes = Schedule(seed, records), block()
    pool, own = SlabPool(edges[0].family), _bell(bells, edges[0].writer_bell)
    senders = [
        Sender(Ring(Segment.attach(edge.ring)), pool, own, _bell(bells, edge.reader_bell), edge.options)
        for edge in edges
    ]
    count = len(schedule.sizes)
    marks = {int(count * mark) - 1: mark for mark in MARKS}
    for number in range(count):
        payload = content(block_bytes, begin_of(writer, number), int(schedule.sizes[number]))
        message = Outgoing(payload, correlation=number)
        for lane in schedule.lanes_of(number):
            senders[lane].send(message)
        if number in marks:
            reports.send((marks[number], pool.allocated_bytes))
    for sender in senders:
        sender.end()
    reports.recv()


class _Reading:
    """One edge, as its reader sees it."""

    def __init__(
        self, edge: Edge, schedule: Schedule, block_bytes: Bytes, bells: tuple[Doorbell, Doorbell], progress: memoryview
    ) -> None:
        self.edge = edge
        self.receiver = Receiver(Ring(Segment.attach(edge.ring)), ArenaMap(edge.family), *bells, edge.options)
        self._numbers = schedule.on_lane(edge.lane)
        self._sizes = schedule.sizes
        self._progress = progress
        self._next = self.receiver.ring.acknowledged
        self._late = 0
        self._kept: deque[tuple[int, int, Any]] = deque()
        self._random = random.Random()
        self._block = block_bytes

    def take(self) -> None:
        """Receive a record, check it, say that it was checked; perhaps keep it, perhaps acknowledge it only later."""
        record = self.receiver.receive_nowait()
        sequence = self._next
        number = int(self._numbers[sequence]) if sequence < len(self._numbers) else -1
        if (record.sequence, record.correlation) != (sequence, number):
            raise ValueError(
                f"edge {self.edge.name}: record {record.sequence} is message {record.correlation}, "
                f"and not record {sequence}, message {number}"
            )
        self._check(number, record.payload, "as it came")
        if self._random.random() < _KEEP:
            self._kept.append((sequence + self._random.randrange(_KEPT_FOR), number, record.payload))
        del record
        self._next += 1
        self._progress[self.edge.number] = max(self._progress[self.edge.number], self._next)
        self._late += 1
        if self._late == LATE or self._random.random() < 0.6:
            self.acknowledge()
        while self._kept and self._kept[0][0] <= sequence:
            self._let_go()

    def acknowledge(self) -> None:
        """All that was received so far; before waiting, or the writer might wait too."""
        while self._late:
            self._late -= 1
            self.receiver.acknowledge()

    def finish(self) -> None:
        self.acknowledge()
        while self._kept:
            self._let_go()

    def _let_go(self) -> None:
        _, number, payload = self._kept.popleft()
        self._check(number, payload, "when it was let go")

    def _check(self, number: int, payload: Any, when: str) -> None:
        nbytes = int(self._sizes[number])
        if not is_content(payload, self._block, begin_of(self.edge.writer, number), nbytes):
            raise ValueError(
                f"edge {self.edge.name}: message {number}, of {nbytes} bytes, was damaged {when}: "
                f"{len(payload)} bytes, beginning {bytes(payload[:16])!r}"
            )


def read(reports: Any, bells: list[Fd], seeds: list[int], records: int, edges: list[Edge], table: str) -> None:
    """Read all the edges to their end; wherever a predecessor has died, go on at what it had not acknowledged."""
    progress = Segment.attach(table).view.cast("Q")
    schedules, block_bytes = [Schedule(seed, records) for seed in seeds], block()
    own = _bell(bells, edges[0].reader_bell)
    logging.getLogger("penstock").setLevel(logging.ERROR)  # it warns of readers that keep too much: these mean to
    try:
        readings = [
            _Reading(edge, schedules[edge.writer], block_bytes, (own, _bell(bells, edge.writer_bell)), progress)
            for edge in edges
        ]
        reports.send(("done", _read_all(readings, own)))
    except BaseException as error:
        reports.send(("wrong", f"{type(error).__name__}: {error}"))


def _read_all(readings: list[_Reading], bell: Doorbell) -> int:
    """How many payloads were copied, as too many views were alive."""
    copied, patience = 0, readings[0].receiver.patience
    while readings:
        worked = False
        for reading in list(readings):
            try:
                reading.take()
            except WouldBlock:
                reading.acknowledge()
                continue
            except EndOfChannel:
                reading.finish()
                copied += reading.receiver.copied
                readings.remove(reading)
            worked = True
        if not worked:
            wait_any(bell, [reading.receiver for reading in readings], patience)
    return copied


def _bell(bells: list[Fd], which: int) -> Doorbell:
    return Doorbell(bells[which].number, bells[which].number)
