"""How many processors this process may use at once."""

from __future__ import annotations

import math
import os
from pathlib import PurePosixPath

__all__ = ["usable_processors"]


def usable_processors() -> float:
    """Its affinity, or the quota of its control groups (v1 or v2) if that is less; a quota may be a fraction."""
    try:
        count = float(len(os.sched_getaffinity(0)))
    except AttributeError:  # not Linux
        count = float(os.cpu_count() or 1)
    return min([count, *_quotas()])


def _quotas() -> list[float]:
    """What every group on the way to the root allows; what is not set, or can not be seen, allows everything."""
    try:
        with open("/proc/self/cgroup") as file:
            lines = [line.strip().split(":", 2) for line in file]
    except OSError:
        return []
    found = []
    for _, controllers, path in lines:
        if not controllers:
            found += [_v2(f"/sys/fs/cgroup{group}") for group in _groups(path)]
        elif "cpu" in controllers.split(","):
            found += [_v1(f"/sys/fs/cgroup/{controllers}{group}") for group in _groups(path)]
    return found


def _groups(path: str) -> list[str]:
    """A group and all that it is in, the root as the empty string."""
    own = PurePosixPath(path)
    return [str(group).rstrip("/") for group in (own, *own.parents)]


def _v2(folder: str) -> float:
    quota, _, period = _read(f"{folder}/cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else math.inf


def _v1(folder: str) -> float:
    quota, period = _read(f"{folder}/cpu.cfs_quota_us"), _read(f"{folder}/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else math.inf


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
