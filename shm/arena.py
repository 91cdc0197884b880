"""Arenas of slabs: where large payloads live.

A payload too large for its ring stands in a slab, written once for all the edges it goes to. Slabs are recycled: they
are carved from the arena segments of their writer, one size class to an arena, and the one freed last is used first,
as it is still in the cache.

An arena is a page of words, a lease for each slab, then the slabs. A lease is 128 bytes: at 0 a byte for each *lane*,
at 64 a u64 for each lane, the sequence under which the slab was published there. A lane is an edge of the writer.
The writer sets the lane's byte before it publishes, the reader clears it when the record is acknowledged and the last
view has gone. A slab with all its bytes clear is free. So no word has two writers at a time, and nobody needs an
atomic read-modify-write.
"""

from __future__ import annotations

import itertools
import mmap
import weakref
from dataclasses import dataclass
from typing import Final

from penstock.shm.errors import CorruptSegment, OutOfSharedMemory
from penstock.shm.record import Outgoing
from penstock.shm.segment import Segment, available_bytes

__all__ = ["LANES", "ArenaMap", "Slab", "SlabPool"]

LANES: Final = 8
"""Edges that can share one slab; more edges write the payload once more for each further eight."""

_ARENA_MAGIC: Final = int.from_bytes(b"PSTKARN1", "little")
_W_MAGIC, _W_SLAB_BYTES, _W_SLABS, _W_DATA_AT = 0, 1, 2, 3
_PAGE: Final = mmap.PAGESIZE
_LEASE_BYTES: Final = 128
_SEQUENCES_AT: Final = 64
_ARENA_TARGET_BYTES: Final = 1 << 20
_MAX_ARENAS: Final = 4096


class Arena:
    """One mapped arena segment."""

    def __init__(self, segment: Segment) -> None:
        """Map an arena that exists.

        Raises:
            CorruptSegment: this is no arena, or it is cut off.
        """
        self.segment = segment
        self.view: memoryview = segment.view
        words = self.view[: len(self.view) // 8 * 8].cast("Q")
        self.slab_bytes: int
        self.slabs: int
        self.data_at: int
        magic, self.slab_bytes, self.slabs, self.data_at = words[:4] if len(words) >= 4 else (0, 0, 0, 0)
        if (
            magic != _ARENA_MAGIC
            or not self.slabs
            or self.data_at < _PAGE + self.slabs * _LEASE_BYTES
            or self.data_at + self.slabs * self.slab_bytes > len(self.view)
        ):
            raise CorruptSegment(f"segment {segment.name} holds no arena, or not all of it")
        self.readonly: memoryview = self.view.toreadonly()
        self.bytes: memoryview = self.view
        self.words: memoryview = words

    @classmethod
    def format(cls, segment: Segment, slab_bytes: int, slabs: int) -> Arena:
        """Make an arena of a fresh, zeroed segment of `arena_bytes(slab_bytes, slabs)`."""
        words = segment.view[:_PAGE].cast("Q")
        words[_W_SLAB_BYTES], words[_W_SLABS] = slab_bytes, slabs
        words[_W_DATA_AT] = _data_at(slabs)
        words[_W_MAGIC] = _ARENA_MAGIC
        return cls(segment)

    def lanes_word(self, lease: int) -> int:
        """Index of the u64 that holds the eight lane bytes of a slab."""
        return (_PAGE + lease * _LEASE_BYTES) // 8

    def lane_byte(self, lease: int, lane: int) -> int:
        """Where the byte stands by which the reader on `lane` holds the slab."""
        return _PAGE + lease * _LEASE_BYTES + lane


@dataclass(slots=True, eq=False)
class Slab:
    """A slab in its writer's hands."""

    arena: Arena
    arena_number: int
    lease: int
    group: int = 0
    """The eight lanes that its bytes stand for now."""
    user: weakref.ref[Outgoing] | None = None
    """The message that is filling it or still has edges to go to: not to be recycled, whatever the lanes say."""

    @property
    def offset(self) -> int:
        return self.arena.data_at + self.lease * self.arena.slab_bytes

    @property
    def free(self) -> bool:
        """Whether no reader holds it and no message of ours is still about to hand it to one."""
        if self.arena.words[self.arena.lanes_word(self.lease)]:
            return False
        return self.user is None or self.user() is None

    def fill(self, *parts: bytes | memoryview) -> None:
        """Copy the parts into the slab, one behind the other."""
        at = self.offset
        for part in parts:
            self.arena.view[at : at + len(part)] = part
            at += len(part)

    def hand_over(self, lane: int, sequence: int) -> None:
        """Let the reader on `lane` hold the slab; before the record is published."""
        self.arena.words[self.arena.lanes_word(self.lease) + _SEQUENCES_AT // 8 + lane] = sequence
        self.arena.bytes[self.arena.lane_byte(self.lease, lane)] = 1

    def take_back(self, lane: int) -> None:
        """The record was not published after all, or its reader is gone for good."""
        self.arena.bytes[self.arena.lane_byte(self.lease, lane)] = 0


class SlabPool:
    """The slabs of one writing process. Grows by an arena when no slab of a class is free; never shrinks."""

    def __init__(self, family: str, *, tracked: bool = False) -> None:
        """Arenas are named `family.0`, `family.1`, ... so that readers and the owner find them.

        Args:
            family: from `Owner.family`.
            tracked: let the resource tracker of this process unlink them; the owner does so in any case.
        """
        self._family = family
        self._tracked = tracked
        self._arenas: list[Arena] = []
        self._free: dict[int, list[Slab]] = {}
        self._busy: dict[int, list[Slab]] = {}

    def place(self, message: Outgoing, *parts: bytes | memoryview, group: int = 0) -> Slab:
        """A slab that holds the parts; not recycled while the message lives.

        Raises:
            OutOfSharedMemory: none is free and /dev/shm has no room for another arena.
        """
        slab = self._take(sum(map(len, parts)))
        slab.user = weakref.ref(message)
        slab.group = group
        slab.fill(*parts)
        return slab

    def release_lane(self, lane: int) -> None:
        """The reader of an edge is gone for good, its whole process group too: it holds nothing any more."""
        group, bit = divmod(lane, LANES)
        for slab in itertools.chain.from_iterable(self._busy.values()):
            if slab.group == group:
                slab.take_back(bit)

    @property
    def arenas(self) -> int:
        return len(self._arenas)

    @property
    def allocated_bytes(self) -> int:
        return sum(len(arena.view) for arena in self._arenas)

    def _take(self, nbytes: int) -> Slab:
        size = slab_class(nbytes)
        free = self._free.setdefault(size, [])
        busy = self._busy.setdefault(size, [])
        if not free:
            self._recycle(free, busy)
        if not free:
            try:
                self._grow(size, free)
            except OutOfSharedMemory:
                larger = self._larger(size)
                if larger is None:
                    raise
                return larger
        slab = free.pop()
        busy.append(slab)
        return slab

    def _larger(self, size: int) -> Slab | None:
        """The smallest free slab above a size: for when there is no memory for one of the right class."""
        for other in sorted(self._free):
            if other > size:
                free, busy = self._free[other], self._busy[other]
                if not free:
                    self._recycle(free, busy)
                if free:
                    busy.append(free.pop())
                    return busy[-1]
        return None

    @staticmethod
    def _recycle(free: list[Slab], busy: list[Slab]) -> None:
        still_busy: list[Slab] = []
        for slab in busy:
            (free if slab.free else still_busy).append(slab)
        busy[:] = still_busy

    def _grow(self, size: int, free: list[Slab]) -> None:
        slabs = max(1, _ARENA_TARGET_BYTES // size)
        number = len(self._arenas)
        if number == _MAX_ARENAS:
            raise OutOfSharedMemory(f"one more than {_MAX_ARENAS} arenas", arena_bytes(size, slabs), available_bytes())
        segment = Segment.create(
            f"{self._family}.{number}",
            arena_bytes(size, slabs),
            what=f"an arena for {slabs} payloads of up to {size} bytes",
            tracked=self._tracked,
        )
        arena = Arena.format(segment, size, slabs)
        self._arenas.append(arena)
        free.extend(Slab(arena, number, lease) for lease in reversed(range(slabs)))

    def close(self) -> None:
        """Let go of the mappings; readers keep theirs, and the owner removes the names. Idempotent."""
        for arena in self._arenas:
            if self._tracked:
                arena.segment.unlink()
            arena.segment.close()
        self._free.clear()
        self._busy.clear()


class ArenaMap:
    """The arenas of one writer as its reader sees them, attached when they are first referred to."""

    def __init__(self, family: str) -> None:
        self._family = family
        self._arenas: dict[int, Arena] = {}

    def locate(self, arena_number: int, lease: int, offset: int, nbytes: int) -> Arena:
        """The arena that a record refers to.

        Raises:
            CorruptSegment: there is none, or the reference leaves its slab.
        """
        arena = self._arenas.get(arena_number)
        if arena is None:
            if arena_number >= _MAX_ARENAS:
                raise CorruptSegment(f"a record refers to arena {arena_number}")
            arena = self._arenas[arena_number] = Arena(Segment.attach(f"{self._family}.{arena_number}"))
        begin = arena.data_at + lease * arena.slab_bytes
        if lease >= arena.slabs or not begin <= offset <= offset + nbytes <= begin + arena.slab_bytes:
            raise CorruptSegment(f"a record refers to {nbytes} bytes at {offset} of slab {lease}, outside of it")
        return arena


def slab_class(nbytes: int) -> int:
    """The slab size for a payload: whole pages, four classes to each doubling, so that at most a fifth is unused."""
    pages = max(4, -(-nbytes // _PAGE))
    step = max(1, 1 << max(0, pages.bit_length() - 3))
    return -(-pages // step) * step * _PAGE


def arena_bytes(slab_bytes: int, slabs: int) -> int:
    """Size of the segment of an arena."""
    return _data_at(slabs) + slabs * slab_bytes


def _data_at(slabs: int) -> int:
    return -(-(_PAGE + slabs * _LEASE_BYTES) // _PAGE) * _PAGE
