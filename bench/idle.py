"""`idle`: what a pipeline of ten workers costs that has nothing to do; all its processes together."""

from __future__ import annotations

import os

import trio

from bench.cpu import cpu_ns
from bench.figures import OURS, Series
from bench.nodes import Quiet, Silence
from bench.options import Options
from penstock.engine.pipeline import Pipeline

__all__ = ["run"]

_WORKERS = 10


def run(options: Options) -> Series:
    """Milliseconds of CPU time a second, as the kernel accounts it."""
    series = Series("idle")
    trio.run(_main, options, series)
    return series


async def _main(options: Options, series: Series) -> None:
    names = [f"worker{number}" for number in range(_WORKERS)]
    pipeline = Pipeline("idle").add("silence", Silence)
    for name in names:
        pipeline.add(name, "bench.nodes:Forward", executor="multiprocess")
    pipeline.add("sink", Quiet).connect("silence", *names, "sink")
    async with pipeline.open() as run:
        pids = [os.getpid(), *(node.pid for node in run.report().nodes if node.pid)]
        if len(pids) != _WORKERS + 1:
            raise ValueError(f"there are {len(pids) - 1} workers, not {_WORKERS}")
        await trio.sleep(0.5)
        await _blocks(options, series, pids)


async def _blocks(options: Options, series: Series, pids: list[int]) -> None:
    window_s = options.choose(quick=1.0, full=5.0)
    for _ in range(options.choose(quick=2, full=3)):
        start_s, before_ns = trio.current_time(), cpu_ns(pids)
        await trio.sleep(window_s)
        used_ns = cpu_ns(pids) - before_ns
        series.add(f"{_WORKERS} workers", OURS, "ms/s", used_ns / 1e6 / (trio.current_time() - start_s))
