"""What a writer of the soak sends, and what that looks like: known in advance to everybody, from the seed alone.

Sizes are log-uniform up to 16 MiB, so that their mean is about 1 MiB; one in 32 is empty, one in 16 stands at the
inline limit of the rings or a byte beside it. Three messages of four go to one edge, the others to all.

The content of a message is a window of a block of random bytes that every process makes for itself. Where the window
begins depends on the number of the message: so a byte that is wrong, or at a wrong place, or of another message is
seen, writing a message is one copy, and checking it is one comparison of 64-bit words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.shm.ring import Geometry

__all__ = ["GEOMETRY", "LANES", "Bytes", "Schedule", "begin_of", "block", "content", "is_content"]

GEOMETRY = Geometry.fitting(16)
LANES = 4
"""Edges of a writer; not more than can share a slab."""
_ALL = LANES
_LARGEST = 16 << 20
_SHIFTS = 1 << 16
_STEP = 64
_BLOCK_BYTES = _LARGEST + _SHIFTS * _STEP

Numbers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


class Schedule:
    """The messages of one writer.

    Attributes:
        sizes: of every message, in bytes.
        targets: its lane, or `LANES` for all of them.
    """

    def __init__(self, seed: int, records: int) -> None:
        """As many messages as it takes to have this many records: one that goes to all edges is a record on each."""
        random = np.random.default_rng(seed)
        targets = random.integers(0, LANES, records)
        targets[random.random(records) < 0.25] = _ALL
        count = int(np.searchsorted(np.cumsum(np.where(targets == _ALL, LANES, 1)), records)) + 1
        sizes = np.exp(random.uniform(0, np.log(_LARGEST), count)).astype(np.int64)
        kinds = random.random(count)
        sizes[kinds < 1 / 32] = 0
        at_limit = (kinds >= 1 / 32) & (kinds < 3 / 32)
        sizes[at_limit] = GEOMETRY.inline_bytes + random.integers(-1, 2, int(at_limit.sum()))
        self.sizes: Numbers = sizes
        self.targets: Numbers = targets[:count]

    def lanes_of(self, number: int) -> range:
        target = int(self.targets[number])
        return range(LANES) if target == _ALL else range(target, target + 1)

    def on_lane(self, lane: int) -> Numbers:
        """The numbers of the messages on an edge, in the order of its records."""
        return np.flatnonzero((self.targets == lane) | (self.targets == _ALL))


def begin_of(writer: int, number: int) -> int:
    """Where the window of a message begins."""
    return (number * 2654435761 + writer * 40503) % _SHIFTS * _STEP


def block() -> Bytes:
    """The block that all windows are of."""
    return np.frombuffer(np.random.default_rng(0).bytes(_BLOCK_BYTES), np.uint8)


def content(block_bytes: Bytes, begin: int, nbytes: int) -> memoryview:
    """The payload of a message."""
    return block_bytes[begin : begin + nbytes].data


def is_content(payload: Any, block_bytes: Bytes, begin: int, nbytes: int) -> bool:
    """Whether this is, byte by byte, that payload."""
    if len(payload) != nbytes:
        return False
    if not nbytes:
        return True
    found, wanted = np.frombuffer(payload, np.uint8), block_bytes[begin : begin + nbytes]
    whole = nbytes // 8 * 8
    words = found[:whole].view(np.uint64), wanted[:whole].view(np.uint64)
    return np.array_equal(*words) and np.array_equal(found[whole:], wanted[whole:])
