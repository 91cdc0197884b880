"""`replicas`: a node that keeps a processor busy for 1 ms with each message of 4 KiB, as one worker and as two."""

from __future__ import annotations

import trio

from bench.figures import OURS, Series
from bench.options import Options
from bench.placing import FREE
from bench.steady import watch
from penstock.engine.pipeline import Pipeline

__all__ = ["run"]

_WIDTHS = (1, 2)
_BUSY_US = 1000


def run(options: Options) -> Series:
    """Messages a second, in order, and what a second worker brings; then the same of a node that does nothing."""
    series = Series("replicas")
    window_s = options.choose(quick=0.5, full=2.0)
    for _ in range(options.choose(quick=2, full=5)):
        for what, busy_us in (("busy for 1 ms", _BUSY_US), ("idle", 0)):
            rates = [trio.run(watch, _pipeline(width, busy_us), window_s).rate_hz for width in _WIDTHS]
            for width, rate_hz in zip(_WIDTHS, rates, strict=True):
                series.add(f"{FREE}, {what}, {width} workers", OURS, "msg/s", rate_hz)
            series.add(f"{FREE}, {what}, 2 workers / 1 worker", OURS, "part", rates[1] / rates[0])
    return series


def _pipeline(width: int, busy_us: int) -> Pipeline:
    pipeline = Pipeline("bench").add("source", "bench.nodes:Source", executor="multiprocess")
    pipeline.add("busy", "bench.nodes:Busy", {"us": busy_us}, executor="multiprocess", replicas=width)
    return pipeline.add("sink", "bench.nodes:Sink", executor="multiprocess").connect("source -> busy -> sink")
