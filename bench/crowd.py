"""`crowd`: 200 sessions with native nodes and 20 with two workers each, side by side, each at a rate of its own.

The time of a datum from the program through the pipeline and back to it; without, and with, one session that is stuck.
"""

from __future__ import annotations

import time

import numpy as np
import trio

from bench.figures import OURS, Series
from bench.nodes import Forward
from bench.options import Options
from penstock.engine.options import RunOptions
from penstock.engine.pipeline import Pipeline
from penstock.engine.plan import Plan
from penstock.engine.running import Run
from penstock.executors.contract import RuntimeData

__all__ = ["run"]

_NATIVE = 200
_WITH_WORKERS = 20
_PERIODS_S = (0.2, 0.25, 0.33, 0.5, 1.0)
_HANGS = -1.0


def run(options: Options) -> Series:
    """From `send` to `receive`, over all sessions of a kind."""
    series = Series("crowd")
    trio.run(_main, options, series)
    return series


async def _hang(data: RuntimeData) -> RuntimeData:
    if data.as_tensor()[0] == _HANGS:
        await trio.sleep_forever()
    return data


def _plan(executor: str) -> Plan:
    pipeline = Pipeline("bench").add("hang", _hang)
    for name in ("one", "two"):
        pipeline.add(name, Forward if executor == "native" else "bench.nodes:Forward", executor=executor)
    return pipeline.connect("hang -> one -> two").input("in", "hang").output("out", "two").check()


async def _main(options: Options, series: Series) -> None:
    window_s = options.choose(quick=3.0, full=8.0)
    plans = {"native": _plan("native"), "two workers": _plan("multiprocess")}
    counts = {"native": _NATIVE, "two workers": _WITH_WORKERS}
    async with trio.open_nursery() as nursery:
        runs: list[tuple[str, Run]] = []
        for kind, plan in plans.items():
            runs += [(kind, await nursery.start(_hold, plan)) for _ in range(counts[kind])]
        stuck = await nursery.start(_hold, plans["two workers"])
        await _block(Series("warm up"), runs, 2.0, "")
        for block in range(4 * options.choose(quick=1, full=2)):
            is_stuck = block % 4 in {1, 2}  # alone, beside, beside, alone: what drifts hits both
            if is_stuck:
                await stuck.send("in", np.array([_HANGS]))
            await _block(series, runs, window_s, "beside a stuck one" if is_stuck else "alone")
            stuck.interrupt("hang")
        nursery.cancel_scope.cancel()


async def _hold(plan: Plan, task_status: trio.TaskStatus[Run]) -> None:
    async with plan.open(RunOptions(grace_s=1.0)) as run:
        task_status.started(run)
        await trio.sleep_forever()


async def _block(series: Series, runs: list[tuple[str, Run]], window_s: float, where: str) -> None:
    took_ns: dict[str, list[int]] = {"native": [], "two workers": []}
    with trio.move_on_after(window_s):
        async with trio.open_nursery() as nursery:
            for number, (kind, run) in enumerate(runs):
                nursery.start_soon(_converse, run, _PERIODS_S[number % len(_PERIODS_S)], number, took_ns[kind])
    for kind, times_ns in took_ns.items():
        series.add_latencies(f"{kind}, {where}", OURS, times_ns)


async def _converse(run: Run, period_s: float, number: int, took_ns: list[int]) -> None:
    due = trio.current_time() + period_s * (number % 37) / 37  # not all at once
    while True:
        await trio.sleep_until(due)
        with trio.CancelScope(shield=True):  # what was sent is received, also at the end of a block
            start_ns = time.perf_counter_ns()
            await run.send("in", np.array([float(number)]))
            await run.receive("out")
            took_ns.append(time.perf_counter_ns() - start_ns)
        due += period_s
