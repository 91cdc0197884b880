"""`calls`: 4 KiB to a worker and back at a steady rate, while another task of the program is busy 1 ms in every 10."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from contextlib import ExitStack

import trio

from bench.figures import Series
from bench.options import Options
from bench.placing import PLACINGS, pinned
from bench.roundtrip import PIPE_IN_TRIO, Contestant, Once, bare, penstock, time_calls
from penstock.executors import MultiprocessExecutorBridge

__all__ = ["run"]

_RATES_HZ = (50, 200)
_BUSY_NS = 1_000_000
_REST_S = 0.009


def run(options: Options) -> Series:
    """Blocks of calls by each contestant in turn, on one core and on two."""
    return trio.run(_main, options)


async def _main(options: Options) -> Series:
    series = Series("calls")
    with ExitStack() as stack:
        async with MultiprocessExecutorBridge() as bridge, trio.open_nursery() as nursery:
            pipe = {PIPE_IN_TRIO: bare(stack)[PIPE_IN_TRIO]}
            contestants = {**await penstock(bridge), **pipe}
            for contestant in contestants.values():
                await time_calls(contestant.once, 200)  # warm up
            nursery.start_soon(_busy)
            await _blocks(options, series, contestants)
            nursery.cancel_scope.cancel()
    return series


async def _blocks(options: Options, series: Series, contestants: Mapping[str, Contestant]) -> None:
    window_s = options.choose(quick=0.7, full=4.0)
    for _ in range(options.choose(quick=2, full=5)):
        for case, (here, there) in PLACINGS.items():
            for rate_hz in _RATES_HZ:
                for name, contestant in contestants.items():
                    with pinned({0: here, contestant.pid: there}):
                        times_ns = await _steadily(contestant.once, rate_hz, int(window_s * rate_hz))
                    series.add_latencies(f"{case}, {rate_hz} calls/s", name, times_ns)


async def _steadily(once: Once, rate_hz: int, count: int) -> list[int]:
    times_ns: list[int] = []
    uneven = random.Random(0)  # so that the calls do not keep step with the task that is busy
    for _ in range(count):
        await trio.sleep(uneven.uniform(0.5, 1.5) / rate_hz)
        times_ns += await time_calls(once, 1)
    return times_ns


async def _busy() -> None:
    while True:
        until_ns = time.perf_counter_ns() + _BUSY_NS
        while time.perf_counter_ns() < until_ns:
            pass
        await trio.sleep(_REST_S)
