"""Nodes of every kind that write down what passes them, so that two runs can be compared edge by edge.

Each datum carries in its meta the `trail` of ports that it came by, and the `serial` that it has on the last of them. A
trail says more than an edge does: behind a merge the streams can still be told apart, and each has an order of its own.
State is kept by trail, as otherwise what a node gives would depend on the order in which its inputs came.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from random import Random
from typing import Any, ClassVar

import numpy as np

from penstock.executors.contract import DataType, NodeContext, RuntimeData

DTYPES = ("?", "u1", "i1", "<u2", "<i2", ">i2", "<u4", "<i4", ">i4", "<u8", "<i8", "<f2", "<f4", ">f4", "<f8", ">f8")
DTYPES += ("<c8", "<c16", ">u8", "<M8[ms]", "S3", "<U2")
SHAPES = (
    (),
    (0,),
    (3, 0, 2),
    (1,),
    (7,),
    (3, 4),
    (2, 3, 4),
    (1, 2, 1, 3),
    (2, 1, 2, 1, 2),
    (1, 2, 1, 2, 1, 2),
    (1500,),
)
SOUNDS = ("u1", "i2", "i4", "f4", "f8")
TEXTS = ("", "a", "two words", "grüße 水 🚰", "\ud800 half", "\0", "x" * 9000, "é" * 40_000)
VALUES = (None, True, 0, -1.5e-300, 2**70, "水", [], {}, {"b": [1, {"a": None}], "a": ""}, "\udfff", list(range(3000)))
METAS = ({}, {}, {}, {"n": 1}, {"nested": {"list": [1, None, "ü"]}}, {"long": "y" * 9000})
SESSIONS = ("", "", "s", "a session with a name that is longer")


def digest(data: RuntimeData) -> list[Any]:
    """All that makes a datum, but for its serial."""
    meta = {name: value for name, value in data.meta.items() if name != "serial"}
    return [
        data.data_type.value,
        zlib.crc32(data.payload),
        data.nbytes,
        data.session_id,
        data.timestamp_ns,
        None if data.dtype is None else data.dtype.str,
        list(data.shape),
        data.sample_rate,
        data.channels,
        json.dumps(meta),
    ]


def spice(data: RuntimeData) -> int:
    """A number that depends on the datum alone."""
    return zlib.crc32(data.payload[:1000]) // 7 + data.timestamp_ns


def make(random: Random, number: int, *, large: bool) -> RuntimeData:
    """A datum of any type; the same one for the same state of `random`."""
    given: dict[str, Any] = {
        "session_id": random.choice(SESSIONS),
        "timestamp_ns": number,
        "meta": dict(random.choice(METAS)),
    }
    numbers = np.random.default_rng(random.getrandbits(32))
    kind = random.choice("tensor tensor audio text json".split())
    if kind == "text":
        return RuntimeData.text(random.choice(TEXTS) + str(number), **given)
    if kind == "json":
        return RuntimeData.json([random.choice(VALUES), number], **given)
    if kind == "audio":
        channels, dtype = random.choice((1, 2, 6)), np.dtype(random.choice(SOUNDS))
        samples = numbers.integers(0, 256, channels * random.choice((0, 1, 160, 4096)) * dtype.itemsize, np.uint8)
        return RuntimeData.audio(
            samples.view(dtype), sample_rate=random.choice((8000, 44100)), channels=channels, **given
        )
    if large:
        size = random.choice((70_000, 70_000, 300_000, (1 << 20) + 1))
        return RuntimeData.tensor(numbers.integers(0, 256, size, np.uint8), **given)
    return RuntimeData.tensor(_array(numbers, np.dtype(random.choice(DTYPES)), random.choice(SHAPES)), **given)


def _array(numbers: np.random.Generator, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    whole = numbers.integers(0, 2 if dtype.kind == "b" else 100, shape)
    return np.asarray(whole).astype("U2").astype(dtype) if dtype.kind in "SU" else np.asarray(whole).astype(dtype)


def changed(data: RuntimeData) -> RuntimeData:
    """Another datum of the same type."""
    kept = {"session_id": data.session_id, "timestamp_ns": data.timestamp_ns, "meta": data.meta}
    if data.data_type is DataType.TENSOR:
        return RuntimeData.tensor(np.flip(data.as_tensor()), **kept)
    if data.data_type is DataType.AUDIO:
        audio = data.as_audio()
        return RuntimeData.audio(audio.frames[::-1], sample_rate=audio.sample_rate, **kept)
    if data.data_type is DataType.TEXT:
        return RuntimeData.text(data.as_text()[::-1], **kept)
    return RuntimeData.json({"was": data.as_json()}, **kept)


def trail_of(data: RuntimeData) -> tuple[str, ...]:
    return tuple(data.meta.get("trail", ()))


class Traced:
    """What they have in common: `took` writes a datum down that came, `give` one that goes."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.serials: dict[str, int] = defaultdict(int)

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx
        self.file = open(os.path.join(self.folder, ctx.node_id), "w")

    def cleanup(self) -> None:
        self.file.close()

    def took(self, data: RuntimeData, port: str = "in") -> RuntimeData:
        """Write a datum down; what comes back has the port on its trail, where the node has several."""
        self.note("in", port, data)
        if port == "in":
            return data
        return replace(data, meta={**data.meta, "trail": [*trail_of(data), f"{self.ctx.node_id}.{port}"]})

    def give(self, data: RuntimeData, port: str = "out") -> RuntimeData:
        name = f"{self.ctx.node_id}.{port}"
        stamp = {"trail": [*trail_of(data), name], "serial": self.serials[name]}
        self.serials[name] += 1
        stamped = replace(data, meta={**data.meta, **stamp})
        self.note("out", port, stamped)
        return stamped

    def note(self, way: str, port: str, data: RuntimeData) -> None:
        line = [way, port, trail_of(data), data.meta.get("serial"), digest(data)]
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()  # what there is when a run fails is compared, too


# Sources


class Source(Traced):
    """Data of all types; `large` is the share, in percent, of tensors beyond what a ring holds."""

    inputs: ClassVar[dict[str, str]] = {}

    def __init__(self, folder: str, seed: int, count: int = 24, large: int = 10) -> None:
        super().__init__(folder)
        self.seed, self.count, self.large = seed, count, large

    def data(self) -> Iterator[RuntimeData]:
        random = Random(self.seed)
        for number in range(self.count):
            yield make(random, number, large=random.randrange(100) < self.large)

    def produce(self) -> Any:
        for data in self.data():
            yield self.give(data)


class AsyncSource(Source):
    async def produce(self) -> AsyncIterator[RuntimeData]:
        import trio

        for data in self.data():
            await trio.sleep(0)
            yield self.give(data)


class PortsSource(Source):
    """Emits on two ports, and yields data or nothing."""

    outputs: ClassVar[dict[str, str]] = {"out": "any", "side": "any"}

    def produce(self) -> Iterator[Any]:
        for data in self.data():
            if spice(data) % 3:
                self.ctx.emit("side", self.give(data, "side"))
            yield self.give(data) if spice(data) % 2 else None


class Claims(Source):
    """Frames that are made in claimed memory, some of them with a slice alive, some of them sent twice."""

    outputs: ClassVar[dict[str, str]] = {"out": "tensor"}

    def produce(self) -> Iterator[Any]:
        random = Random(self.seed)
        for number in range(self.count):
            shape = (random.choice((5, 500, 5000, 5000, 200_000)), 3)
            array = self.ctx.claim(shape, random.choice(("u1", "<f4", ">i2")))
            older = array[1:] if not number % 4 else None
            array[:] = np.random.default_rng(number).integers(0, 100, array.shape, np.uint8)
            data = RuntimeData.tensor(array, timestamp_ns=number)
            yield self.give(data)
            if number % 5 == 1:
                yield self.give(data)
            if older is not None:
                older[:] = 0
            del array, older, data


# What stands between


class Change(Traced):
    def process(self, data: RuntimeData) -> RuntimeData:
        self.took(data)
        return self.give(changed(data))


class Keep(Traced):
    """Passes on what it gets, in place; and keeps the last views, which stay as they were."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.kept: list[tuple[list[Any], RuntimeData]] = []

    def process(self, data: RuntimeData) -> RuntimeData:
        self.took(data)
        self.kept = [*self.kept[-19:], (digest(data), data)]
        return self.give(data)

    def flush(self) -> None:
        assert all(digest(data) == was for was, data in self.kept)
        self.kept.clear()


class Some(Traced):
    """None, one, a list or a tuple."""

    def process(self, data: RuntimeData) -> Any:
        self.took(data)
        how = spice(data) % 4
        if how < 2:
            return self.give(data) if how else None
        return [list, tuple][how - 2]([self.give(data), self.give(changed(data))])


class Several(Traced):
    """A generator of 0 to 3."""

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        self.took(data)
        for _ in range(spice(data) % 4):
            yield self.give(data)


class Later(Traced):
    async def process(self, data: RuntimeData) -> RuntimeData:
        import trio

        self.took(data)
        for _ in range(spice(data) % 3):
            await trio.sleep(0)
        return self.give(changed(data))

    async def flush(self) -> RuntimeData:
        return self.give(RuntimeData.text("the end", timestamp_ns=0))


class SeveralLater(Traced):
    async def process(self, data: RuntimeData) -> AsyncIterator[Any]:
        import trio

        self.took(data)
        for n in range(spice(data) % 3):
            await trio.sleep(0)
            yield [self.give(data)] * n if n else self.give(data)


class Ports(Traced):
    """By what it is to one port, to two of them, or to all three; returns and emits in turn."""

    outputs: ClassVar[dict[str, str]] = {"out": "any", "left": "any", "right": "any"}

    def process(self, data: RuntimeData) -> RuntimeData | None:
        self.took(data)
        way = spice(data) % 8
        for bit, port in enumerate(("left", "right")):
            if way >> bit & 1:
                self.ctx.emit(port, self.give(data, port))
        return self.give(changed(data)) if way >> 2 else None

    def flush(self) -> Iterator[RuntimeData]:
        self.ctx.emit("right", self.give(RuntimeData.json("at the end", timestamp_ns=0), "right"))
        yield self.give(RuntimeData.json("first", timestamp_ns=0))
        yield self.give(RuntimeData.json("last", timestamp_ns=0))


class Windows(Traced):
    """Three of a stream to one, and what is left at the end."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.held: dict[tuple[str, ...], list[RuntimeData]] = defaultdict(list)

    def process(self, data: RuntimeData) -> RuntimeData | None:
        self.took(data)
        held = self.held[trail_of(data)]
        held.append(data)
        return self.window(held) if len(held) == 3 else None

    def window(self, held: list[RuntimeData]) -> RuntimeData:
        data = RuntimeData.json([digest(datum)[1] for datum in held], timestamp_ns=held[0].timestamp_ns)
        data.meta = {"trail": held[0].meta["trail"]}
        held.clear()
        return self.give(data)

    def flush(self) -> list[RuntimeData]:
        return [self.window(held) for _, held in sorted(self.held.items()) if held]


class Join(Traced):
    """Two inputs, and both go the same way; one of them doubled."""

    inputs: ClassVar[dict[str, str]] = {"left": "any", "right": "any"}

    def process(self, data: RuntimeData, port: str) -> list[RuntimeData]:
        data = self.took(data, port)
        return [self.give(data)] if port == "left" else [self.give(data), self.give(changed(data))]


class InPlace(Traced):
    """Answers tensors in claimed memory, and passes on everything else."""

    def process(self, data: RuntimeData) -> RuntimeData:
        self.took(data)
        if data.data_type is not DataType.TENSOR or data.dtype.kind not in "uif":
            return self.give(data)
        out = self.ctx.claim(data.shape, data.dtype)
        np.add(data.as_tensor(), 1, out=out, casting="unsafe")
        kept = {"session_id": data.session_id, "timestamp_ns": data.timestamp_ns, "meta": data.meta}
        return self.give(RuntimeData.tensor(out, **kept))


class Sink(Traced):
    outputs: ClassVar[dict[str, str]] = {}

    def process(self, data: RuntimeData) -> None:
        self.took(data)


class SlowSink(Sink):
    """Reads everything several times, so that whoever sends to it has to wait or to drop."""

    def process(self, data: RuntimeData) -> None:
        self.took(data)
        for _ in range(10):
            digest(data)


class Words:
    """The twin of words.wasm; neither writes anything down."""

    count = 0

    def process(self, data: RuntimeData) -> list[RuntimeData]:
        words = data.as_text().split()
        self.count += len(words)
        kept = {"session_id": data.session_id, "timestamp_ns": data.timestamp_ns}
        return [RuntimeData.text(word, **kept, meta={} if n else {"word": True}) for n, word in enumerate(words)]

    def flush(self) -> RuntimeData:
        return RuntimeData.json(self.count)


class Lines(Traced):
    """A source of texts."""

    inputs: ClassVar[dict[str, str]] = {}
    outputs: ClassVar[dict[str, str]] = {"out": "text"}

    def produce(self) -> Iterator[RuntimeData]:
        for n in range(30):
            yield self.give(RuntimeData.text(" ".join(f"word{m}" for m in range(n % 5)), timestamp_ns=n + 1))


class Untimed(Sink):
    """What comes at the end has the time of its making, which is another at each run; meta, too, is not compared."""

    def process(self, data: RuntimeData) -> None:
        self.took(replace(data, timestamp_ns=0) if data.data_type is DataType.JSON else data)


class Sound(Traced):
    """A source of audio as `clean` takes it."""

    inputs: ClassVar[dict[str, str]] = {}
    outputs: ClassVar[dict[str, str]] = {"out": "audio"}

    def produce(self) -> Iterator[RuntimeData]:
        numbers = np.random.default_rng(5)
        for n in range(25):
            samples = numbers.uniform(-1, 1, (160, 2)).astype("f4")
            yield self.give(RuntimeData.audio(samples, sample_rate=16000, timestamp_ns=n, session_id="s"))


class Rounded(Sink):
    """A guest's last bits are its own: samples are compared in thousandths."""

    def process(self, data: RuntimeData) -> None:
        samples = data.as_audio().samples
        said = RuntimeData.json(np.round(samples.astype("f8"), 3).tolist(), timestamp_ns=data.timestamp_ns)
        said.meta = data.meta
        self.took(said)


# Nodes that fail


class Fails(Traced):
    """Fails at the `at`-th datum, in one of many ways."""

    def __init__(self, folder: str, how: str, at: int = 5) -> None:
        super().__init__(folder)
        if how == "construct":
            raise LookupError("there is nothing to construct")
        self.how, self.at, self.number = how, at, 0

    def initialize(self, ctx: NodeContext) -> None:
        if self.how == "initialize":
            raise OSError("no device")
        super().initialize(ctx)

    def process(self, data: RuntimeData) -> Any:
        self.took(data)
        self.number += 1
        return getattr(self, self.how, self.fine)(data) if self.number > self.at else self.fine(data)

    def fine(self, data: RuntimeData) -> RuntimeData:
        return self.give(data)

    def plain(self, data: RuntimeData) -> RuntimeData:
        raise ValueError(f"number {self.number} is too much")

    def mute(self, data: RuntimeData) -> RuntimeData:
        raise ValueError

    def exits(self, data: RuntimeData) -> RuntimeData:
        raise SystemExit("enough")

    def generator(self, data: RuntimeData) -> Iterator[RuntimeData]:
        yield self.give(data)
        raise ValueError("between two outputs")

    async def coroutine(self, data: RuntimeData) -> RuntimeData:
        import trio

        await trio.sleep(0)
        raise ValueError("late")

    async def async_generator(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        yield self.give(data)
        raise ValueError("between two late outputs")

    def wrong_type(self, data: RuntimeData) -> Any:
        return {"not": "a datum"}

    def wrong_item(self, data: RuntimeData) -> Any:
        return [self.give(data), 42]

    def wrong_port(self, data: RuntimeData) -> None:
        self.ctx.emit("nowhere", data)

    def mismatch(self, data: RuntimeData) -> RuntimeData:
        return RuntimeData.json(replace(data, data_type=DataType.TEXT).as_audio())

    def foreign_meta(self, data: RuntimeData) -> RuntimeData:
        return replace(data, meta={"set": {1, 2}})

    def objects(self, data: RuntimeData) -> RuntimeData:
        return RuntimeData.tensor(np.array([object()]))

    def flush(self) -> Any:
        if self.how == "flush":
            raise KeyError("nothing to flush")
        if self.how == "flush_generator":
            return self.generator(RuntimeData.text("", timestamp_ns=0))
        return None


class FailsAtEnd(Sink):
    def cleanup(self) -> None:
        super().cleanup()
        raise RuntimeError("the lid is stuck")


class FailingSource(Source):
    def produce(self) -> Iterator[RuntimeData]:
        yield from super().produce()
        raise OSError("the microphone was unplugged")


class FailingAsyncSource(AsyncSource):
    async def produce(self) -> AsyncIterator[RuntimeData]:
        async for data in super().produce():
            yield data
        raise OSError("the microphone was unplugged")
