"""`frames`: 8 MiB frames, each written anew and read whole, beside one process that does no more than that."""

from __future__ import annotations

import time

import trio

from bench import payload
from bench.channels import Channels
from bench.figures import OURS, Series
from bench.options import Options
from bench.pipes import PipeRow
from bench.placing import PLACINGS, pinned
from bench.steady import line, watch

__all__ = ["run"]

_GB = payload.FRAME_BYTES / 1e9
_PLACING = list(PLACINGS)[-1]
_CAPACITY = 1
"""Frames on their way: few, so that they stay in the cache."""


def run(options: Options) -> Series:
    """Bytes of whole frames a second; "default edge" is a pipeline without a `capacity`."""
    series = Series("frames")
    places = PLACINGS[_PLACING]
    count = options.choose(quick=60, full=400)
    with Channels(payload.FRAME_BYTES, _CAPACITY) as channel, PipeRow(nbytes=payload.FRAME_BYTES, duplex=True) as row:
        channel.place(*places)
        row.place(*places)
        for _ in range(options.choose(quick=2, full=5)):
            for name, capacity in ((OURS, _CAPACITY), (f"{OURS}, default edge", 64)):
                series.add(_PLACING, name, "GB/s", _pipeline(options, capacity) * _GB)
            for name, in_place in (("channel, written in place", True), ("channel, written by sending", False)):
                series.add(_PLACING, name, "GB/s", channel.rate_hz(count, in_place=in_place) * _GB)
            series.add(_PLACING, "Pipe, written by sending", "GB/s", row.rate_hz(count // 2) * _GB)
            with pinned({0: places[0]}):
                series.add(_PLACING, "one process", "GB/s", _alone(count) * _GB)
    return series


def _pipeline(options: Options, capacity: int) -> float:
    source = ("source", "FrameSource", {"nbytes": payload.FRAME_BYTES})
    pipeline = line(source, ("sink", "Sink", {}), capacity=capacity)
    window_s = options.choose(quick=0.3, full=1.5)

    async def measure() -> float:
        return (await watch(pipeline, window_s, PLACINGS[_PLACING], settle=30)).rate_hz

    return trio.run(measure)


def _alone(count: int) -> float:
    """Write and read the same bytes in one warm buffer: frames a second."""
    frame = payload.make(0, payload.FRAME_BYTES)
    start_ns = time.perf_counter_ns()
    for number in range(count):
        frame.fill(payload.value_of(number))
        payload.check(frame, number)
    return count / (time.perf_counter_ns() - start_ns) * 1e9
