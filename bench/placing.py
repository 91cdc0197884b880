"""Which processors the sides of a benchmark run on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

__all__ = ["ALL", "FREE", "PLACINGS", "pin", "pinned"]

ALL = frozenset(os.sched_getaffinity(0))
FREE = "free"
_FIRST, _SECOND = min(ALL), sorted(ALL)[min(1, len(ALL) - 1)]

PLACINGS: Mapping[str, tuple[int, int]] = {"one core": (_FIRST, _FIRST)} | (
    {"two cores": (_FIRST, _SECOND)} if len(ALL) > 1 else {}
)
"""The processor of either side. With one usable processor, "two cores" is left out."""


def pin(pid: int, processor: int | None) -> None:
    """Put a process (0: this one), with all the threads that it has now, on one processor, or on all (None)."""
    for thread in os.listdir(f"/proc/{pid or 'self'}/task"):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), ALL if processor is None else {processor})


@contextmanager
def pinned(places: Mapping[int, int]) -> Iterator[None]:
    """Each process (0: this one) on its processor; free again afterwards, as children inherit it."""
    for pid, processor in places.items():
        pin(pid, processor)
    try:
        yield
    finally:
        for pid in places:
            pin(pid, None)
