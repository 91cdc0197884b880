"""`callers`: calls a second of one task, and of eight that call the same node, beside a pipe that they share."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack

import trio

from bench.figures import OURS, Series
from bench.options import Options
from bench.placing import PLACINGS, pinned
from bench.roundtrip import Contestant, SharedPipe, penstock, time_calls
from penstock.executors import MultiprocessExecutorBridge

__all__ = ["run"]

_TASKS = (1, 8)


def run(options: Options) -> Series:
    """Blocks of calls by each contestant in turn, on one core and on two."""
    return trio.run(_main, options)


async def _main(options: Options) -> Series:
    series = Series("callers")
    with ExitStack() as stack:
        shared = SharedPipe(stack)
        async with MultiprocessExecutorBridge() as bridge, trio.open_nursery() as nursery:
            nursery.start_soon(shared.hand_out)
            ours = (await penstock(bridge))[OURS]
            await _blocks(options, series, {OURS: ours, "Pipe in trio": Contestant(shared.once, shared.pid)})
            nursery.cancel_scope.cancel()
    return series


async def _blocks(options: Options, series: Series, contestants: Mapping[str, Contestant]) -> None:
    count = options.choose(quick=800, full=8000)
    for _ in range(options.choose(quick=3, full=7)):
        for case, (here, there) in PLACINGS.items():
            for tasks in _TASKS:
                for name, contestant in contestants.items():
                    with pinned({0: here, contestant.pid: there}):
                        await _rate_hz(contestant, tasks, 50)  # until both have moved
                        rate_hz = await _rate_hz(contestant, tasks, count)
                    series.add(f"{case}, {tasks} task{'s' if tasks > 1 else ''}", name, "calls/s", rate_hz)


async def _rate_hz(contestant: Contestant, tasks: int, count: int) -> float:
    start_ns = time.perf_counter_ns()
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(time_calls, contestant.once, count // tasks)
    return count // tasks * tasks / (time.perf_counter_ns() - start_ns) * 1e9
