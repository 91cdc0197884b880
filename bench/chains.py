"""`chains`: what each further worker costs, in rows of two to eight; 4 KiB, beside pipes in as long a row.

A row of two workers is a single edge. Where there are fewer processors than workers, the full rate of a longer row is
that of fewer processors for each: so the table says, too, how much CPU time a message took in all processes together.
"""

from __future__ import annotations

from contextlib import ExitStack

import trio

from bench.figures import OURS, Series
from bench.options import Options
from bench.pipes import PipeRow
from bench.placing import FREE
from bench.steady import line, watch

__all__ = ["run"]

_WORKERS = (2, 3, 5, 8)
_RATE_HZ = 200


def run(options: Options) -> Series:
    """Messages a second, CPU time a message, and the time on the way that a further hop adds."""
    series = Series("chains")
    with ExitStack() as stack:
        rows = {workers: stack.enter_context(PipeRow(workers - 2)) for workers in _WORKERS}
        for _ in range(options.choose(quick=2, full=5)):
            _full_rates(options, series, rows)
            _latencies(options, series, rows)
    return series


def _full_rates(options: Options, series: Series, rows: dict[int, PipeRow]) -> None:
    rates: dict[tuple[str, int], float] = {}
    for workers, row in rows.items():
        window_s = options.choose(quick=0.4, full=1.5)
        seen = trio.run(watch, line(("source", "Source", {}), *_forwards(workers), ("sink", "Sink", {})), window_s)
        rates[OURS, workers] = seen.rate_hz
        rates["Pipe", workers] = row.rate_hz(options.choose(quick=10_000, full=60_000))
        series.add(f"{FREE}, {workers} workers, CPU", OURS, "us", seen.cpu_us)
    for (name, workers), rate_hz in rates.items():
        series.add(f"{FREE}, {workers} workers, full rate", name, "msg/s", rate_hz)
        if workers > 2:
            series.add(f"{FREE}, {workers} workers, full rate / 2 workers", name, "part", rate_hz / rates[name, 2])


def _latencies(options: Options, series: Series, rows: dict[int, PipeRow]) -> None:
    count, settle = int(_RATE_HZ * options.choose(quick=0.6, full=3.0)), _RATE_HZ // 10
    p50_us: dict[tuple[str, int], float] = {}
    for workers, row in rows.items():
        metronome = ("source", "Metronome", {"rate_hz": _RATE_HZ})
        pipeline = line(metronome, *_forwards(workers), ("sink", "LatencySink", {"skip": settle}))
        seen = trio.run(lambda pipeline=pipeline: watch(pipeline, count / _RATE_HZ, settle=settle))
        p50_us[OURS, workers] = seen.said["sink"]["p50_ns"] / 1000
        p50_us["Pipe", workers] = row.latencies_ns(count, _RATE_HZ)[0] / 1000
    for (name, workers), time_us in p50_us.items():
        series.add(f"{FREE}, {workers} workers, {_RATE_HZ} msg/s, p50", name, "us", time_us)
        if workers > 2:
            added_us = (time_us - p50_us[name, 2]) / (workers - 2)
            series.add(f"{FREE}, {workers} workers, {_RATE_HZ} msg/s, a further hop", name, "us", added_us)


def _forwards(workers: int) -> list[tuple[str, str, dict[str, float]]]:
    return [(f"stage{number}", "Forward", {}) for number in range(workers - 2)]
