"""CPU time of processes, finer than /proc says it."""

from __future__ import annotations

import time
from collections.abc import Iterable

__all__ = ["cpu_ns"]


def cpu_ns(pids: Iterable[int]) -> int:
    """Time on a processor, in ns, of all threads that the processes have and had."""
    return sum(time.clock_gettime_ns(_clock(pid)) for pid in pids)


def _clock(pid: int) -> int:
    """What clock_getcpuclockid(3) gives on Linux. /proc/PID/stat says the same in ticks of 10 ms: too coarse here."""
    return ~pid << 3 | 2
