"""`rivals.one_way`: 4 KiB from one process to another; a given message is copied into what carries it."""

from __future__ import annotations

from contextlib import ExitStack

from bench import payload
from bench.figures import Series
from bench.options import Options
from bench.placing import PLACINGS
from bench.rivals.field import flows, run_flows

__all__ = ["run"]


def run(options: Options) -> Series:
    """Messages a second, on one core and on two."""
    with ExitStack() as stack:
        contestants = flows(stack, payload.SMALL_BYTES, capacity=64)
        return run_flows(Series("rivals.one_way"), options, contestants, dict(PLACINGS), count=300_000)
