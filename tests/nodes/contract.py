"""Nodes for the tests of the executors; each does one thing that a bridge has to cope with."""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.executors.contract import NodeContext, RuntimeData

if TYPE_CHECKING:
    from decimal import Decimal


def affine(data: RuntimeData) -> RuntimeData:
    """y = 2x + 1, in the dtype of x."""
    array = data.as_tensor()
    return RuntimeData.tensor((array * 2 + 1).astype(array.dtype), session_id=data.session_id)


def modules(data: RuntimeData) -> RuntimeData:
    return RuntimeData.json(sorted(sys.modules))


def identity(data: RuntimeData) -> RuntimeData:
    return RuntimeData.json({"pid": os.getpid(), "ppid": os.getppid(), "pgrp": os.getpgrp()})


def bloat(data: RuntimeData) -> RuntimeData:
    """As many bytes as the text says; the bytes count up."""
    return RuntimeData.tensor(np.arange(int(data.as_text()), dtype=np.uint32).astype(np.uint8))


def nested(data: RuntimeData) -> Any:
    return [[data]]


def an_array(data: RuntimeData) -> Any:
    return np.zeros(3)


def listing(data: RuntimeData) -> list[RuntimeData | None]:
    return [data, None, data]


def fail_late(data: RuntimeData) -> Iterator[RuntimeData]:
    yield data
    raise ValueError("after one")


def quit_python(data: RuntimeData) -> None:
    sys.exit("enough")


def print_all(data: RuntimeData) -> RuntimeData:
    print("first")
    print("second", file=sys.stderr)
    sys.stdout.write("no newline")
    return data


def log_it(data: RuntimeData) -> RuntimeData:
    logging.getLogger("some.node").warning("heard %s", data.as_text())
    return data


def last_words(data: RuntimeData) -> None:
    for number in range(90):
        print(f"word {number}", file=sys.stderr)
    os._exit(7)


def breathless(data: RuntimeData) -> RuntimeData:
    """Told to limit itself, it may write no more than 1 MiB into any file, shared memory included; until told free."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if data.as_text() in {"limit", "free"}:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20 if data.as_text() == "limit" else hard, hard))
    return RuntimeData.tensor(np.zeros(4 << 20, np.uint8)) if data.as_text() == "large" else data


def stuck_in_c(data: RuntimeData) -> None:
    """Minutes in one C call that holds the GIL."""
    Path(data.as_text()).touch()
    sum(range(1 << 40))


def forker(data: RuntimeData) -> RuntimeData:
    """A child that only a signal ends."""
    child = os.fork()
    if child == 0:
        while True:
            time.sleep(60)
    return RuntimeData.json(child)


def escapee(data: RuntimeData) -> RuntimeData:
    """A child that left the group, and holds the pipes of the worker open."""
    return RuntimeData.json(subprocess.Popen(["sleep", "600"], start_new_session=True).pid)


async def sleeper(data: RuntimeData) -> RuntimeData:
    """Waits for ever, unless it is cancelled."""
    import trio

    if data.as_text() == "wait":
        await trio.sleep_forever()
    return data


async def nested_later(data: RuntimeData) -> AsyncIterator[Any]:
    yield [data, data]
    yield None


class NoProcess:
    """Lacks what every node has."""


class AsyncInit:
    """Takes a turn of the loop to initialize; counts its instances and what became of them."""

    log: list[str] = []

    async def initialize(self, ctx: NodeContext) -> None:
        import trio

        self.log.append("initialize")
        self.count = 0
        await trio.sleep(0)
        await trio.sleep(0)

    def process(self, data: RuntimeData) -> RuntimeData:
        self.count += 1
        return RuntimeData.json(self.count)

    def cleanup(self) -> None:
        self.log.append("cleanup")


class EmitThenFail:
    """The first call emits and fails, the others answer with their number."""

    def __init__(self) -> None:
        self.count = 0

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx

    def process(self, data: RuntimeData) -> RuntimeData:
        self.count += 1
        if self.count == 1:
            self.ctx.emit("out", RuntimeData.json("stale"))
            raise ValueError("not yet")
        return RuntimeData.json(self.count)


class WrongPort:
    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx

    def process(self, data: RuntimeData) -> None:
        self.ctx.emit("nowhere", data)


class Batch:
    """Holds two inputs back and gives them together; at the end the rest, and what it counted."""

    inputs = {"in": "any"}
    outputs = {"out": "any", "count": "json"}

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx
        self.held: list[RuntimeData] = []
        self.count = 0

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        self.count += 1
        self.held.append(data)
        if len(self.held) == 2:
            yield from self.held
            self.held.clear()

    def flush(self) -> list[RuntimeData]:
        self.ctx.emit("count", RuntimeData.json(self.count))
        return self.held


class Reasons:
    """Parameters of every kind; answers with their types."""

    def __init__(self, path: Path, maybe: Path | None = None, plain: str = "", number: float = 0.0) -> None:
        self.said = [type(value).__name__ for value in (path, maybe, plain, number)]

    def process(self, data: RuntimeData) -> RuntimeData:
        return RuntimeData.json(self.said)


class Unresolvable:
    """Its annotation exists for type checkers alone."""

    def __init__(self, amount: Decimal | None = None, size: int = 0) -> None:
        self.size = size

    def process(self, data: RuntimeData) -> RuntimeData:
        return RuntimeData.json(self.size)


class Life:
    """Appends to a file what is done with it."""

    def __init__(self, path: str, fail: str = "") -> None:
        self.path, self.fail = path, fail
        self.note("made")

    def note(self, what: str) -> None:
        with open(self.path, "a") as file:
            file.write(f"{what}\n")

    def initialize(self, ctx: NodeContext) -> None:
        self.note("initialize")

    def process(self, data: RuntimeData) -> RuntimeData:
        self.note("process")
        if self.fail == "process":
            raise ValueError("as told")
        return data

    def flush(self) -> None:
        self.note("flush")

    def cleanup(self) -> None:
        self.note("cleanup")


class SlowInit:
    """Is never ready."""

    def initialize(self, ctx: NodeContext) -> None:
        while True:
            time.sleep(60)

    def process(self, data: RuntimeData) -> RuntimeData:
        return data


class Gate:
    """Answers when the file that the text names exists."""

    def process(self, data: RuntimeData) -> RuntimeData:
        while not os.path.exists(data.as_text()):
            time.sleep(0.002)
        return data


async def host(node_type: str, text: str) -> None:
    """A program with one worker, for a test to kill: prints what it has started, then waits for ever."""
    import trio

    from penstock.executors import MultiprocessExecutorBridge
    from penstock.executors.multiprocess import WorkerOptions

    async with MultiprocessExecutorBridge(options=WorkerOptions(on_output=lambda *_: None)) as bridge:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.initialize_node, "n", node_type, {})
            if text:
                while not bridge.worker_pids("n"):
                    await trio.sleep(0.002)
                nursery.start_soon(bridge.execute_node, "n", node_type, RuntimeData.text(text), {})
            print("up", flush=True)
            await trio.sleep_forever()
