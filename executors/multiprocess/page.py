"""A worker's page: words in shared memory that say what its node is at, and what a successor has to know.

The page belongs to the engine, so it survives the worker. The words are the worker's, but for those of the engine;
reading them costs the worker nothing. The journal (see `journal`) has a part of them:

    IN_HAND, bases of IN_HAND, one for each output, and ENDS
    ACTIVE, then two commits: LOG_COUNT, BLOB_BYTES, ENDS, positions of the inputs, bases of the outputs
    two logs, of a word for everything that was begun since the commit

Behind them stand two histograms, of the times in the node and of the ages of its data when it got them.
"""

from __future__ import annotations

from typing import Final

from penstock.executors.histogram import Histogram
from penstock.shm.errors import CorruptSegment
from penstock.shm.segment import Segment

__all__ = ["LONGEST_LOG", "Page", "PageWord"]

_MAGIC: Final = int.from_bytes(b"PSTKPAG1", "little")
_JOURNAL: Final = 32
LONGEST_LOG: Final = 1024
"""Inputs that may be taken between two commits."""


class PageWord:
    """Indices of the u64 words."""

    MAGIC, INPUTS, OUTPUTS = 0, 1, 2
    PROCESSED, BUSY_NS, SINCE_NS, SET_ASIDE, INTERRUPTS_HEARD = 8, 9, 10, 11, 12
    """Data given to the node, time in it, since when it has its datum (monotonic; 0: it has none), data that it failed
    on and that did not fail the run, interrupts that it knows of."""
    ATTENTION, ORDERS, INTERRUPTS = 16, 17, 18
    """The engine's: grows with each of the others; lines that it has sent to this process; interrupts so far."""
    IN_HAND, ENDS, ACTIVE = 24, 25, 26


class Commit:
    """Indices of the words of one of the two commits."""

    __slots__ = ("bases", "blob_bytes", "ends", "log", "log_count", "positions")

    def __init__(self, at: int, inputs: int, log: memoryview) -> None:
        self.log_count: int = at
        self.blob_bytes: int = at + 1
        self.ends: int = at + 2
        self.positions: int = at + 3
        self.bases: int = at + 3 + inputs
        self.log: memoryview = log


class Page:
    """The mapped page.

    Attributes:
        words: all of it, u64.
        in_hand_bases: where the bases of IN_HAND begin.
        commits: the two.
        processing, queueing: how long calls of the node took, and how old its data were when it got them.
    """

    def __init__(self, segment: Segment) -> None:
        """Map a page that exists.

        Raises:
            CorruptSegment: it is none.
        """
        self.segment = segment
        self.words: memoryview = segment.view[: len(segment.view) // 8 * 8].cast("Q")
        if self.words[PageWord.MAGIC] != _MAGIC:
            raise CorruptSegment(f"segment {segment.name} is no page of a worker")
        inputs, outputs = self.words[PageWord.INPUTS], self.words[PageWord.OUTPUTS]
        if self.bytes_for(inputs, outputs) > len(segment.view):
            raise CorruptSegment(f"segment {segment.name} is too small for {inputs} inputs and {outputs} outputs")
        self.in_hand_bases: int = _JOURNAL
        at = _JOURNAL + outputs
        size = 3 + inputs + outputs
        logs_at = at + 2 * size
        self.commits: tuple[Commit, Commit] = (
            Commit(at, inputs, self.words[logs_at : logs_at + LONGEST_LOG]),
            Commit(at + size, inputs, self.words[logs_at + LONGEST_LOG : logs_at + 2 * LONGEST_LOG]),
        )
        at, size = logs_at + 2 * LONGEST_LOG, Histogram.WORDS
        self.processing: Histogram = Histogram(self.words[at : at + size])
        self.queueing: Histogram = Histogram(self.words[at + size : at + 2 * size])

    @staticmethod
    def bytes_for(inputs: int, outputs: int) -> int:
        """The size of the page of a worker with so many edges."""
        journal = outputs + 2 * (3 + inputs + outputs + LONGEST_LOG)
        return (_JOURNAL + journal + 2 * Histogram.WORDS) * 8

    @classmethod
    def format(cls, segment: Segment, inputs: int, outputs: int) -> Page:
        """Make a page of a fresh segment."""
        words = segment.view[: len(segment.view) // 8 * 8].cast("Q")
        words[PageWord.INPUTS], words[PageWord.OUTPUTS] = inputs, outputs
        words[PageWord.MAGIC] = _MAGIC
        return cls(segment)
