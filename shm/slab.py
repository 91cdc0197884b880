"""Slabs in their writer's hands: taken, filled or claimed, handed to readers, recycled.

A slab is free when no lane holds it and nobody of this process fills it or still has edges to send it to. The one freed
last is used first, as it is still in the cache, so few are in use at a time. A pool grows by an arena when no slab
fits; it never shrinks during a run.
"""

from __future__ import annotations

import contextlib
import mmap
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from penstock.shm.arena import FREE, LANES, MAX_ARENAS, PUBLISHED, Arena, arena_bytes
from penstock.shm.errors import CorruptSegment, OutOfSharedMemory
from penstock.shm.record import Outgoing
from penstock.shm.ring import Policy, Ring, Word
from penstock.shm.segment import Segment, available_bytes

__all__ = ["Slab", "SlabPool", "slab_class"]

_SMALLEST_ARENA_BYTES: Final = 1 << 20
_LARGEST_ARENA_BYTES: Final = 64 << 20
"""A pool doubles what it has of a size, so that it needs few segments, but not by more than this."""
_LOOKS: Final = 4
"""Busy slabs that are looked at for each one taken: more than one, so that few are ever busy without need."""
_LARGEST_WASTE: Final = 4
"""A slab up to so many times larger than its payload is used before the pool grows."""

View = npt.NDArray[np.uint8]


class Slab:
    """A place for one payload.

    Attributes:
        reference: (arena number, lease, offset), by which a record refers to it.
        group: the eight lanes that its bytes stand for now.
        user: the message that is filling it or still has edges to go to, or the array by which it was claimed.
    """

    __slots__ = ("_lanes_at", "_lanes_word", "_sequences_word", "arena", "group", "reference", "size", "user")

    def __init__(self, arena: Arena, arena_number: int, lease: int) -> None:
        self.arena = arena
        self.size: int = arena.slab_bytes
        self.reference: tuple[int, int, int] = (arena_number, lease, arena.data_at + lease * arena.slab_bytes)
        self._lanes_at = arena.lanes_at(lease)
        self._lanes_word = self._lanes_at // 8
        self._sequences_word = arena.sequences_word(lease)
        self.group: int = arena.words[arena.group_word(lease)]
        self.user: weakref.ref[Any] | None = None

    @property
    def free(self) -> bool:
        """Whether no reader holds it and nobody of this process is still about to hand it to one."""
        return self.arena.words[self._lanes_word] == 0 and (self.user is None or self.user() is None)

    def begin(self, user: weakref.ref[Any], group: int) -> None:
        """Use a free slab for a message, or for an array that will be one."""
        self.user = user
        self.group = self.arena.words[self.arena.group_word(self.reference[1])] = group

    def fill(self, *parts: bytes | memoryview) -> None:
        """Copy the parts into the slab, one behind the other."""
        at = self.reference[2]
        for part in parts:
            self.arena.view[at : at + len(part)] = part
            at += len(part)

    def hand_over(self, lane: int, sequence: int) -> None:
        """Let the reader on `lane` hold the slab; before the record is published."""
        self.arena.words[self._sequences_word + lane] = sequence
        self.arena.view[self._lanes_at + lane] = PUBLISHED

    def take_back(self, lane: int) -> None:
        """The record was not published after all, or its reader is gone for good."""
        self.arena.view[self._lanes_at + lane] = FREE

    def take_back_untaken(self, lane: int, sequence: int) -> None:
        """A record was dropped; its reader may have taken it all the same, and the slab may have been used again."""
        published = self.arena.view[self._lanes_at + lane] == PUBLISHED
        if published and self.arena.words[self._sequences_word + lane] == sequence:
            self.take_back(lane)

    def published(self) -> Iterator[tuple[int, int]]:
        """(lane of the group, sequence) of each reader that was given the slab and has not released it."""
        for lane in range(LANES):
            if self.arena.view[self._lanes_at + lane] == PUBLISHED:
                yield lane, self.arena.words[self._sequences_word + lane]


class SlabPool:
    """The slabs of one writing process."""

    def __init__(self, family: str, *, tracked: bool = False) -> None:
        """Arenas are named `family.0`, `family.1`, ... so that readers and the owner find them.

        Args:
            family: from `Owner.family`.
            tracked: let the resource tracker of this process unlink them; the owner does so in any case.
        """
        self._family = family
        self._tracked = tracked
        self._arenas: list[Arena] = []
        self._slabs: dict[tuple[int, int], Slab] = {}
        self._free: dict[int, list[Slab]] = {}
        self._busy: dict[int, deque[Slab]] = {}
        self._claims: dict[int, Slab] = {}

    def place(self, message: Outgoing, *parts: bytes | memoryview, group: int = 0) -> Slab:
        """A slab that holds the parts; not recycled while the message lives.

        Raises:
            OutOfSharedMemory: none is free and /dev/shm has no room for another arena.
        """
        slab = self._take(sum(map(len, parts)))
        slab.begin(weakref.ref(message), group)
        slab.fill(*parts)
        return slab

    def claim(self, nbytes: int) -> View:
        """A writable array in a slab, shape (nbytes,), to make a payload in place. It is not cleared.

        The slab is the array's for as long as that, or a view of it, lives. `Outgoing(array.data)` is published without
        a copy, once, and is frozen thereby.

        Raises:
            OutOfSharedMemory: none is free and /dev/shm has no room for another arena.
        """
        slab = self._take(nbytes)
        offset = slab.reference[2]
        array = np.frombuffer(slab.arena.view[offset : offset + nbytes], np.uint8)
        key, claims = id(array), self._claims
        slab.begin(weakref.ref(array, lambda _: claims.pop(key, None)), 0)
        claims[key] = slab
        return array

    def claimed(self, payload: bytes | memoryview) -> Slab | None:
        """The slab of which a payload is the whole claimed array, once; the array is frozen from now on."""
        array: object = payload.obj if isinstance(payload, memoryview) else None
        while isinstance(array, np.ndarray) and isinstance(array.base, np.ndarray):
            array = array.base
        slab = self._claims.get(id(array))
        if slab is None or not isinstance(array, np.ndarray) or len(payload) != array.nbytes:
            return None
        del self._claims[id(array)]
        array.flags.writeable = False
        return slab

    def find(self, arena_number: int, lease: int) -> Slab | None:
        """The slab that a record refers to, if there is one."""
        return self._slabs.get((arena_number, lease))

    def adopt(self, rings: Mapping[int, Ring]) -> None:
        """Go on with the arenas of a writer that is gone: what it had not published, or had dropped, is free.

        To be done before the edges are opened: they ask for the slabs of their records.

        Args:
            rings: its edges by lane.
        """
        wanted = {lane: _wanted(ring) for lane, ring in rings.items()}  # positions first, then the bytes
        with contextlib.suppress(CorruptSegment):  # there is no such segment: that was all
            for number in range(MAX_ARENAS):
                arena = Arena(Segment.attach(f"{self._family}.{number}"))
                self._add(arena, number, self._busy.setdefault(arena.slab_bytes, deque()))
        for slab in self._slabs.values():
            for lane, sequence in slab.published():
                is_wanted = wanted.get(slab.group * LANES + lane)
                if is_wanted is None or not is_wanted(sequence):
                    slab.take_back(lane)

    def release_lane(self, lane: int) -> None:
        """The reader of an edge is gone for good, its whole process group too: it holds nothing any more."""
        group, bit = divmod(lane, LANES)
        for slab in self._slabs.values():
            if slab.group == group:
                slab.take_back(bit)

    @property
    def arenas(self) -> int:
        return len(self._arenas)

    @property
    def allocated_bytes(self) -> int:
        return sum(len(arena.view) for arena in self._arenas)

    @property
    def slabs_in_use(self) -> int:
        """How many slabs are not free at this moment."""
        return sum(not slab.free for slab in self._slabs.values())

    def _take(self, nbytes: int) -> Slab:
        size = slab_class(nbytes)
        slab = self._reuse(size, size)
        if slab is None and self._free:
            slab = self._reuse(size + 1, size * _LARGEST_WASTE)
        if slab is None:
            try:
                self._grow(size)
            except OutOfSharedMemory:
                slab = self._reuse(size + 1, 1 << 62)
                if slab is None:
                    raise
            else:
                slab = self._free[size].pop()
        self._busy[slab.size].append(slab)
        return slab

    def _reuse(self, smallest: int, largest: int) -> Slab | None:
        """A free slab, of the smallest possible size between two."""
        for size in [smallest] if smallest == largest else sorted(self._free):
            if smallest <= size <= largest and size in self._free:
                free, busy = self._free[size], self._busy[size]
                _recycle(free, busy, _LOOKS)
                if not free:
                    _recycle(free, busy, len(busy))
                if free:
                    return free.pop()
        return None

    def _grow(self, size: int) -> None:
        """One arena more, with as many slabs of the size as there are, or where there is no room for them with one."""
        have = sum(arena.slabs for arena in self._arenas if arena.slab_bytes == size)
        most = max(1, _LARGEST_ARENA_BYTES // size)
        slabs = max(1, min(most, max(have, _SMALLEST_ARENA_BYTES // size)))
        number = len(self._arenas)
        if number == MAX_ARENAS:
            raise OutOfSharedMemory(f"one more than {MAX_ARENAS} arenas", arena_bytes(size, slabs), available_bytes())
        try:
            arena = self._new_arena(number, size, slabs)
        except OutOfSharedMemory:
            if slabs == 1:
                raise
            arena = self._new_arena(number, size, 1)
        self._add(arena, number, self._free.setdefault(size, []))

    def _new_arena(self, number: int, size: int, slabs: int) -> Arena:
        segment = Segment.create(
            f"{self._family}.{number}",
            arena_bytes(size, slabs),
            what=f"an arena for {slabs} payloads of up to {size} bytes, beside {self.allocated_bytes} bytes of arenas,",
            tracked=self._tracked,
        )
        segment.populate(writing=True)
        return Arena.format(segment, size, slabs)

    def _add(self, arena: Arena, number: int, kept: list[Slab] | deque[Slab]) -> None:
        self._arenas.append(arena)
        for lease in reversed(range(arena.slabs)):
            slab = self._slabs[number, lease] = Slab(arena, number, lease)
            kept.append(slab)
        self._free.setdefault(arena.slab_bytes, [])
        self._busy.setdefault(arena.slab_bytes, deque())

    def close(self) -> None:
        """Let go of the mappings; readers keep theirs, and the owner removes the names. Idempotent."""
        for arena in self._arenas:
            if self._tracked:
                arena.segment.unlink()
            arena.segment.close()
        for kept in (self._free, self._busy, self._slabs, self._claims):
            kept.clear()


def _recycle(free: list[Slab], busy: deque[Slab], looks: int) -> None:
    for _ in range(min(looks, len(busy))):
        slab = busy.popleft()
        (free if slab.free else busy).append(slab)


def _wanted(ring: Ring) -> Callable[[int], bool]:
    """Which records that nobody has taken yet may still be. Not those that their writer died before it published."""
    words = ring.words
    first, claimed, head = 0, 0, words[Word.HEAD]
    if ring.policy is Policy.DROP_OLDEST:
        first = max(words[Word.EVICT], words[Word.ACK] >> 1)
        claimed = words[Word.CLAIM] >> ring.SLOT_BITS
    return lambda sequence: first <= sequence < head or sequence + 1 == claimed


def slab_class(nbytes: int) -> int:
    """The slab size for a payload: whole pages, two classes to each doubling, so that at most a third is unused."""
    pages = max(4, -(-nbytes // mmap.PAGESIZE))
    step = 1 << max(0, (pages - 1).bit_length() - 2)
    return -(-pages // step) * step * mmap.PAGESIZE
