"""The parent of a soak: starts its processes, kills and replaces readers, and looks at what is left in the end."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psutil

from bench.peers import Fd, Peer, pipe
from bench.soaking.parties import LATE, Edge, read, write
from bench.soaking.schedule import GEOMETRY, LANES, Schedule
from penstock.shm.arena import FREE, Arena
from penstock.shm.doorbell import Doorbell
from penstock.shm.errors import CorruptSegment
from penstock.shm.owner import Owner
from penstock.shm.ring import Ring
from penstock.shm.segment import Segment

__all__ = ["Found", "Soak"]

_WRITERS = 2
_READERS = 2
_STUCK_S = 60.0


@dataclass(slots=True)
class Found:
    """What a soak has found; it passes when there is nothing in `wrong`."""

    wrong: list[str] = field(default_factory=list)
    records: int = 0
    data_bytes: int = 0
    duration_s: float = 0.0
    kills: int = 0
    duplicates: int = 0
    """Records that were delivered again, as their reader died between checking and acknowledging them."""
    copied: int = 0
    """Payloads that readers were given as copies, since they kept too many views; of readers that lived."""
    held: list[str] = field(default_factory=list)
    """Slabs that were not free in the end."""
    memory: list[str] = field(default_factory=list)


class Soak(ExitStack):
    """Two writers of four edges each, and two readers; each reader has two edges of each writer."""

    def __init__(self, records: int, kills: int, seed: int, progress: Callable[[float], None]) -> None:
        super().__init__()
        self._seeds = [seed + writer for writer in range(_WRITERS)]
        self._per_writer = max(8, records // _WRITERS)
        self._random = random.Random(seed)
        self._report = progress
        self.found = Found()
        self._owner = self.enter_context(Owner("soak"))
        self._table_segment = self._owner.create("t0", 4096, what="the table of progress")
        self._table = self._table_segment.view.cast("Q")
        bells = [self.enter_context(Doorbell.create()) for _ in range(_WRITERS + _READERS)]
        self._bells = [Fd(bell.fileno()) for bell in bells]
        self._rings: list[Ring] = []
        self._edges = [self._edge(number) for number in range(_WRITERS * LANES)]
        self._kill_at = sorted(self._random.uniform(0.02, 0.95) for _ in range(kills))
        self._readers: list[tuple[Peer, Any]] = []
        self._writers: list[tuple[Peer, Any]] = []

    def _edge(self, number: int) -> Edge:
        writer, lane = divmod(number, LANES)
        segment = self._owner.create(f"r{number}", GEOMETRY.segment_bytes, what="a ring")
        self._rings.append(Ring.format(segment, GEOMETRY))
        family = self._owner.family(f"a{writer}")
        return Edge(number, writer, lane, segment.name, family, writer, _WRITERS + lane % _READERS)

    def run(self) -> Found:
        """To the end, or to the first thing that is wrong."""
        token = self._owner.token
        schedules = [Schedule(seed, self._per_writer) for seed in self._seeds]
        wanted = [len(schedules[edge.writer].on_lane(edge.lane)) for edge in self._edges]
        start_s = time.monotonic()
        with self:
            self._readers = [self._start_reader(number) for number in range(_READERS)]
            self._writers = [self._start_writer(number) for number in range(_WRITERS)]
            self._watch(sum(wanted))
            self.found.duration_s = time.monotonic() - start_s
            if not self.found.wrong:
                self._hear_writers()
                self._check_ledger(schedules, wanted)
                self._check_slabs()
                self._end_writers()
        left = [name for name in os.listdir("/dev/shm") if token in name]
        if left:
            self.found.wrong.append(f"left in /dev/shm: {', '.join(left)}")
        return self.found

    def _start_writer(self, number: int) -> tuple[Peer, Any]:
        ours, theirs = pipe()
        edges = [edge for edge in self._edges if edge.writer == number]
        peer = Peer(write, theirs, self._bells, number, self._seeds[number], self._per_writer, edges)
        theirs.close()  # so that its death is heard as the end of the pipe
        return self.enter_context(peer), ours

    def _start_reader(self, number: int) -> tuple[Peer, Any]:
        ours, theirs = pipe()
        edges = self._edges_of(number)
        peer = Peer(read, theirs, self._bells, self._seeds, self._per_writer, edges, self._table_segment.name)
        theirs.close()  # so that its death is heard as the end of the pipe
        return self.enter_context(peer), ours

    def _edges_of(self, reader: int) -> list[Edge]:
        return [edge for edge in self._edges if edge.lane % _READERS == reader]

    def _watch(self, wanted: int) -> None:
        """Until all readers are done, or something is wrong."""
        done, moved_s, before = [False] * _READERS, time.monotonic(), -1
        while not all(done) and not self.found.wrong:
            time.sleep(0.005)
            checked = sum(self._table[edge.number] for edge in self._edges)
            self._report(checked / wanted)
            if checked != before:
                moved_s, before = time.monotonic(), checked
            elif time.monotonic() - moved_s > _STUCK_S:
                self.found.wrong.append(f"nothing moved for {_STUCK_S:g} s: {self._stuck()}")
            self._hear_writers()
            for number, (_, reports) in enumerate(self._readers):
                if not done[number] and reports.poll():
                    done[number] = self._hear_reader(number)
            if self._kill_at and checked >= self._kill_at[0] * wanted:
                self._kill_at.pop(0)
                alive = [number for number in range(_READERS) if not done[number]]
                if alive:
                    self._kill(self._random.choice(alive))

    def _kill(self, number: int) -> None:
        """A reader dies at any time, is reaped, and another goes on."""
        self._readers[number][0].close()
        self._readers[number][1].close()
        self.found.kills += 1
        for edge in self._edges_of(number):
            acknowledged, checked = self._rings[edge.number].statistics().received, self._table[edge.number]
            if not checked - LATE <= acknowledged <= checked:
                self.found.wrong.append(f"edge {edge.name}: {acknowledged} acknowledged of {checked} checked")
            self.found.duplicates += checked - acknowledged
        self._readers[number] = self._start_reader(number)

    def _hear_reader(self, number: int) -> bool:
        try:
            what, said = self._readers[number][1].recv()
        except EOFError:
            what, said = "wrong", f"reader {number} died by itself"
        if what == "wrong":
            self.found.wrong.append(said)
            return False
        self.found.copied += said
        return True

    def _hear_writers(self) -> None:
        for number, (peer, reports) in enumerate(self._writers):
            while reports.poll():
                try:
                    mark, allocated_bytes = reports.recv()
                except EOFError:
                    self.found.wrong.append(f"writer {number} died by itself")
                    break
                own = psutil.Process(peer.pid).memory_full_info()
                others = [psutil.Process(reader.pid).memory_full_info() for reader, _ in self._readers]
                self.found.memory.append(
                    f"at {mark:4.0%} of writer {number}: arenas {_mib(allocated_bytes)}, its RSS {_mib(own.rss)}, "
                    f"PSS {_mib(own.pss)}; readers' RSS {', '.join(_mib(each.rss) for each in others)}, "
                    f"PSS {', '.join(_mib(each.pss) for each in others)}"
                )

    def _check_ledger(self, schedules: list[Schedule], wanted: list[int]) -> None:
        for edge, count in zip(self._edges, wanted, strict=True):
            ledger = self._rings[edge.number].statistics()
            schedule = schedules[edge.writer]
            nbytes = int(schedule.sizes[schedule.on_lane(edge.lane)].sum())
            said = (ledger.sent, ledger.received, self._table[edge.number], ledger.sent_bytes, ledger.ended)
            if said != (count, count, count, nbytes, True):
                self.found.wrong.append(f"edge {edge.name}: {said}, and not {(count, count, count, nbytes, True)}")
            self.found.records += count
            self.found.data_bytes += nbytes

    def _check_slabs(self) -> None:
        """All readers have ended: whatever a slab's word still says is a leak."""
        for writer in range(_WRITERS):
            family = self._edges[writer * LANES].family
            for arena in _arenas(family):
                for lease in range(arena.slabs):
                    at = arena.lanes_at(lease)
                    lanes = [str(lane) for lane in range(LANES) if arena.view[at + lane] != FREE]
                    if lanes:
                        self.found.held.append(
                            f"writer {writer}: a slab of {_mib(arena.slab_bytes)} held on lane {', '.join(lanes)}"
                        )
        if self.found.held:
            self.found.wrong.append(f"{len(self.found.held)} slabs were not free in the end")

    def _end_writers(self) -> None:
        for peer, reports in self._writers:
            reports.send("end")
            peer.finish()

    def _stuck(self) -> str:
        return "; ".join(
            f"edge {edge.name}: {ring.statistics()}" for edge, ring in zip(self._edges, self._rings, strict=True)
        )


def _arenas(family: str) -> list[Arena]:
    found = []
    while True:
        try:
            found.append(Arena(Segment.attach(f"{family}.{len(found)}")))
        except CorruptSegment:
            return found


def _mib(nbytes: int) -> str:
    return f"{nbytes / 2**20:,.2f} MiB" if nbytes < 2**20 else f"{nbytes / 2**20:,.0f} MiB"
