"""`rivals.frames`: 8 MiB, each written anew, into shared memory where the rival lets us, and read whole."""

from __future__ import annotations

from contextlib import ExitStack

from bench import payload
from bench.figures import Series
from bench.options import Options
from bench.placing import PLACINGS
from bench.rivals.field import flows, run_flows

__all__ = ["run"]


def run(options: Options) -> Series:
    """Bytes of whole frames a second."""
    placing = list(PLACINGS)[-1]
    with ExitStack() as stack:
        contestants = flows(stack, payload.FRAME_BYTES, capacity=2, fresh=True)
        cases = {placing: PLACINGS[placing]}
        gigabytes = payload.FRAME_BYTES / 1e9
        return run_flows(
            Series("rivals.frames"), options, contestants, cases, count=2000, unit="GB/s", factor=gigabytes
        )
