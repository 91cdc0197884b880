"""`rivals.fan_out`: 1 MiB to four processes, each of which reads it whole; a message is counted once."""

from __future__ import annotations

from contextlib import ExitStack

from bench import payload
from bench.figures import Series
from bench.options import Options
from bench.placing import FREE
from bench.rivals.field import flows, run_flows

__all__ = ["run"]


def run(options: Options) -> Series:
    """Messages a second; free, as there are more processes than we have cores."""
    with ExitStack() as stack:
        contestants = flows(stack, payload.FAN_BYTES, capacity=8, receivers=4)
        return run_flows(Series("rivals.fan_out"), options, contestants, {FREE: (None, None)}, count=8000)
