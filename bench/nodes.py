"""The nodes of the benchmarks, as workers import them: `bench.nodes:Name`."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import ClassVar

import numpy as np

from bench import payload
from bench.figures import percentile
from penstock.executors.contract import Node, NodeContext, RuntimeData

__all__ = [
    "BurstSource",
    "Busy",
    "Forward",
    "FrameSource",
    "LatencySink",
    "MergingSink",
    "Metronome",
    "Quiet",
    "Silence",
    "Sink",
    "Source",
    "double",
]


def double(data: RuntimeData) -> RuntimeData:
    """x * 2."""
    return RuntimeData.tensor(data.as_tensor() * 2)


class Source(Node):
    """Message after message as fast as they are taken; the timestamp is the number of the message."""

    inputs: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *, nbytes: int = payload.SMALL_BYTES, count: int | None = None, session_id: str = "") -> None:
        self._payloads = [payload.make(number, nbytes) for number in range(payload.CYCLE)]
        self._count = count
        self._session_id = session_id

    def produce(self) -> Iterator[RuntimeData]:
        number, session_id = 0, self._session_id
        while number != self._count:
            array = self._payloads[number % payload.CYCLE]
            yield RuntimeData.tensor(array, session_id=session_id, timestamp_ns=number)
            number += 1


class FrameSource(Node):
    """Like `Source`, and writes each frame anew, as a camera would: into shared memory, in place."""

    inputs: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *, nbytes: int) -> None:
        self._elements = nbytes // 4

    def initialize(self, ctx: NodeContext) -> None:
        self._claim = ctx.claim

    def produce(self) -> Iterator[RuntimeData]:
        number = 0
        while True:
            frame = self._claim(self._elements, np.float32)
            frame.fill(payload.value_of(number))
            yield RuntimeData.tensor(frame, timestamp_ns=number)
            number += 1


class BurstSource(Node):
    """Like `Source`, in bursts with a pause after each; says at the end how long publishing a message took."""

    inputs: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *, nbytes: int, burst: int, pause_s: float) -> None:
        self._payloads = [payload.make(number, nbytes) for number in range(payload.CYCLE)]
        self._burst = burst
        self._pause_s = pause_s
        self._taken_ns: list[int] = []

    def produce(self) -> Iterator[RuntimeData]:
        number = 0
        while True:
            start_ns = time.perf_counter_ns()
            for _ in range(self._burst):
                yield RuntimeData.tensor(self._payloads[number % payload.CYCLE], timestamp_ns=number)
                number += 1
            self._taken_ns.append((time.perf_counter_ns() - start_ns) // self._burst)
            time.sleep(self._pause_s)

    def flush(self) -> None:
        print(json.dumps({"send_ns": percentile(self._taken_ns, 50)}))


class Metronome(Node):
    """Messages at a steady rate; the timestamp says when each was made, on the clock that all processes share."""

    inputs: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *, rate_hz: float) -> None:
        self._period_s = 1 / rate_hz
        self._payload = payload.make(0)

    def produce(self) -> Iterator[RuntimeData]:
        while True:
            time.sleep(self._period_s)
            yield RuntimeData.tensor(self._payload, timestamp_ns=time.monotonic_ns())


class Forward(Node):
    """Passes on what it gets."""

    def process(self, data: RuntimeData) -> RuntimeData:
        return data


class Busy(Node):
    """Keeps its processor busy for some time before it passes a message on."""

    stateless = True

    def __init__(self, *, us: int) -> None:
        self._ns = us * 1000

    def process(self, data: RuntimeData) -> RuntimeData:
        end_ns = time.thread_time_ns() + self._ns
        while time.thread_time_ns() < end_ns:
            pass
        return data


class Sink(Node):
    """Reads every message whole, and sees that none is missing; says at the end how many there were."""

    outputs: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        self.count = 0

    def process(self, data: RuntimeData) -> None:
        if data.timestamp_ns != self.count:
            raise ValueError(f"message {data.timestamp_ns} came as the {self.count}th")
        payload.check(data.as_tensor(), self.count)
        self.count += 1

    def flush(self) -> None:
        print(json.dumps({"count": self.count}))


class MergingSink(Node):
    """Like `Sink`, for several sources, which it knows by the session of their messages."""

    outputs: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        self._sinks: dict[str, Sink] = {}

    def process(self, data: RuntimeData) -> None:
        sink = self._sinks.get(data.session_id)
        if sink is None:
            sink = self._sinks[data.session_id] = Sink()
        sink.process(data)

    def flush(self) -> None:
        print(json.dumps({"counts": [sink.count for sink in self._sinks.values()]}))


class Silence(Node):
    """A source that never has anything."""

    inputs: ClassVar[Mapping[str, str]] = {}

    async def produce(self) -> AsyncIterator[RuntimeData]:
        import trio

        await trio.Event().wait()
        yield RuntimeData.text("")


class Quiet(Node):
    """A sink of such a source."""

    outputs: ClassVar[Mapping[str, str]] = {}

    def process(self, data: RuntimeData) -> None:
        raise ValueError(f"silence was broken: {data}")


class LatencySink(Node):
    """How long messages were on their way; `skip` leaves out those of the start."""

    outputs: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *, skip: int) -> None:
        self._skip = skip
        self._times_ns: list[int] = []

    def process(self, data: RuntimeData) -> None:
        self._times_ns.append(time.monotonic_ns() - data.timestamp_ns)
        payload.check(data.as_tensor(), 0)

    def flush(self) -> None:
        times_ns = self._times_ns[self._skip :]
        said = {"count": len(self._times_ns)}
        if times_ns:
            said |= {"p50_ns": percentile(times_ns, 50), "p99_ns": percentile(times_ns, 99)}
        print(json.dumps(said))
