"""Leases: how long a slab is held that is read in place.

A view of a slab is an array over read-only memory, and every view that numpy makes of it refers to that first array.
When the last one has gone, the array goes, and a weak reference to it clears the lane's byte. The receiver keeps the
array until the record is acknowledged, so a view dropped earlier does not free what may have to be delivered again.
"""

from __future__ import annotations

import logging
import os
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.shm.arena import FREE, TAKEN, Arena
from penstock.shm.fence import fence_stores

__all__ = ["LeaseBook"]

View = npt.NDArray[np.uint8]


class _Lease(weakref.ref[View]):
    """A weak reference to a view, and the byte to clear when the view dies."""

    __slots__ = ("at", "book", "lanes", "pid")
    lanes: memoryview
    at: int
    book: dict[int, _Lease]
    pid: int


def _release(lease: Any) -> None:
    """Runs wherever the garbage collector does: takes no lock that can be held, waits for nothing, never raises."""
    if os.getpid() == lease.pid:  # a forked child drops its copy: the parent still holds the slab
        fence_stores()
        lease.lanes[lease.at] = FREE
    lease.book.pop(id(lease), None)


class LeaseBook:
    """The slabs that one receiver holds on its edge."""

    def __init__(self, edge: str, lane: int, limit: int, *, marks: bool) -> None:
        """Keep the leases of an edge.

        Args:
            edge: its name, for the warning.
            lane: the edge's lane at its writer.
            limit: views that may be alive at once; whoever keeps more is given private copies.
            marks: say in shared memory what was taken, so that the writer of an edge that drops leaves it alone.
        """
        self._edge = edge
        self._lane = lane
        self._limit = limit
        self._marks = marks
        self._live: dict[int, _Lease] = {}
        self.copied: int = 0

    def open(self, arena: Arena, lease: int, offset: int, nbytes: int) -> tuple[View, memoryview | bytes]:
        """The view that holds the slab, for the receiver to keep until it acknowledges, and the payload for the reader.

        The payload is a part of the view, or a copy when too many views are alive.
        """
        view = np.frombuffer(arena.readonly[offset : offset + nbytes], np.uint8)
        crowded = len(self._live) >= self._limit
        at = arena.lanes_at(lease) + self._lane
        if self._marks:
            arena.view[at] = TAKEN
        weak = _Lease(view, _release)
        weak.lanes, weak.at, weak.book, weak.pid = arena.view, at, self._live, os.getpid()
        self._live[id(weak)] = weak
        if not crowded:
            return view, view.data
        self._note_copy()
        return view, view.tobytes()

    def give_back(self, arena: Arena, lease: int) -> None:
        """Nobody is to read this slab."""
        fence_stores()
        arena.view[arena.lanes_at(lease) + self._lane] = FREE

    @property
    def held(self) -> int:
        """Views that are alive."""
        return len(self._live)

    def _note_copy(self) -> None:
        self.copied += 1
        if self.copied == 1:
            logging.getLogger("penstock.shm").warning(
                "edge %s: its reader keeps %d large payloads; from now on it is given copies while it keeps so many",
                self._edge,
                self._limit,
            )
