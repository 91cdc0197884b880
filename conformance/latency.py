"""Honest timing: warm, in blocks, with a yard-stick from the same moment."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.executors.contract import RuntimeData

if TYPE_CHECKING:
    from penstock.conformance.lab import Lab

__all__ = ["Block", "block", "slope", "yardstick"]

Block = dict[str, float]


def _percentiles(samples: list[float]) -> Block:
    ordered = sorted(samples)
    at = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    found = {name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2) for name, share in at.items()}
    return {**found, "max": round(ordered[-1], 2)}


async def block(call: Callable[[], Awaitable[Any]], count: int) -> Block:
    """Percentiles of so many calls, in microseconds."""
    samples = []
    for _ in range(count):
        start = time.perf_counter_ns()
        await call()
        samples.append((time.perf_counter_ns() - start) / 1000)
    return _percentiles(samples)


def yardstick(nbytes: int, count: int) -> Block:
    """The same of a memcpy in and out."""
    source, target, back = (np.ones(nbytes, "u1") for _ in range(3))
    samples = []
    for _ in range(count):
        start = time.perf_counter_ns()
        np.copyto(target, source)
        np.copyto(back, target)
        samples.append((time.perf_counter_ns() - start) / 1000)
    return _percentiles(samples)


async def slope(call: Callable[[RuntimeData], Awaitable[Any]], lab: Lab) -> float:
    """How many memcpys the time per byte of a call is worth: from 1 to 16 MiB, the best of each."""
    times: list[float] = []
    copies: list[float] = []
    for mib in (1, 16):
        datum = lab.data.tensor(np.ones(mib << 20, "u1"))
        best = min([(await block(lambda datum=datum: call(datum), 1))["p50"] for _ in range(8)])  # type: ignore[misc]
        times.append(best)
        copies.append(yardstick(mib << 20, 8)["p50"] / 2)
    return round(max(0.0, (times[1] - times[0]) / max(1e-9, copies[1] - copies[0])), 1)
