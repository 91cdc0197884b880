"""Leases: how long a slab is held that is read in place.

A view of a slab is an array over read-only memory, and every view that numpy makes of it refers to that first array.
When the last one has gone, the array goes, and a weak reference to it clears the lane's byte. The receiver keeps the
array until the record is acknowledged, so a view dropped earlier does not free what may have to be delivered again.
"""

from __future__ import annotations

import os
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.shm.arena import Arena
from penstock.shm.fence import publish_fence

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
    """Runs wherever the garbage collector does: takes no lock, waits for nothing, never raises."""
    if os.getpid() == lease.pid:  # a forked child drops its copy: the parent still holds the slab
        publish_fence()
        lease.lanes[lease.at] = 0
    lease.book.pop(id(lease), None)


class LeaseBook:
    """The slabs that one receiver holds on its edge."""

    def __init__(self, lane: int, limit: int) -> None:
        """Keep the leases of an edge.

        Args:
            lane: the edge's lane at its writer.
            limit: views that may be alive at once; whoever keeps more is given private copies.
        """
        self._lane = lane
        self._limit = limit
        self._live: dict[int, _Lease] = {}
        self.copied: int = 0

    def open(self, arena: Arena, lease: int, offset: int, nbytes: int) -> tuple[View, View | bytes]:
        """The view that holds the slab, for the receiver to keep until it acknowledges, and the payload for the reader.

        They are the same, or the payload is a copy when too many views are alive.
        """
        view = np.frombuffer(arena.readonly[offset : offset + nbytes], np.uint8)
        crowded = len(self._live) >= self._limit
        weak = _Lease(view, _release)
        weak.lanes, weak.at, weak.book, weak.pid = (
            arena.bytes,
            arena.lane_byte(lease, self._lane),
            self._live,
            os.getpid(),
        )
        self._live[id(weak)] = weak
        if not crowded:
            return view, view
        self.copied += 1
        return view, view.tobytes()
