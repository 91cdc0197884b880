"""`execute_node`: 4 KiB to a worker and back, beside a pipe with the same work, and beside bare wake-ups."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import trio

from bench.figures import Series
from bench.options import Options
from bench.placing import PLACINGS, pinned
from bench.roundtrip import Contestant, bare, penstock, time_calls
from penstock.executors import MultiprocessExecutorBridge

__all__ = ["run"]


def run(options: Options) -> Series:
    """Blocks of calls by each contestant in turn, on one core and on two."""
    return trio.run(_main, options)


async def _main(options: Options) -> Series:
    series = Series("execute_node")
    with ExitStack() as stack:
        async with MultiprocessExecutorBridge() as bridge:
            await _blocks(options, series, {**await penstock(bridge), **bare(stack)})
    return series


async def _blocks(options: Options, series: Series, contestants: Mapping[str, Contestant]) -> None:
    count = options.choose(quick=300, full=2000)
    for contestant in contestants.values():
        await time_calls(contestant.once, count)  # warm up
    for _ in range(options.choose(quick=3, full=9)):
        for case, (here, there) in PLACINGS.items():
            for name, contestant in contestants.items():
                with pinned({0: here, contestant.pid: there}):
                    await time_calls(contestant.once, 20)  # until both have moved
                    series.add_latencies(case, name, await time_calls(contestant.once, count))
