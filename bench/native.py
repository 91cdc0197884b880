"""`native`: what a message costs in graphs of native nodes alone, beside tasks joined by bare trio channels.

All of it is one thread that always has something to do, so what counts is its CPU time.
"""

from __future__ import annotations

import time

import trio

from bench import payload
from bench.figures import OURS, Series
from bench.nodes import Forward, Sink, Source
from bench.options import Options
from penstock.engine.pipeline import Pipeline
from penstock.executors.contract import RuntimeData

__all__ = ["channels_of", "run"]

_CAPACITY = 64


class _TimedSink(Sink):
    """Notes when its stream was through the first tenth, and when it ended."""

    def __init__(self, *, skip: int) -> None:
        super().__init__()
        self._skip = skip
        self.start_ns = 0

    def process(self, data: RuntimeData) -> None:
        super().process(data)
        if self.count == self._skip:
            self.start_ns = time.process_time_ns()

    def flush(self) -> None:
        _taken_ns.append(time.process_time_ns() - self.start_ns)


_taken_ns: list[int] = []


def run(options: Options) -> Series:
    """Microseconds a message and hop; a graph of n nodes stands between a source and a sink, so it has n + 1 hops."""
    series = Series("native")
    count = options.choose(quick=3000, full=20_000)
    for _ in range(options.choose(quick=3, full=7)):
        for nodes in (1, 3, 10):
            for name, measure in ((OURS, _graph), ("trio channels", _channels)):
                trio.run(measure, nodes, count)
                taken_us = _taken_ns.pop() / 1000 / (count - count // 10)
                series.add(f"{nodes} nodes, a message", name, "us", taken_us)
                series.add(f"{nodes} nodes, a hop", name, "us", taken_us / (nodes + 1))
    return series


async def _graph(nodes: int, count: int) -> None:
    names = ["source", *(f"node{number}" for number in range(nodes)), "sink"]
    pipeline = Pipeline("bench").add("source", Source, {"count": count})
    for name in names[1:-1]:
        pipeline.add(name, Forward)
    pipeline.add("sink", _TimedSink, {"skip": count // 10}).connect(*names, capacity=_CAPACITY)
    async with pipeline.open() as run:
        await run.wait()
    if any(edge.received != count for edge in run.report().edges):
        raise ValueError(f"{count} messages were sent, and the ledger is {run.report().edges}")


async def channels_of(nodes: int, count: int, sink: Sink) -> None:
    """The same by hand: tasks that trio channels join."""
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[RuntimeData](_CAPACITY)
        nursery.start_soon(_source, send, count)
        for _ in range(nodes):
            send, following = trio.open_memory_channel[RuntimeData](_CAPACITY)
            nursery.start_soon(_forward, receive, send)
            receive = following
        nursery.start_soon(_drain, receive, sink)
    if sink.count != count:
        raise ValueError(f"{sink.count} of {count} messages came through the channels")


async def _channels(nodes: int, count: int) -> None:
    await channels_of(nodes, count, _TimedSink(skip=count // 10))


async def _source(send: trio.MemorySendChannel[RuntimeData], count: int) -> None:
    payloads = [payload.make(number) for number in range(payload.CYCLE)]
    async with send:
        for number in range(count):
            await send.send(RuntimeData.tensor(payloads[number % payload.CYCLE], timestamp_ns=number))


async def _forward(receive: trio.MemoryReceiveChannel[RuntimeData], send: trio.MemorySendChannel[RuntimeData]) -> None:
    async with send:
        async for data in receive:
            await send.send(data)


async def _drain(receive: trio.MemoryReceiveChannel[RuntimeData], sink: Sink) -> None:
    async for data in receive:
        sink.process(data)
    sink.flush()
