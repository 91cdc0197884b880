"""`fanout`: 1 MiB to one receiver and to four, each of which reads it whole, beside as many pipes.

A message is counted once, however many receive it. Beside the rate, which the readers decide, stands the sender's own
time for a message: it writes the payload once, so four edges should cost it hardly more than one. It is taken in bursts
that fit into the edges, with the sender on a core of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import trio

from bench import payload
from bench.channels import BURST, Channels
from bench.figures import OURS, Series
from bench.options import Options
from bench.pipes import PipeRow
from bench.placing import FREE, PLACINGS
from bench.steady import Seen, watch
from penstock.engine.pipeline import Pipeline

__all__ = ["run"]

_WIDTHS = (1, 4)
_CAPACITY = 8
_APART = "two cores"
_PIPELINE = f"{OURS}, pipeline"


def run(options: Options) -> Series:
    """Messages a second, free; and the sender's time, on two cores, as microseconds and as a ratio of the widths."""
    series = Series("fanout")
    with ExitStack() as stack:
        channels = {width: stack.enter_context(Channels(payload.FAN_BYTES, _CAPACITY, width)) for width in _WIDTHS}
        rows = {
            width: stack.enter_context(PipeRow(nbytes=payload.FAN_BYTES, sinks=width, duplex=True)) for width in _WIDTHS
        }
        for _ in range(options.choose(quick=2, full=7)):
            for width in _WIDTHS:
                _rates(options, series, channels[width], rows[width], width)
            if _APART in PLACINGS:
                _own_times(options, series, channels)
    return series


def _rates(options: Options, series: Series, channels: Channels, row: PipeRow, width: int) -> None:
    case, count = f"{FREE}, to {width}", options.choose(quick=500, full=4000)
    channels.place(None, None)
    row.place()
    series.add(case, OURS, "msg/s", channels.rate_hz(count))
    source = ("Source", {"nbytes": payload.FAN_BYTES})
    seen = trio.run(_pipeline, source, width, options.choose(quick=0.3, full=1.5), ())
    series.add(case, _PIPELINE, "msg/s", seen.rate_hz)
    series.add(case, f"Pipe{'s' if width > 1 else ''}", "msg/s", row.rate_hz(count // 4))


def _own_times(options: Options, series: Series, channels: Mapping[int, Channels]) -> None:
    here, there = PLACINGS[_APART]
    found: dict[str, dict[int, float]] = {OURS: {}, _PIPELINE: {}}
    source = ("BurstSource", {"nbytes": payload.FAN_BYTES, "burst": BURST, "pause_s": 0.003})
    for width in _WIDTHS:
        channels[width].place(here, there)
        found[OURS][width] = channels[width].send_us(options.choose(quick=100, full=500))
        seen = trio.run(_pipeline, source, width, options.choose(quick=0.4, full=1.5), (here, *[there] * width))
        found[_PIPELINE][width] = seen.said["source"]["send_ns"] / 1000
    for name, times_us in found.items():
        for width in _WIDTHS:
            series.add(f"{_APART}, sender's time, to {width}", name, "us", times_us[width])
        series.add(f"{_APART}, sender's time, to 4 / to 1", name, "x", times_us[4] / times_us[1])


async def _pipeline(
    source: tuple[str, Mapping[str, object]], width: int, window_s: float, places: tuple[int, ...]
) -> Seen:
    pipeline = Pipeline("bench").add("source", f"bench.nodes:{source[0]}", source[1], executor="multiprocess")
    for number in range(width):
        pipeline.add(f"sink{number}", "bench.nodes:Sink", executor="multiprocess")
        pipeline.connect("source", f"sink{number}", capacity=_CAPACITY)
    return await watch(pipeline, window_s, places, settle=50)
