"""`stream`: 4 KiB from a source in one worker to a sink in another, one way, beside a bare pipe."""

from __future__ import annotations

import trio

from bench.figures import OURS, Series
from bench.options import Options
from bench.pipes import PipeRow
from bench.placing import PLACINGS
from bench.steady import line, watch

__all__ = ["run"]


def run(options: Options) -> Series:
    """Messages a second in a steady run, on one core and on two."""
    series = Series("stream")
    window_s = options.choose(quick=0.3, full=1.5)
    count = options.choose(quick=30_000, full=200_000)
    with PipeRow() as row:
        for _ in range(options.choose(quick=2, full=5)):
            for case, places in PLACINGS.items():
                pipeline = line(("source", "Source", {}), ("sink", "Sink", {}))
                series.add(case, OURS, "msg/s", trio.run(watch, pipeline, window_s, places).rate_hz)
                row.place(*places)
                series.add(case, "Pipe", "msg/s", row.rate_hz(count))
    return series
