"""Nodes that misbehave, and nodes that tell a test how far a run has come."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from penstock.executors.contract import NodeContext, RuntimeData

SIZES = (1, 7, 4096, 8191, 8192, 8193, 65536, 1 << 20, 20 << 20)
"""From a byte to 20 MiB, around the limit above which a payload leaves its ring."""


def touch(path: str) -> None:
    with open(path, "a"):
        pass


def payload(size: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Bytes that only this size has."""
    return np.random.default_rng(size).integers(0, 256, size, np.uint8)


class Told:
    """Writes the number of its process into a file of its own name, so that a test can aim at it."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def initialize(self, ctx: NodeContext) -> None:
        with open(os.path.join(self.folder, ctx.node_id), "w") as file:
            file.write(str(os.getpid()))


class Ticks(Told):
    """Numbers without end."""

    inputs: ClassVar[dict[str, str]] = {}
    outputs: ClassVar[dict[str, str]] = {"out": "json"}

    def produce(self) -> Iterator[RuntimeData]:
        n = 0
        while True:
            yield RuntimeData.json(n)
            n += 1


class Pass(Told):
    """Passes data on, and makes the file `reached` when the first one is there."""

    reached = False

    def process(self, data: RuntimeData) -> RuntimeData:
        if not self.reached:
            self.reached = True
            touch(os.path.join(self.folder, "reached"))
        return data


class Batch:
    """Keeps data until it has so many, then gives them all."""

    def __init__(self, size: int = 10) -> None:
        self.size = size
        self.kept: list[RuntimeData] = []

    def process(self, data: RuntimeData) -> list[RuntimeData]:
        self.kept.append(data)
        return self.flush() if len(self.kept) == self.size else []

    def flush(self) -> list[RuntimeData]:
        kept, self.kept = self.kept, []
        return kept


class Loop:
    """Passes on what comes from outside, several times, and lets what comes back pass."""

    inputs: ClassVar[dict[str, str]] = {"in": "json", "back": "json"}
    outputs: ClassVar[dict[str, str]] = {"out": "json", "done": "json"}

    def __init__(self, times: int = 8) -> None:
        self.times = times

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx

    def process(self, data: RuntimeData, port: str) -> None:
        if port == "back":
            self.ctx.emit("done", data)
        else:
            for _ in range(self.times):
                self.ctx.emit("out", data)


class Drain(Told):
    """A sink."""

    outputs: ClassVar[dict[str, str]] = {}

    def process(self, data: RuntimeData) -> None:
        pass


class Stuck(Told):
    """Never ends its first datum, and says that it has one; told to end, it does."""

    outputs: ClassVar[dict[str, str]] = {}

    def process(self, data: RuntimeData) -> None:
        touch(os.path.join(self.folder, "stuck"))
        while True:
            time.sleep(0.02)


class Stubborn(Stuck):
    """Does not heed SIGTERM, either."""

    def process(self, data: RuntimeData) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        super().process(data)


class FailConstruct:
    def __init__(self, *, model: str = "x.bin") -> None:
        raise ValueError(f"no weights in {model}")

    def process(self, data: RuntimeData) -> RuntimeData:
        return data


class SlowInit:
    """Says that it has begun to initialize, and does not come to an end."""

    def __init__(self, path: str) -> None:
        self.path = path

    def initialize(self, ctx: NodeContext) -> None:
        touch(self.path)
        while True:
            time.sleep(0.05)

    def process(self, data: RuntimeData) -> RuntimeData:
        return data


class ExitInit:
    def initialize(self, ctx: NodeContext) -> None:
        os._exit(7)

    def process(self, data: RuntimeData) -> RuntimeData:
        return data


class Frames:
    """A source of arrays of bytes, each filled with its number; for ever when the count is below 0."""

    inputs: ClassVar[dict[str, str]] = {}
    outputs: ClassVar[dict[str, str]] = {"out": "tensor"}

    def __init__(self, nbytes: int = 100_000, count: int = -1, pause_s: float = 0.0) -> None:
        self.nbytes = nbytes
        self.count = count
        self.pause_s = pause_s

    def produce(self) -> Iterator[RuntimeData]:
        n = 0
        while self.count < 0 or n < self.count:
            yield RuntimeData.tensor(np.full(self.nbytes, n % 251, np.uint8), timestamp_ns=n)
            time.sleep(self.pause_s)
            n += 1


class Hoard:
    """Keeps everything it gets, so that no slab can be used again."""

    outputs: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        self.kept: list[object] = []

    def process(self, data: RuntimeData) -> None:
        self.kept.append(data.as_tensor())


class Payloads:
    """A source of one array of each size."""

    inputs: ClassVar[dict[str, str]] = {}
    outputs: ClassVar[dict[str, str]] = {"out": "tensor"}

    def produce(self) -> Iterator[RuntimeData]:
        for size in SIZES:
            yield RuntimeData.tensor(payload(size), session_id="s", timestamp_ns=size, meta={"size": size})


class Empty:
    """A source of nothing."""

    inputs: ClassVar[dict[str, str]] = {}

    def produce(self) -> Iterator[RuntimeData]:
        yield from ()


class BrokenSource:
    """A source that fails behind its third datum."""

    inputs: ClassVar[dict[str, str]] = {}
    outputs: ClassVar[dict[str, str]] = {"out": "json"}

    def produce(self) -> Iterator[RuntimeData]:
        for n in range(3):
            yield RuntimeData.json(n)
        raise OSError("the microphone was unplugged")


class FailFlush:
    def process(self, data: RuntimeData) -> RuntimeData:
        return data

    def flush(self) -> RuntimeData:
        raise KeyError("nothing to flush")


class Child(Told):
    """Starts a process of its own, as `subprocess` users do, and passes data on."""

    def initialize(self, ctx: NodeContext) -> None:
        super().initialize(ctx)
        code = "import time; time.sleep(600)"
        self.child = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)

    def process(self, data: RuntimeData) -> RuntimeData:
        return data


class OnePid:
    """Passes data on with the number of its process."""

    def process(self, data: RuntimeData) -> RuntimeData:
        return RuntimeData.json([data.as_json(), os.getpid()])


def loud(data: RuntimeData) -> RuntimeData:
    """Prints as Python does, as C does, and past both."""
    print("a print of a node")
    ctypes.CDLL(None).puts(b"a puts of a node")
    ctypes.CDLL(None).fflush(None)
    os.write(1, b"a write of a node\n")
    return data


def wild_port(data: RuntimeData) -> list[object]:
    return [data, "no datum"]


async def later_than(data: RuntimeData, *, path: str) -> RuntimeData:
    """Answers when the file exists, without a hold on the loop."""
    import trio

    while not os.path.exists(path):
        await trio.sleep(0.01)
    return data


def late(data: RuntimeData) -> RuntimeData:
    """Prints by way of C, which keeps it back until the process ends."""
    ctypes.CDLL(None).puts(b"a late puts of a node")
    return data


class Idle:
    """Has a name that is nearly right."""

    inputs: ClassVar[dict[str, str]] = {}

    def generate(self) -> Iterator[RuntimeData]:
        yield RuntimeData.json(1)


class Lingers:
    """Leaves a thread behind that keeps its process from exiting."""

    def initialize(self, ctx: NodeContext) -> None:
        threading.Thread(target=time.sleep, args=(3600,)).start()

    def process(self, data: RuntimeData) -> RuntimeData:
        return data


def busy(data: RuntimeData) -> None:
    """Never lets the loop run again."""
    while True:
        time.sleep(0.001)


class EmitFan:
    """A source that emits by `ctx.emit`, for ever."""

    inputs: ClassVar[dict[str, str]] = {}

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx

    def produce(self) -> Iterator[None]:
        while True:
            self.ctx.emit("out", RuntimeData.json(1))
            yield None
