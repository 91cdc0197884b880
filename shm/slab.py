"""Slabs in their writer's hands: taken, filled or claimed, handed to readers, recycled.

A slab is free when no lane holds it and nobody of this process fills it or still has edges to send it to. The one freed
last is used first, as it is still in the cache, so few are in use at a time. A pool grows by an arena when no slab
fits; it never shrinks during a run.
"""

from __future__ import annotations

import mmap
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from penstock.shm.arena import FREE, LANES, MAX_ARENAS, PUBLISHED, TAKEN, Arena, arena_bytes, lease_word, published_as
from penstock.shm.errors import ChannelClosed, CorruptSegment, OutOfSharedMemory
from penstock.shm.record import Outgoing
from penstock.shm.segment import Segment, available_bytes, discard

__all__ = ["Slab", "SlabPool", "slab_class"]

_SMALLEST_ARENA_BYTES: Final = 1 << 20
_LARGEST_ARENA_BYTES: Final = 64 << 20
"""A pool doubles what it has of a size, so that it needs few segments, but not by more than this."""
_LOOKS: Final = 4
"""Busy slabs that are looked at for each one taken: more than one, so that few are ever busy without need."""
_LARGEST_WASTE: Final = 4
"""A slab up to so many times larger than its payload is used before the pool grows."""

View = npt.NDArray[np.uint8]


def _never(_: int) -> bool:
    return False


class Slab:
    """A place for one payload.

    Attributes:
        reference: (arena number, lease, offset), by which a record refers to it.
        user: the message that is filling it or still has edges to go to, or the array by which it was claimed.
    """

    __slots__ = ("_lanes_at", "_lanes_word", "_words_at", "arena", "reference", "size", "user")

    def __init__(self, arena: Arena, arena_number: int, lease: int) -> None:
        self.arena = arena
        self.size: int = arena.slab_bytes
        self.reference: tuple[int, int, int] = (arena_number, lease, arena.data_at + lease * arena.slab_bytes)
        self._lanes_at = arena.lanes_at(lease)
        self._lanes_word = self._lanes_at // 8
        self._words_at = arena.words_at(lease)
        self.user: weakref.ref[Any] | None = None

    @property
    def free(self) -> bool:
        """Whether no reader holds it and nobody of this process is still about to hand it to one."""
        return self.arena.words[self._lanes_word] == 0 and (self.user is None or self.user() is None)

    def fill(self, *parts: bytes | memoryview) -> None:
        """Copy the parts into the slab, one behind the other."""
        at = self.reference[2]
        for part in parts:
            self.arena.view[at : at + len(part)] = part
            at += len(part)

    def is_filled_with(self, message: Outgoing) -> bool:
        """Whether it was filled for the message, with its tail; a claimed slab is filled with a payload alone."""
        return self.user is not None and self.user() is message

    def hand_over(self, lane: int, sequence: int) -> None:
        """Let the reader on `lane` hold the slab; before the record is published."""
        bit = lane % LANES
        self.arena.words[self._words_at + bit] = lease_word(lane, sequence)
        self.arena.view[self._lanes_at + bit] = PUBLISHED

    def holds(self, lane: int, sequence: int) -> bool:
        """Whether it has the payload of a record, whose reader still holds it: so nothing else was written into it."""
        bit = lane % LANES
        word = self.arena.words[self._words_at + bit]
        return self.arena.view[self._lanes_at + bit] != FREE and published_as(word, lane) == sequence

    def take_back(self, lane: int, is_wanted: Callable[[int], bool] = _never, *, taken: bool = True) -> None:
        """Free it of a lane, if that is what its byte stands for, and the record is not wanted.

        Args:
            lane: the edge.
            is_wanted: asked for the number of the record.
            taken: also when the reader has marked it as taken; else that is the reader's to end.
        """
        bit = lane % LANES
        held = self.arena.view[self._lanes_at + bit]
        if held == PUBLISHED or (taken and held == TAKEN):
            sequence = published_as(self.arena.words[self._words_at + bit], lane)
            if sequence is not None and not is_wanted(sequence):
                self.arena.view[self._lanes_at + bit] = FREE


class SlabPool:
    """The slabs of one writing process; a node that runs in a thread may claim while others send."""

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
        self._closed = False
        self._lock = threading.RLock()  # re-entrant, as a finalizer that the collector runs here might claim
        """A slab that was taken looks free until it has a user: held from the one to the other."""

    def place(self, message: Outgoing, *parts: bytes | memoryview) -> Slab:
        """A slab that holds the parts; not recycled while the message lives.

        Raises:
            OutOfSharedMemory: none is free and /dev/shm has no room for another arena.
            ChannelClosed: the pool is closed.
        """
        with self._lock:
            slab = self._take(sum(map(len, parts)))
            slab.user = weakref.ref(message)
        slab.fill(*parts)
        return slab

    def claim(self, nbytes: int) -> View:
        """A writable array in a slab, shape (nbytes,), to make a payload in place. It is not cleared.

        The slab is the array's for as long as that, or a view of it, lives. `Outgoing(array.data)` is published without
        a copy, once, and is frozen thereby.

        Raises:
            OutOfSharedMemory: none is free and /dev/shm has no room for another arena.
            ChannelClosed: the pool is closed.
        """
        with self._lock:
            slab = self._take(nbytes)
            offset = slab.reference[2]
            array = np.frombuffer(slab.arena.view[offset : offset + nbytes], np.uint8)
            key, claims = id(array), self._claims
            slab.user = weakref.ref(array, lambda _: claims.pop(key, None))
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
        if not isinstance(payload, memoryview) or not payload.c_contiguous:
            return None  # the same bytes in another order
        del self._claims[id(array)]
        array.flags.writeable = False
        return slab

    def find(self, arena_number: int, lease: int) -> Slab | None:
        """The slab that a record refers to, if there is one."""
        return self._slabs.get((arena_number, lease))

    def adopt(self) -> None:
        """Go on with the arenas of a writer that is gone; before its edges are opened, which know what is still wanted.

        An array that it had claimed and not published has left nothing: its slab is free.

        Raises:
            CorruptSegment: an arena is there and can not be attached.
        """
        for number in range(MAX_ARENAS):
            name = f"{self._family}.{number}"
            try:
                arena = Arena(Segment.attach(name))
            except CorruptSegment as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    break  # there is none: that was all
                if isinstance(error.__cause__, OSError):
                    raise  # no descriptors left, say: it is there, and in use
                discard(name)  # it was just being made, and nothing refers to it
                break
            self._add(arena, number, self._busy.setdefault(arena.slab_bytes, deque()))

    def take_back_unwanted(self, lane: int, is_wanted: Callable[[int], bool]) -> None:
        """Of a writer that takes over an edge: take back what was not published there, or was dropped and not taken."""
        with self._lock:
            for slab in self._slabs.values():
                slab.take_back(lane, is_wanted, taken=False)

    def release_lane(self, lane: int) -> None:
        """The reader of an edge is gone for good, its whole process group too: it holds nothing any more."""
        with self._lock:
            for slab in self._slabs.values():
                slab.take_back(lane)

    @property
    def arenas(self) -> int:
        return len(self._arenas)

    @property
    def allocated_bytes(self) -> int:
        return sum(len(arena.view) for arena in self._arenas)

    @property
    def slabs_in_use(self) -> int:
        """How many slabs are not free at this moment."""
        with self._lock:
            return sum(not slab.free for slab in self._slabs.values())

    def _take(self, nbytes: int) -> Slab:
        if self._closed:
            raise ChannelClosed("the run has ended: there is no shared memory any more")
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
        with self._lock:
            self._closed = True
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


def slab_class(nbytes: int) -> int:
    """The slab size for a payload: whole pages, two classes to each doubling, so that at most a third is unused."""
    pages = max(4, -(-nbytes // mmap.PAGESIZE))
    step = 1 << max(0, (pages - 1).bit_length() - 2)
    return -(-pages // step) * step * mmap.PAGESIZE
