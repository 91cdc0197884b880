"""The clock of a receiver: the first tenth warms up, the rest is timed."""

from __future__ import annotations

import time
from collections.abc import Iterator

__all__ = ["Timed"]


class Timed:
    """Counts messages from 0; when they have all been asked for and dealt with, it knows their rate."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.rate_hz = 0.0

    def __iter__(self) -> Iterator[int]:
        skipped = self._count // 10
        yield from range(skipped)
        start_ns = time.perf_counter_ns()
        yield from range(skipped, self._count)
        self.rate_hz = (self._count - skipped) / (time.perf_counter_ns() - start_ns) * 1e9
