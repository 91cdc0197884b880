"""`start`: until a worker has its node ready, the first and the tenth, beside an interpreter that imports numpy."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time

import trio

from bench.cpu import cpu_ns
from bench.figures import OURS, Series
from bench.options import Options
from penstock.executors import MultiprocessExecutorBridge

__all__ = ["run"]

_IMPORT = "python -c 'import numpy'"
_TENTH = 10


def run(options: Options) -> Series:
    """Milliseconds of waiting, and of CPU time in this process and the new one, with warm file caches."""
    series = Series("start")
    for block in range(options.choose(quick=4, full=13)):
        bare_ms, found = _import_numpy_ms(), trio.run(_workers_ms)
        for case, (ready_ms, used_ms) in found.items():
            for what, ours, bare in (("ready", ready_ms, bare_ms[0]), ("CPU time", used_ms, bare_ms[1])):
                if block:  # the first warms the caches
                    series.add(f"{case} worker, {what}", OURS, "ms", ours)
                    series.add(f"{case} worker, {what}", _IMPORT, "ms", bare)
    return series


async def _workers_ms() -> dict[str, tuple[float, float]]:
    """(until it is ready, CPU time) of the first worker of a bridge and of the tenth."""
    async with MultiprocessExecutorBridge() as bridge:
        first = await _worker_ms(bridge, "node1")
        async with trio.open_nursery() as nursery:
            for number in range(2, _TENTH):
                nursery.start_soon(bridge.initialize_node, f"node{number}", "bench.nodes:double", {})
        return {"first": first, "tenth": await _worker_ms(bridge, f"node{_TENTH}")}


async def _worker_ms(bridge: MultiprocessExecutorBridge, node_id: str) -> tuple[float, float]:
    start_ns, used_ns = time.perf_counter_ns(), cpu_ns([os.getpid()])
    await bridge.initialize_node(node_id, "bench.nodes:double", {})
    ready_ns = time.perf_counter_ns() - start_ns
    used_ns = cpu_ns([os.getpid(), *bridge.worker_pids(node_id)]) - used_ns
    return ready_ns / 1e6, used_ns / 1e6


def _import_numpy_ms() -> tuple[float, float]:
    start_ns, used_s = time.perf_counter_ns(), _children_s()
    subprocess.run([sys.executable, "-c", "import numpy"], check=True)
    return (time.perf_counter_ns() - start_ns) / 1e6, (_children_s() - used_s) * 1000


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
