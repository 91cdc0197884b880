"""`channel`: 4 KiB from a bare `Sender` to a bare `Receiver`, without engine, workers or types, beside a pipe."""

from __future__ import annotations

from bench import payload
from bench.channels import Channels
from bench.figures import OURS, Series
from bench.options import Options
from bench.pipes import PipeRow
from bench.placing import PLACINGS

__all__ = ["run"]


def run(options: Options) -> Series:
    """Messages a second, on one core and on two."""
    series = Series("channel")
    count = options.choose(quick=50_000, full=300_000)
    with Channels(payload.SMALL_BYTES, 64) as channel, PipeRow() as row:
        for _ in range(options.choose(quick=3, full=7)):
            for case, places in PLACINGS.items():
                channel.place(*places)
                series.add(case, OURS, "msg/s", channel.rate_hz(count))
                row.place(*places)
                series.add(case, "Pipe", "msg/s", row.rate_hz(count))
    return series
