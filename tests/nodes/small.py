"""Small nodes of every kind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from penstock.executors.contract import NodeContext, RuntimeData


def echo(data: RuntimeData) -> RuntimeData:
    return data


def double(data: RuntimeData, *, factor: float = 2.0) -> RuntimeData:
    return RuntimeData.tensor(data.as_tensor() * factor, session_id=data.session_id, timestamp_ns=data.timestamp_ns)


def upper(data: RuntimeData) -> RuntimeData:
    return RuntimeData.text(data.as_text().upper(), session_id=data.session_id, timestamp_ns=data.timestamp_ns)


def pid(data: RuntimeData) -> RuntimeData:
    return RuntimeData.json({"pid": os.getpid()})


def fail(data: RuntimeData) -> RuntimeData:
    raise ValueError(f"boom-{data.as_text()}")


def none(data: RuntimeData) -> None:
    return None


def crash(data: RuntimeData) -> None:
    os._exit(13)


def die(data: RuntimeData) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def segfault(data: RuntimeData) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def chatty(data: RuntimeData) -> RuntimeData:
    print("a print of a node", flush=True)
    return data


def nonsense(data: RuntimeData) -> Any:
    return 42


def twice(data: RuntimeData) -> Iterator[RuntimeData]:
    yield data
    yield data


async def later(data: RuntimeData) -> RuntimeData:
    import trio

    await trio.sleep(0)
    return data


async def several_later(data: RuntimeData) -> AsyncIterator[RuntimeData]:
    import trio

    for _ in range(3):
        await trio.sleep(0)
        yield data


class Counter:
    """Counts its inputs, and says how many at the end."""

    def __init__(self, start: int = 0) -> None:
        self.count = start

    def process(self, data: RuntimeData) -> RuntimeData:
        self.count += 1
        return RuntimeData.json(self.count)

    def flush(self) -> RuntimeData:
        return RuntimeData.json({"total": self.count})


class Context:
    """Answers with what it was told about itself."""

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx

    def process(self, data: RuntimeData) -> RuntimeData:
        ctx = self.ctx
        return RuntimeData.json(
            {
                "node_id": ctx.node_id,
                "node_type": ctx.node_type,
                "params": dict(ctx.params),
                "session_id": ctx.session_id,
                "metadata": dict(ctx.metadata),
            }
        )


class FailInit:
    def initialize(self, ctx: NodeContext) -> None:
        raise RuntimeError("no model here")

    def process(self, data: RuntimeData) -> RuntimeData:
        return data


class FailCleanup:
    def process(self, data: RuntimeData) -> RuntimeData:
        return data

    def cleanup(self) -> None:
        raise RuntimeError("the lid is stuck")


class Hold:
    """Answers when the file exists: a window that a test opens and closes."""

    def __init__(self, path: str) -> None:
        self.path = path

    def process(self, data: RuntimeData) -> RuntimeData:
        while not os.path.exists(self.path):
            time.sleep(0.005)
        return data


class HoldEither(Hold):
    """The same with two inputs."""

    inputs = {"left": "json", "right": "json"}

    def process(self, data: RuntimeData, port: str) -> RuntimeData:  # type: ignore[override]
        return super().process(data)


class HoldChosen(HoldEither):
    """And it says which it wants: both."""

    def wants(self, port: str) -> bool:
        return True


class Split:
    """Even numbers to one port, odd ones to the other."""

    inputs = {"in": "json"}
    outputs = {"even": "json", "odd": "json"}

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx

    def process(self, data: RuntimeData) -> None:
        self.ctx.emit("odd" if data.as_json() % 2 else "even", data)


class Merge:
    """Two inputs; says which one each datum came by."""

    inputs = {"left": "json", "right": "json"}

    def process(self, data: RuntimeData, port: str) -> RuntimeData:
        return RuntimeData.json([port, data.as_json()])


class Numbers:
    """A source of numbers, for ever or up to a count."""

    inputs: dict[str, str] = {}
    outputs = {"out": "json"}

    def __init__(self, count: int = 10) -> None:
        self.count = count

    def produce(self) -> Iterator[RuntimeData]:
        n = 0
        while self.count < 0 or n < self.count:
            yield RuntimeData.json(n, timestamp_ns=n)
            n += 1


class SlowNumbers(Numbers):
    def produce(self) -> Iterator[RuntimeData]:
        for data in super().produce():
            time.sleep(0.01)
            yield data


class Collect:
    """A sink that writes what it gets into a file, a line each."""

    outputs: dict[str, str] = {}

    def __init__(self, path: str) -> None:
        self.path = path

    def initialize(self, ctx: NodeContext) -> None:
        self.file = open(self.path, "w")

    def process(self, data: RuntimeData) -> None:
        self.file.write(bytes(data.payload).decode() + "\n")

    def cleanup(self) -> None:
        self.file.close()


def scale(data: RuntimeData, *, factor: float = 2.0) -> RuntimeData:
    return RuntimeData.json(data.as_json() * factor)
