"""The wiring of a run: who has which doorbell, and which ring joins whom.

Every ring belongs to the engine, whoever stands at its ends, so that it survives them. A *party* is a process that
takes part: the engine's own, or a worker. An edge between two workers is a ring that one writes and the other reads;
the engine only watches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from penstock.executors.claim import claim_from
from penstock.executors.contract import AllocationFailed
from penstock.executors.multiprocess.messages import LinkSpec
from penstock.executors.multiprocess.page import Page
from penstock.executors.trace import EVENTS, Trace
from penstock.shm.arena import ArenaMap
from penstock.shm.channel import EdgeOptions
from penstock.shm.doorbell import Doorbell
from penstock.shm.errors import OutOfSharedMemory
from penstock.shm.owner import Owner, sweep
from penstock.shm.patience import WaitMode
from penstock.shm.processors import usable_processors
from penstock.shm.ring import Geometry, Policy, Ring, RingStatistics
from penstock.shm.segment import Segment, available_bytes
from penstock.shm.slab import SlabPool
from penstock.shm.tapping import RingTap
from penstock.shm.trio_channel import TrioFeedbackSender, TrioReceiver, TrioSender
from penstock.shm.trio_doorbell import TrioDoorbell

__all__ = ["Link", "Party", "Wiring", "check_room"]

DEFAULT_CAPACITY = 64
DEFAULT_MAX_BYTES = 16 << 20


@dataclass(eq=False, slots=True)
class Party:
    """A process that takes part: its doorbell, and the name under which it makes arenas."""

    name: str
    bell: Doorbell
    family: str
    lanes: int = 0
    page: Page | None = None
    trace: Segment | None = None
    links_out: list[Link] = field(default_factory=list)
    links_in: list[Link] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Link:
    """A ring from one party to another."""

    name: str
    writer: Party
    reader: Party
    ring: Ring
    options: EdgeOptions

    def writer_spec(self, port: str | None) -> LinkSpec:
        """What the writing worker has to know."""
        return self._spec(port, self.reader)

    def reader_spec(self, port: str | None) -> LinkSpec:
        """What the reading worker has to know."""
        return self._spec(port, self.writer)

    def statistics(self) -> RingStatistics:
        return self.ring.statistics()

    def grow(self) -> int:
        """Let it hold twice as many data and bytes. The new capacity.

        Raises:
            GrowthRefused: it has grown as often as it may.
            OutOfSharedMemory: there is no room for that in /dev/shm.
        """
        capacity = self.ring.grow()
        self.writer.bell.ring()
        return capacity

    def interrupt(self) -> None:
        """What nobody has taken yet is stale, and dropped when its reader comes to it."""
        self.ring.interrupt()

    def _spec(self, port: str | None, peer: Party) -> LinkSpec:
        return LinkSpec(
            self.name,
            port,
            self.ring.segment.name,
            self.writer.family,
            peer.bell.fds,
            self.options.lane,
            self.options.max_bytes,
            self.options.timeout_s,
            self.options.max_age_s,
            self.options.wait,
            self.options.feedback,
        )


class Wiring:
    """The shared memory of one run or one bridge. Opening it sweeps what dead runs have left."""

    def __init__(self, what: str, wait: WaitMode = "adaptive") -> None:
        """Claim a token and the engine's own doorbell.

        Args:
            what: what the run is, for people who find its leftovers.
            wait: how everybody in it waits (see `penstock.shm.patience`).
        """
        # Who has one processor for everything never spins. (A process may well be pinned to one, and its neighbour to
        # another: then it pays, and whether it does is learned.)
        self._wait: WaitMode = "sleep" if wait == "adaptive" and usable_processors() < 2 else wait
        sweep()
        self._owner = Owner(what)
        self._parties: list[Party] = []
        self._rings = self._pages = self._traces = 0
        self._families = 0
        self.bell: TrioDoorbell = TrioDoorbell.create()
        self.engine: Party = self._add("engine", self.bell)
        self._pool = SlabPool(self.engine.family)
        self._claim = claim_from(self._pool)
        self._arenas: dict[str, ArenaMap] = {}

    def party(self, name: str) -> Party:
        """A new process, to be."""
        return self._add(name, Doorbell.create())

    def link(
        self,
        name: str,
        writer: Party,
        reader: Party,
        *,
        capacity: int = DEFAULT_CAPACITY,
        max_bytes: int = DEFAULT_MAX_BYTES,
        timeout_s: float | None = None,
        policy: Policy = Policy.BLOCK,
        max_age_s: float | None = None,
        growth: int = 0,
        feedback: bool = False,
    ) -> Link:
        """A ring from one party to another; one of feedback is ended by `end`, not by its writer alone.

        Raises:
            AllocationFailed: /dev/shm has no room for it.
        """
        geometry = Geometry.fitting(capacity, policy, growth)
        suffix = f"r{self._rings}"
        self._rings += 1
        try:
            segment = self._owner.create(
                suffix, geometry.segment_bytes, what=f"the ring of edge {name}", reserve=geometry.reserve_bytes
            )
        except OutOfSharedMemory as error:
            raise AllocationFailed(str(error)) from error
        options = EdgeOptions(
            name=name,
            lane=writer.lanes,
            max_bytes=max_bytes,
            timeout_s=timeout_s,
            max_age_s=max_age_s,
            wait=self._wait,
            feedback=feedback,
        )
        link = Link(name, writer, reader, Ring.format(segment, geometry), options)
        writer.lanes += 1
        writer.links_out.append(link)
        reader.links_in.append(link)
        return link

    def page(self, party: Party, inputs: int, outputs: int) -> Page:
        """The page of a worker with so many edges; the same for each worker in its place.

        Raises:
            AllocationFailed: /dev/shm has no room for it.
        """
        if party.page is None:
            what = f"the page of the worker of node {party.name}"
            try:
                segment = self._owner.create(f"p{self._pages}", Page.bytes_for(inputs, outputs), what=what)
            except OutOfSharedMemory as error:
                raise AllocationFailed(str(error)) from error
            self._pages += 1
            party.page = Page.format(segment, inputs, outputs)
        return party.page

    def trace(self, party: Party) -> Segment:
        """Where a worker notes what it does (see `Trace`); the same for each worker in its place.

        Raises:
            AllocationFailed: /dev/shm has no room for it.
        """
        if party.trace is None:
            what = f"the trace of the worker of node {party.name}"
            try:
                party.trace = self._owner.create(f"t{self._traces}", Trace.bytes_for(EVENTS), what=what)
            except OutOfSharedMemory as error:
                raise AllocationFailed(str(error)) from error
            self._traces += 1
        return party.trace

    def sender(self, link: Link) -> TrioSender:
        """The engine's end of a link that it writes."""
        kind = TrioFeedbackSender if link.options.feedback else TrioSender
        return kind(link.ring, self._pool, self.bell, link.reader.bell, link.options)

    def receiver(self, link: Link) -> TrioReceiver:
        """The engine's end of a link that it reads."""
        arenas = self._arenas.setdefault(link.writer.family, ArenaMap(link.writer.family))
        return TrioReceiver(link.ring, arenas, self.bell, link.writer.bell, link.options)

    def tap(self, link: Link) -> RingTap:
        """Copies of what passes a link from now on, whoever stands at its ends."""
        arenas = self._arenas.setdefault(link.writer.family, ArenaMap(link.writer.family))
        return RingTap(link.ring, arenas, link.options.lane)

    def claim(self, shape: int | Sequence[int], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
        """An array in shared memory, for a node of this process (see `NodeContext.claim`)."""
        return self._claim(shape, dtype)

    def end(self, link: Link) -> None:
        """End a link of feedback in the place of its writer, which has nothing to send."""
        link.ring.end()
        link.reader.bell.ring()

    def lost(self, party: Party) -> None:
        """A process is gone: tell everyone who shares a ring with it, before anything else is done about it.

        A writer that is killed between its position and its bell leaves the reader asleep on a full ring.
        """
        for link in party.links_out:
            link.ring.nobody_waits(writer=True)
            link.ring.writer_lost()
            link.reader.bell.ring()
        for link in party.links_in:
            link.ring.nobody_waits(writer=False)
            link.ring.reader_lost()
            link.writer.bell.ring()

    def wake_neighbours(self, party: Party) -> None:
        """A process is gone, and another one takes its place: some of them may sleep on what it did not get to say."""
        for link in party.links_out:
            link.ring.nobody_waits(writer=True)
            link.reader.bell.ring()
        for link in party.links_in:
            link.ring.nobody_waits(writer=False)
            link.writer.bell.ring()

    def release(self, party: Party) -> None:
        """Remove a party whose process is gone, with its links. Idempotent."""
        if party not in self._parties:
            return
        self._parties.remove(party)
        for link in party.links_out:
            link.reader.links_in.remove(link)
            self._owner.release(link.ring.segment)
        for link in party.links_in:
            if link.writer is self.engine:
                self._pool.release_lane(link.options.lane)
            link.writer.links_out.remove(link)
            self._owner.release(link.ring.segment)
        if party.page is not None:
            self._owner.release(party.page.segment)
        if party.trace is not None:
            self._owner.release(party.trace)
        self._owner.release_family(party.family)
        self._arenas.pop(party.family, None)
        party.bell.close()

    def close(self) -> None:
        """Remove every segment, also those that workers made. Views that are still held stay valid. Idempotent."""
        self._pool.close()
        self._owner.close()
        for party in self._parties:
            party.bell.close()

    def _add(self, name: str, bell: Doorbell) -> Party:
        party = Party(name, bell, self._owner.family(f"a{self._families}"))
        self._families += 1
        self._parties.append(party)
        return party

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_room(rings: list[Geometry], what: str) -> None:
    """See that the rings of a plan fit, before the first one is made.

    Raises:
        AllocationFailed: they do not; the text says how much all of them need.
    """
    needed = sum(geometry.segment_bytes for geometry in rings)
    available = available_bytes()
    if available is not None and needed > available:
        raise AllocationFailed(str(OutOfSharedMemory(what, needed, available)))
