"""`start`: until a worker has its node ready, beside an interpreter that imports numpy and ends."""

from __future__ import annotations

import subprocess
import sys
import time

import trio

from bench.figures import OURS, Series
from bench.options import Options
from penstock.executors import MultiprocessExecutorBridge

__all__ = ["run"]


def run(options: Options) -> Series:
    """Milliseconds, with warm file caches."""
    series = Series("start")
    for block in range(options.choose(quick=4, full=13)):
        bare, ready = _import_numpy_ms(), trio.run(_ready_ms)
        if block:  # the first warms the caches
            series.add("first worker ready", OURS, "ms", ready)
            series.add("first worker ready", "python -c 'import numpy'", "ms", bare)
    return series


async def _ready_ms() -> float:
    start_ns = time.perf_counter_ns()
    async with MultiprocessExecutorBridge() as bridge:
        await bridge.initialize_node("double", "bench.nodes:double", {})
        return (time.perf_counter_ns() - start_ns) / 1e6


def _import_numpy_ms() -> float:
    start_ns = time.perf_counter_ns()
    subprocess.run([sys.executable, "-c", "import numpy"], check=True)
    return (time.perf_counter_ns() - start_ns) / 1e6
