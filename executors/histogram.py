"""How long things took, in few words of memory: a histogram, and which of many short things go into it.

Each octave has four buckets, so a percentile is right within an eighth. The words may stand in shared memory: one side
adds, and anybody reads.

Who does something every few microseconds can not write down each time. A thing that took longer than `LONG_NS` is
always noted, and counts once. Of short ones one in `STRIDE` is, and counts `STRIDE` times: whether a thing is noted
depends on nothing but its place in the row, so each short one has the same chance, and each bucket has the right count
on average. Distances between two that are looked at are random, from 1 to twice the stride less one: every 64th would
always be the same one of a node that does something special every 64th time. What is noted beside the duration
(the age of the datum, say) has the same weight, and is right for the same reason. The first `EXACT` are noted all, as a
short run has no more.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, MutableSequence, Sequence
from typing import Final, TypeAlias

__all__ = ["LONG_NS", "Histogram", "Pace", "percentiles"]

LONG_NS: Final = 20_000
STRIDE: Final = 64
EXACT: Final = 256

_SHIFT: Final = 5
"""The smallest bucket ends at 5 << 5 = 160 ns."""
_BUCKETS: Final = 36 * 4
"""Up to an hour."""

Words: TypeAlias = "MutableSequence[int] | memoryview[int]"


class Histogram:
    """How many durations there were of each size."""

    WORDS: Final = _BUCKETS + 1

    def __init__(self, words: Words | None = None) -> None:
        """Count into these words, or into new ones, which are made when there is something to count.

        Args:
            words: `WORDS` of them, u64; the first is the longest duration.
        """
        self._words: Words | None = words

    def add(self, ns: int, weight: int = 1) -> None:
        """Count a duration, which stands for `weight` of them."""
        words = self._words
        if words is None:
            words = self._words = array("Q", bytes(8 * self.WORDS))
        words[0] = max(words[0], ns)
        units = max(ns >> _SHIFT, 4)
        octave = units.bit_length() - 3
        words[1 + min(octave * 4 + (units >> octave & 3), _BUCKETS - 1)] += weight

    @property
    def longest_ns(self) -> int:
        """The longest one, exactly."""
        return 0 if self._words is None else int(self._words[0])

    def counts(self) -> list[int]:
        """How many there were in each bucket."""
        return [0] * _BUCKETS if self._words is None else list(self._words[1:])


class Pace:
    """Which short things are noted.

    Attributes:
        next: the number of the next one; the first has number 1.
    """

    __slots__ = ("_random", "next")

    def __init__(self, done: int = 0) -> None:
        """Begin behind those that are done already."""
        self.next: int = done + 1
        self._random = done

    def weight(self, number: int) -> int:
        """For how many this one stands, which is due; `next` is a later one from now on."""
        if number <= EXACT:
            self.next = number + 1
            return 1
        self._random = random = self._random * 1103515245 + 12345 & 0x7FFFFFFF  # the generator of C's rand()
        self.next = number + 1 + (random >> 16) % (2 * STRIDE - 1)
        return STRIDE


def percentiles(histograms: Iterable[Histogram], shares: Sequence[float]) -> list[float | None]:
    """The duration in us that this share of all stayed below, of several histograms together; None where none is."""
    counts = [sum(bucket) for bucket in zip(*(histogram.counts() for histogram in histograms), strict=True)]
    longest_ns = max((histogram.longest_ns for histogram in histograms), default=0)
    total = sum(counts)
    return [_percentile(counts, share * total, longest_ns) / 1000 if total else None for share in shares]


def _percentile(counts: Sequence[int], rank: float, longest_ns: int) -> float:
    below = 0
    for bucket, count in enumerate(counts):
        if count and below + count >= rank:
            lower, upper = _edge(bucket), _edge(bucket + 1)
            return min(lower + (upper - lower) * (rank - below) / count, longest_ns)
        below += count
    return longest_ns


def _edge(bucket: int) -> int:
    """The smallest duration of a bucket, in ns."""
    octave, part = divmod(bucket, 4)
    return (4 + part << octave) << _SHIFT if bucket else 0
