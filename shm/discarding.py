"""What becomes of a record that its reader discards: its slab goes back, and a writer that waits for room is rung."""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

from penstock.shm.arena import ArenaMap
from penstock.shm.doorbell import Doorbell
from penstock.shm.fence import WEAK_ORDER, fence
from penstock.shm.lease import LeaseBook, View
from penstock.shm.record import Field, Flag, Header
from penstock.shm.ring import Ring, Word

__all__ = ["Discards", "Held"]

Held: TypeAlias = "deque[tuple[int, View | None, Header]]"
"""What is taken, not acknowledged, and stands in a slab; what has no view is to be discarded in its turn."""


class Discards:
    """The discards of one reader. Not its methods: a receiving end that its ring refers to would outlive its use."""

    def __init__(self, ring: Ring, arenas: ArenaMap, leases: LeaseBook, held: Held, peer_bell: Doorbell) -> None:
        self._words = ring.words
        self._arenas = arenas
        self._leases = leases
        self._held = held
        self._peer_bell = peer_bell

    def note(self, header: Header, position: int | None) -> None:
        """A record is discarded, and ACK now at a position; or will be, when those before it are acknowledged."""
        if position is None:
            self._held.append((header[Field.SEQUENCE], None, header))
            return
        self.give_back(header)
        fence()
        target = self._words[Word.WRITER_WAITING]
        if (target and position >= target) or WEAK_ORDER:
            self._peer_bell.ring()

    def give_back(self, header: Header) -> None:
        """After its acknowledgement, so that whoever dies in between has left a slab of which its successor knows."""
        if header[Field.FLAGS] & Flag.SLAB:
            arena = self._arenas.locate(header[Field.ARENA], header[Field.LEASE], header[Field.OFFSET], 0)
            self._leases.give_back(arena, header[Field.LEASE])
