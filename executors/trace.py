"""What a node did when: a bounded buffer of events, which the one who does it fills and anybody reads afterwards.

The buffer keeps the newest events. It is plain words, so it may stand in shared memory and survive whoever filled it:
an event is written whole before COUNT says that it is there. Behind the newest one may stand half of another one, over
the oldest, which for that reason is not read.

Times are `perf_counter_ns`, which is the same clock in every process of a machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["EVENTS", "Event", "Trace", "What"]

EVENTS: Final = 1 << 16
"""Of one node that are kept."""
_COUNT: Final = 0
_FIRST: Final = 8
_WORDS: Final = 3
_KIND_BITS: Final = 8


class What:
    """What an event is."""

    CALL: Final = 1
    """The node was given a datum; the number is that of the edge among those into the node."""
    PRODUCE: Final = 2
    """A source made a datum."""
    WAIT: Final = 3
    """For room on an edge; the number is that of the edge among those out of the node."""
    INITIALIZE: Final = 4
    SNAPSHOT: Final = 5


@dataclass(frozen=True, slots=True)
class Event:
    """Something that took its time."""

    start_ns: int
    duration_ns: int
    kind: int
    number: int


class Trace:
    """The events of one node."""

    def __init__(self, memory: bytearray | memoryview) -> None:
        """Go on in this memory, which was zeroed once.

        Args:
            memory: of `bytes_for` so many events.
        """
        self._words = memoryview(memory).cast("Q")
        self._capacity = (len(self._words) - _FIRST) // _WORDS
        self._count: int = self._words[_COUNT]

    @staticmethod
    def bytes_for(events: int) -> int:
        return (_FIRST + events * _WORDS) * 8

    def add(self, kind: int, number: int, start_ns: int, end_ns: int) -> None:
        """Note an event."""
        words, count = self._words, self._count
        at = _FIRST + count % self._capacity * _WORDS
        words[at] = start_ns
        words[at + 1] = end_ns - start_ns
        words[at + 2] = number << _KIND_BITS | kind
        self._count = words[_COUNT] = count + 1

    @property
    def lost(self) -> int:
        """Events that are not kept any more."""
        return max(0, int(self._words[_COUNT]) - self._capacity + 1)

    def events(self) -> Iterator[Event]:
        """What is kept, the oldest first."""
        words = self._words
        for number in range(self.lost, words[_COUNT]):
            at = _FIRST + number % self._capacity * _WORDS
            start_ns, duration_ns, what = words[at : at + _WORDS]
            yield Event(start_ns, duration_ns, what & (1 << _KIND_BITS) - 1, what >> _KIND_BITS)
