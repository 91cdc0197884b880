"""Arenas: the segments in which large payloads stand.

A payload too large for its ring stands in a *slab*, written once for all the edges it goes to. Slabs are carved from
the arena segments of their writer, one size class to an arena.

An arena is a page of words, a lease for each slab, then the slabs. A lease is 128 bytes: at 0 a byte for each *lane*,
at 8 the group of eight lanes that the bytes stand for, at 64 a u64 for each lane, the sequence under which the slab was
published there. A lane is an edge of the writer. The writer sets the lane's byte before it publishes; the reader clears
it when the record is acknowledged and the last view has gone. So no word has two writers at a time, and nobody needs
an atomic read-modify-write.
"""

from __future__ import annotations

import mmap
from typing import Final

from penstock.shm.errors import CorruptSegment
from penstock.shm.segment import Segment

__all__ = ["FREE", "LANES", "MAX_ARENAS", "PUBLISHED", "TAKEN", "Arena", "ArenaMap", "arena_bytes"]

LANES: Final = 8
"""Edges that can share one slab; more edges write the payload once more for each further eight."""
MAX_ARENAS: Final = 4096

FREE, PUBLISHED, TAKEN = 0, 1, 2
"""The values of a lane's byte. TAKEN is set by the reader of an edge that drops: the rest its writer may take back."""

_ARENA_MAGIC: Final = int.from_bytes(b"PSTKARN2", "little")
_W_MAGIC, _W_SLAB_BYTES, _W_SLABS, _W_DATA_AT = 0, 1, 2, 3
_PAGE: Final = mmap.PAGESIZE
_LEASE_BYTES: Final = 128
_GROUP_AT: Final = 8
_SEQUENCES_AT: Final = 64


class Arena:
    """One mapped arena segment."""

    def __init__(self, segment: Segment) -> None:
        """Map an arena that exists.

        Raises:
            CorruptSegment: this is no arena, or it is cut off.
        """
        self.segment = segment
        self.view: memoryview = segment.view
        self.words: memoryview = self.view[: len(self.view) // 8 * 8].cast("Q")
        self.slab_bytes: int
        self.slabs: int
        self.data_at: int
        magic, self.slab_bytes, self.slabs, self.data_at = self.words[:4] if len(self.words) >= 4 else (0, 0, 0, 0)
        if (
            magic != _ARENA_MAGIC
            or not self.slabs
            or self.data_at < _PAGE + self.slabs * _LEASE_BYTES
            or self.data_at + self.slabs * self.slab_bytes > len(self.view)
        ):
            raise CorruptSegment(f"segment {segment.name} holds no arena, or not all of it")
        self.readonly: memoryview = self.view.toreadonly()

    @classmethod
    def format(cls, segment: Segment, slab_bytes: int, slabs: int) -> Arena:
        """Make an arena of a fresh, zeroed segment of `arena_bytes(slab_bytes, slabs)`."""
        words = segment.view[:_PAGE].cast("Q")
        words[_W_SLAB_BYTES], words[_W_SLABS] = slab_bytes, slabs
        words[_W_DATA_AT] = _data_at(slabs)
        words[_W_MAGIC] = _ARENA_MAGIC
        return cls(segment)

    @staticmethod
    def lanes_at(lease: int) -> int:
        """Where the bytes of the eight lanes of a slab stand."""
        return _PAGE + lease * _LEASE_BYTES

    @staticmethod
    def group_word(lease: int) -> int:
        """Index of the word that says which eight lanes they are."""
        return (_PAGE + lease * _LEASE_BYTES + _GROUP_AT) // 8

    @staticmethod
    def sequences_word(lease: int) -> int:
        """Index of the first of the eight words with the sequences."""
        return (_PAGE + lease * _LEASE_BYTES + _SEQUENCES_AT) // 8


class ArenaMap:
    """The arenas of one writer as its reader sees them, attached when they are first referred to."""

    def __init__(self, family: str) -> None:
        """See the arenas named `family.0`, `family.1`, ..."""
        self._family = family
        self._arenas: dict[int, Arena] = {}

    def locate(self, arena_number: int, lease: int, offset: int, nbytes: int) -> Arena:
        """The arena that a record refers to.

        Raises:
            CorruptSegment: there is none, or the reference leaves its slab.
        """
        arena = self._arenas.get(arena_number)
        if arena is None:
            if arena_number >= MAX_ARENAS:
                raise CorruptSegment(f"a record refers to arena {arena_number}")
            arena = self._attach(arena_number)
        begin = arena.data_at + lease * arena.slab_bytes
        if lease >= arena.slabs or not begin <= offset <= offset + nbytes <= begin + arena.slab_bytes:
            raise CorruptSegment(f"a record refers to {nbytes} bytes at {offset} of slab {lease}, outside of it")
        return arena

    def let_go(self, lane: int, before: int, *, taken_only: bool) -> None:
        """Clear what a reader that is gone has held of records before a position; by the reader that follows it.

        A view dies with its process; what was not acknowledged is delivered again and stays.

        Args:
            lane: the edge.
            before: its position.
            taken_only: on an edge that drops, what nobody took is the writer's.
        """
        group, bit = divmod(lane, LANES)
        for arena in self._all():
            for lease in range(arena.slabs):
                at = arena.lanes_at(lease) + bit
                held = arena.view[at] == TAKEN if taken_only else arena.view[at] != FREE
                if (
                    held
                    and arena.words[arena.group_word(lease)] == group
                    and arena.words[arena.sequences_word(lease) + bit] < before
                ):
                    arena.view[at] = FREE

    def _all(self) -> list[Arena]:
        for number in range(MAX_ARENAS):
            if number not in self._arenas:
                try:
                    self._attach(number)
                except CorruptSegment:  # there is none, or it is just being made and holds nothing yet
                    break
        return list(self._arenas.values())

    def _attach(self, number: int) -> Arena:
        segment = Segment.attach(f"{self._family}.{number}")
        arena = self._arenas[number] = Arena(segment)
        segment.populate(writing=False)
        return arena


def arena_bytes(slab_bytes: int, slabs: int) -> int:
    """Size of the segment of an arena."""
    return _data_at(slabs) + slabs * slab_bytes


def _data_at(slabs: int) -> int:
    return -(-(_PAGE + slabs * _LEASE_BYTES) // _PAGE) * _PAGE
