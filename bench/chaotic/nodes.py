"""The nodes of chaos, as workers import them: what they give depends on their data and nothing else.

Each datum says by which path it came, from a source through ports, and which one of that path it is. So a stream is
the same however the streams of a merge interleave, as long as each is looked at by itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import Any, ClassVar

import numpy as np

from penstock.engine.nodes.grouping import Grouping
from penstock.engine.nodes.latest_of import LatestOf
from penstock.engine.nodes.zip import Zip
from penstock.executors.contract import Node, NodeContext, RuntimeData

__all__ = ["Branch", "Couple", "Keep", "Newest", "Pass", "Stream", "Tally", "digest"]

LARGEST_BYTES = 1 << 20


def digest(data: RuntimeData) -> tuple[str, tuple[int, ...], int]:
    """(path, number, checksum) of a datum."""
    meta = data.meta
    return str(meta["path"]), tuple(meta["at"]), zlib.crc32(data.payload, zlib.crc32(repr(meta.get("said")).encode()))


def _datum(path: str, at: list[int], claim: Any, sizes: Mapping[str, int]) -> RuntimeData:
    """JSON mostly, sometimes an array, sometimes a large one, in claimed memory or not: decided by path and number."""
    random = Random(f"{path}{at}")
    meta = {"path": path, "at": at}
    chance = random.randrange(100)
    if chance < 100 - sizes["arrays"]:
        return RuntimeData.json({"n": at, "pad": "x" * random.randrange(sizes["pad"])}, meta=meta)
    most = LARGEST_BYTES if chance < sizes["large"] + 100 - sizes["arrays"] else 64 << 10
    count = random.randrange(1, most // 4)
    array = claim(count) if random.random() < 0.5 else np.empty(count, np.float32)
    array[:] = random.randrange(1000)
    return RuntimeData.tensor(array, meta=meta)


def _onward(data: RuntimeData, port: str, *number: int, **more: Any) -> RuntimeData:
    """The same datum, one step further on its path."""
    meta = {**data.meta, "path": f"{data.meta['path']}>{port}", "at": [*data.meta["at"], *number], **more}
    return replace(data, meta=meta)


class _Base(Node):
    def __init__(self, *, large: int = 1, arrays: int = 20, pad: int = 200) -> None:
        self.sizes = {"large": large, "arrays": arrays, "pad": pad}

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx


class Stream(_Base):
    """A source that recites."""

    inputs: ClassVar[Mapping[str, str]] = {}
    stateless = True

    def __init__(self, count: int, *, large: int = 1, arrays: int = 20, pad: int = 200) -> None:
        super().__init__(large=large, arrays=arrays, pad=pad)
        self.count = count

    def produce(self) -> Iterator[RuntimeData]:
        for n in range(self.count):
            yield replace(_datum(self.ctx.node_id, [n], self.ctx.claim, self.sizes), timestamp_ns=1_000_000 * n)


class Pass(_Base):
    """Every datum as it came."""

    stateless = True

    def process(self, data: RuntimeData) -> RuntimeData:
        return _onward(data, self.ctx.node_id)


class Branch(_Base):
    """Of each datum none to three, on two ports: itself, or new ones."""

    stateless = True
    outputs: ClassVar[Mapping[str, str]] = {"out": "any", "side": "any"}

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        path, at, checksum = digest(data)
        name = self.ctx.node_id
        for k in range((1, 1, 1, 2, 0, 3, 1, 2)[checksum % 8]):
            if (checksum >> 3) + k & 1:
                yield _onward(data, name, k)
            else:
                yield _datum(f"{path}>{name}", [*at, k], self.ctx.claim, self.sizes)
        if checksum >> 4 & 1:
            self.ctx.emit("side", _onward(data, f"{name}.side"))

    def flush(self) -> Iterator[RuntimeData]:
        for k in range(3):
            yield _datum(f"{self.ctx.node_id}.flush", [k], self.ctx.claim, self.sizes)


class Tally(_Base):
    """Counts and adds up what comes of each path; the sum so far goes with each datum, and all of them at the end."""

    outputs: ClassVar[Mapping[str, str]] = {"out": "any", "side": "any"}

    def __init__(self, *, ballast: int = 0, large: int = 1, arrays: int = 20, pad: int = 200) -> None:
        super().__init__(large=large, arrays=arrays, pad=pad)
        self.sums: dict[str, list[int]] = {}
        self.ballast = np.zeros(ballast, np.uint8)

    def process(self, data: RuntimeData) -> RuntimeData:
        path, _, checksum = digest(data)
        before, total = self.sums.get(path, (0, 0))
        count, total = self.sums[path] = [before + 1, (31 * total + checksum) % (1 << 61)]
        if len(self.ballast):
            self.ballast[total % len(self.ballast)] += 1
        if count % 3 == 0:
            self.ctx.emit("side", _onward(data, f"{self.ctx.node_id}.side", said=total))
        return _onward(data, self.ctx.node_id, said=[count, total])

    def flush(self) -> RuntimeData:
        self.ctx.emit("side", self._final({"ballast": int(self.ballast.sum(dtype=np.int64))}, ".side"))
        return self._final({path: self.sums[path] for path in sorted(self.sums)})

    def _final(self, said: Any, port: str = "") -> RuntimeData:
        return RuntimeData.json(said, meta={"path": f"{self.ctx.node_id}{port}.flush", "at": [0]})

    def snapshot(self) -> Any:
        return {"sums": self.sums, "ballast": self.ballast}

    def restore(self, state: Any) -> None:
        self.sums, self.ballast = state["sums"], state["ballast"]


class Keep(_Base):
    """Keeps the newest data of each path for some time, in place, and gives them later, in their order."""

    def __init__(self, *, most: int = 5, large: int = 1, arrays: int = 20, pad: int = 200) -> None:
        super().__init__(large=large, arrays=arrays, pad=pad)
        self.most = most
        self.kept: dict[str, list[RuntimeData]] = {}

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        kept = self.kept.setdefault(digest(data)[0], [])
        kept.append(data)
        if len(kept) > self.most:
            yield _onward(kept.pop(0), self.ctx.node_id)

    def flush(self) -> Iterator[RuntimeData]:
        for path in sorted(self.kept):
            for data in self.kept[path]:
                yield _onward(data, self.ctx.node_id)

    def snapshot(self) -> Any:
        return self.kept

    def restore(self, state: Any) -> None:
        self.kept = {path: list(kept) for path, kept in state.items()}


class _Grouped(Grouping):
    """Says by which port a datum came out, and with which group."""

    inputs: ClassVar[Mapping[str, str]] = {"a": "any", "b": "any"}

    def together(self, group: Mapping[str, RuntimeData]) -> None:
        for port, data in group.items():
            self._ctx.emit(port, _onward(data, f"{self._ctx.node_id}.{port}", data.meta["group"]))

    def unmatched(self, port: str, data: RuntimeData) -> None:
        self._ctx.emit(f"unmatched_{port}", _onward(data, f"{self._ctx.node_id}.unmatched_{port}"))


class Couple(_Grouped, Zip):
    """`zip` of two streams."""

    outputs: ClassVar[Mapping[str, str]] = dict.fromkeys(("a", "b", "unmatched_a", "unmatched_b"), "any")

    def __init__(self) -> None:
        super().__init__(inputs=None)


class Newest(_Grouped, LatestOf):
    """`latest_of` two streams."""

    outputs: ClassVar[Mapping[str, str]] = dict.fromkeys(("a", "b", "unmatched_a"), "any")

    def __init__(self) -> None:
        super().__init__(inputs=None)
