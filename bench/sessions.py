"""`sessions`: 1, 20 and 200 runs of a small native graph side by side in one program, beside as many bare trio tasks.

All of it is one thread that always has something to do, so what counts is its CPU time.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import trio

from bench.figures import OURS, Series
from bench.native import channels_of
from bench.nodes import Forward, Quiet, Silence, Sink, Source
from bench.options import Options
from penstock.engine.pipeline import Pipeline

__all__ = ["run"]

_SESSIONS = (1, 20, 200)


def run(options: Options) -> Series:
    """Microseconds a message, all sessions together; and milliseconds to start and to end one."""
    series = Series("sessions")
    total = options.choose(quick=6000, full=40_000)
    for _ in range(options.choose(quick=3, full=7)):
        for sessions in _SESSIONS:
            case = f"{sessions} sessions, a message"
            count = max(total // sessions, 100)  # so many that to start a session does not count
            for name, one in ((OURS, _session), ("trio channels", _channels)):
                start_ns = time.process_time_ns()
                trio.run(_together, one, sessions, count)
                series.add(case, name, "us", (time.process_time_ns() - start_ns) / 1000 / (count * sessions))
        series.add("to start and end one", OURS, "ms", trio.run(_life_ms, 50))
    return series


class _Sink(Sink):
    """Says nothing at its end."""

    def flush(self) -> None:
        pass


async def _together(one: Callable[[int], Awaitable[None]], sessions: int, count: int) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(sessions):
            nursery.start_soon(one, count)


async def _session(count: int) -> None:
    pipeline = Pipeline("bench").add("source", Source, {"count": count}).add("node", Forward).add("sink", _Sink)
    async with pipeline.connect("source -> node -> sink").open() as run:
        await run.wait()
    if any(edge.received != count for edge in run.report().edges):
        raise ValueError(f"{count} messages were sent, and the ledger is {run.report().edges}")


async def _channels(count: int) -> None:
    await channels_of(1, count, _Sink())


async def _life_ms(count: int) -> float:
    """Of a graph in which nothing happens: one after the other, as users come and go."""
    start_ns = time.process_time_ns()
    for _ in range(count):
        pipeline = Pipeline("bench").add("source", Silence).add("node", Forward).add("sink", Quiet)
        async with pipeline.connect("source -> node -> sink").open():
            pass
    return (time.process_time_ns() - start_ns) / 1e6 / count
