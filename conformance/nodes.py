"""The suite's nodes: small, synchronous, importable in any worker (numpy and the contract are all that they need).

Control data are JSON; each answer to one says which process gave it. Bridges to other languages implement the
table of docs/conformance.md instead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from penstock.executors.contract import DataType, Json, NodeContext, RuntimeData

__all__ = [
    "NODES",
    "Affine",
    "AsyncHold",
    "AsyncParams",
    "AsyncSlow",
    "Counter",
    "Crash",
    "Ctx",
    "Echo",
    "Fail",
    "FailCleanup",
    "FailInit",
    "Grow",
    "Hold",
    "Params",
    "Pid",
    "Slow",
]

_LONGEST_HOLD_S = 120.0


class _Answering:
    """Knows its context, and answers with JSON."""

    ctx: NodeContext

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx

    def answer(self, data: RuntimeData, **said: Json) -> RuntimeData:
        about: Mapping[str, Json] = {"pid": os.getpid(), "nonce": _nonce(data), **said}
        return RuntimeData.json(about, session_id=data.session_id, timestamp_ns=data.timestamp_ns)


def _nonce(data: RuntimeData) -> Any:
    if data.data_type is DataType.JSON:
        said = data.as_json()
        return said.get("nonce") if isinstance(said, dict) else None
    return data.as_text() if data.data_type is DataType.TEXT and data.nbytes < 1000 else None


class Echo:
    """Gives back what it gets."""

    def process(self, data: RuntimeData) -> RuntimeData:
        return data


class Affine:
    """y = 2x + 1 on arrays, in their dtype; text in upper case; JSON objects with `"affine": true` added."""

    def process(self, data: RuntimeData) -> RuntimeData:
        about: dict[str, Any] = {"session_id": data.session_id, "timestamp_ns": data.timestamp_ns, "meta": data.meta}
        if data.data_type is DataType.TEXT:
            return RuntimeData.text(data.as_text().upper(), **about)
        if data.data_type is DataType.JSON:
            return RuntimeData.json({**data.as_json(), "affine": True}, **about)
        if data.data_type is DataType.TENSOR:
            array = data.as_tensor()
            return RuntimeData.tensor((array * 2 + 1).astype(array.dtype), **about)
        audio = data.as_audio()
        samples = (audio.samples * 2 + 1).astype(audio.samples.dtype)
        return RuntimeData.audio(samples, sample_rate=audio.sample_rate, channels=audio.channels, **about)


class Pid(_Answering):
    """Says which process it is."""

    def process(self, data: RuntimeData) -> RuntimeData:
        return self.answer(data, ppid=os.getppid(), exe=sys.executable)


class Ctx(_Answering):
    """Says what its `initialize` was told."""

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx
        self.told: dict[str, Json] = {
            "node_id": ctx.node_id,
            "node_type": ctx.node_type,
            "params": dict(ctx.params),
            "session_id": ctx.session_id,
            "metadata": dict(ctx.metadata),
        }

    def process(self, data: RuntimeData) -> RuntimeData:
        return self.answer(data, **self.told)


class Params(_Answering):
    """Says its parameters as it sees them during the call: at its end, `{"ms": n}` after its begin."""

    def process(self, data: RuntimeData) -> RuntimeData:
        time.sleep(_milliseconds(data))
        return self.answer(data, params=dict(self.ctx.params))


class AsyncParams(_Answering):
    """The same for bridges that run nodes in the loop of their caller."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        await _sleep(_milliseconds(data))
        return self.answer(data, params=dict(self.ctx.params))


class Counter(_Answering):
    """Counts its calls: its state."""

    count = 0

    def process(self, data: RuntimeData) -> RuntimeData:
        self.count += 1
        return self.answer(data, count=self.count)


class Fail(_Answering):
    """Raises ValueError("boom-<nonce>") unless its parameter `fine` is true."""

    def process(self, data: RuntimeData) -> RuntimeData:
        if self.ctx.params.get("fine"):
            return self.answer(data)
        raise ValueError(f"boom-{_nonce(data)}")


class FailInit(_Answering):
    """`initialize` raises ValueError("init-boom-<nonce>") while the file `while` exists, or as `fail` says."""

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx
        if ctx.params.get("fail", os.path.exists(str(ctx.params.get("while", "/")))):
            raise ValueError(f"init-boom-{ctx.params.get('nonce')}")

    def process(self, data: RuntimeData) -> RuntimeData:
        return self.answer(data)


class FailCleanup(_Answering):
    """`cleanup` adds a line to the file of its parameter `cleaned`, and raises unless its parameter `fine` is true."""

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx
        self.told = dict(ctx.params)

    def process(self, data: RuntimeData) -> RuntimeData:
        return self.answer(data)

    def cleanup(self) -> None:
        if "cleaned" in self.told:
            with open(str(self.told["cleaned"]), "a", encoding="utf-8") as file:
                file.write("cleaned\n")
        if not self.told.get("fine"):
            raise ValueError("cleanup-boom")


class Hold(_Answering):
    """Blocks until the file of its parameter `release` exists; says its pid in the file of `entered`.

    With `deaf` it ignores SIGTERM from then on.
    """

    def begin(self) -> Callable[[], bool]:
        """Say that it has begun; what tells whether it is to end."""
        if self.ctx.params.get("deaf"):
            with contextlib.suppress(ValueError):  # not in the main thread: then nobody is deaf
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with open(str(self.ctx.params["entered"]), "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        release, deadline = str(self.ctx.params["release"]), time.monotonic() + _LONGEST_HOLD_S
        return lambda: os.path.exists(release) or time.monotonic() > deadline

    def process(self, data: RuntimeData) -> RuntimeData:
        released = self.begin()
        while not released():
            time.sleep(0.002)
        return self.answer(data)


class AsyncHold(Hold):
    """The same for bridges that run nodes in the loop of their caller."""

    async def process(self, data: RuntimeData) -> RuntimeData:  # type: ignore[override]
        released = self.begin()
        while not released():
            await _sleep(0.002)
        return self.answer(data)


class Crash(_Answering):
    """Ends its process with exit code 13, unless its parameter `fine` is true."""

    def process(self, data: RuntimeData) -> RuntimeData:
        if self.ctx.params.get("fine"):
            return self.answer(data)
        os._exit(13)


class Grow:
    """Answers `{"bytes": n}` with a tensor of n bytes that count up, whatever the size of its input."""

    def process(self, data: RuntimeData) -> RuntimeData:
        size = int(data.as_json()["bytes"])
        return RuntimeData.tensor(np.arange(size, dtype=np.uint32).astype(np.uint8), session_id=data.session_id)


class Slow(_Answering):
    """Takes `{"ms": n}`."""

    def process(self, data: RuntimeData) -> RuntimeData:
        time.sleep(_milliseconds(data))
        return self.answer(data)


class AsyncSlow(_Answering):
    """The same for bridges that run nodes in the loop of their caller."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        await _sleep(_milliseconds(data))
        return self.answer(data)


def _milliseconds(data: RuntimeData) -> float:
    """What `{"ms": n}` says, in seconds."""
    return float(data.as_json().get("ms", 0)) / 1000


async def _sleep(seconds: float) -> None:
    """Sleep in whatever loop this is; a worker without a loop pays for none."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and _has_loop(asyncio):
        await asyncio.sleep(seconds)
    else:
        await sys.modules["trio"].sleep(seconds)


def _has_loop(asyncio: Any) -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


NODES: dict[str, str] = {
    name: f"penstock.conformance.nodes:{factory.__name__}"
    for name, factory in {
        "echo": Echo,
        "affine": Affine,
        "pid": Pid,
        "ctx": Ctx,
        "params": Params,
        "counter": Counter,
        "fail": Fail,
        "fail_init": FailInit,
        "fail_cleanup": FailCleanup,
        "hold": Hold,
        "crash": Crash,
        "grow": Grow,
        "slow": Slow,
    }.items()
}
"""Short name of each node, and where it is imported from."""

ASYNC_NODES: dict[str, str] = {
    **NODES,
    "hold": "penstock.conformance.nodes:AsyncHold",
    "params": "penstock.conformance.nodes:AsyncParams",
    "slow": "penstock.conformance.nodes:AsyncSlow",
}
"""The same, for bridges that run nodes in the loop of their caller."""
