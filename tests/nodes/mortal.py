"""Nodes whose process dies where a test wants it to: at a datum, or at a line of penstock's own code."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from penstock.engine.nodes.latest_of import LatestOf
from penstock.engine.nodes.zip import Zip
from penstock.executors.contract import NodeContext, RuntimeData

_TRACED = tuple(
    os.path.join(*parts)
    for parts in [
        *(("multiprocess", f"{room}.py") for room in ("loop", "journal", "outlets", "replay", "strands")),
        *(("shm", f"{room}.py") for room in ("writing", "reading", "channel", "slab", "lease", "dropping", "history")),
        *(("shm", f"{room}.py") for room in ("splitting", "merging")),
    ]
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def value(data: RuntimeData) -> int:
    """The number that a datum stands for, small or large."""
    return int(data.as_tensor()[0]) if data.data_type.value == "Tensor" else int(data.as_json()["i"])


class Numbers:
    """0, 1, 2, ... as JSON; each seventh as 80 kB of them."""

    inputs: dict[str, str] = {}
    stateless = True

    def __init__(self, count: int) -> None:
        self.count = count

    def produce(self) -> Iterator[RuntimeData]:
        for i in range(self.count):
            if i % 7 == 6:
                yield RuntimeData.tensor(np.full(20_000, i, np.float32))
            else:
                yield RuntimeData.json({"i": i})


class Small(Numbers):
    """0, 1, 2, ... as JSON."""

    def produce(self) -> Iterator[RuntimeData]:
        for i in range(self.count):
            yield RuntimeData.json({"i": i})


class Mortal:
    """Dies at a number of lines of penstock's code after the start, drawn anew for each life; a file counts the lives.

    When `lives` are used up it lives on.
    """

    def __init__(self, deaths: str = "", lives: int = 0, seed: int = 0, within: int = 4000) -> None:
        self.deaths, self.lives, self.seed, self.within = deaths, lives, seed, within

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx
        if not self.deaths:
            return
        path = Path(f"{self.deaths}.{ctx.node_id}")
        life = len(path.read_bytes()) if path.exists() else 0
        if life < self.lives:
            with path.open("ab") as file:
                file.write(b"x")
            self._left = random.Random(f"{self.seed}.{ctx.node_id}.{life}").randrange(self.within)
            sys.settrace(self._trace)

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.endswith(_TRACED):
            return None
        return self._step

    def _step(self, frame: FrameType, event: str, arg: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            die()
        return self._step


class Twice(Mortal):
    """Each datum, and unless it is divisible by three, once more."""

    stateless = True

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        yield data
        if value(data) % 3:
            yield RuntimeData.json({"i": value(data), "again": True})


class Pass(Mortal):
    """Each datum."""

    stateless = True

    def process(self, data: RuntimeData) -> RuntimeData:
        return data


class Window(Mortal):
    """The last three of two inputs together, and on a port of its own what is odd; at the end how many there were."""

    inputs = {"a": "any", "b": "any"}
    outputs = {"out": "any", "odd": "any"}

    def __init__(self, deaths: str = "", lives: int = 0, seed: int = 0, within: int = 4000) -> None:
        super().__init__(deaths, lives, seed, within)
        self.seen: list[list[Any]] = []
        self.count = 0

    def process(self, data: RuntimeData, port: str) -> RuntimeData:
        self.count += 1
        self.seen = [*self.seen, [port, value(data)]][-3:]
        if value(data) % 2:
            self.ctx.emit("odd", data)
        return RuntimeData.json({"window": self.seen})

    def flush(self) -> RuntimeData:
        return RuntimeData.json({"count": self.count})

    def snapshot(self) -> Any:
        return {"seen": self.seen, "count": np.int64(self.count)}

    def restore(self, state: Any) -> None:
        self.seen, self.count = state["seen"], int(state["count"])


class Round(Mortal):
    """Sends each datum round as often as it says, then out."""

    stateless = True
    inputs = {"in": "any", "back": "any"}
    outputs = {"out": "any", "again": "any"}

    def process(self, data: RuntimeData, port: str) -> None:
        number = data.as_json()
        rounds = number.get("rounds", number["i"] % 4)
        again = RuntimeData.json({"i": number["i"], "rounds": rounds - 1})
        self.ctx.emit("again" if rounds else "out", again)


class KeptRound(Round):
    """The same with snapshots: it counts."""

    stateless = False
    count = 0

    def process(self, data: RuntimeData, port: str) -> None:
        self.count += 1
        super().process(data, port)

    def flush(self) -> None:
        self.ctx.emit("again", RuntimeData.json({"i": -1, "rounds": 0}))  # nobody listens any more
        self.ctx.emit("out", RuntimeData.json({"i": self.count}))

    def snapshot(self) -> Any:
        return self.count

    def restore(self, state: Any) -> None:
        self.count = state


class Total:
    """A running sum. Dies with the datum `at` in hand, `times` times, before or after it has given the sum."""

    def __init__(self, deaths: str, at: int, times: int = 1, when: str = "before") -> None:
        self.path, self.at, self.times, self.when = Path(deaths), at, times, when
        self.total = 0

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        number = value(data)
        self.total += number
        if number == self.at and self.when == "before":
            self._die()
        yield RuntimeData.json({"i": self.total})
        if number == self.at and self.when == "after":
            self._die()

    def flush(self) -> Iterator[RuntimeData]:
        yield RuntimeData.json({"total": self.total})
        if self.when == "flush":
            self._die()
        yield RuntimeData.json({"end": True})

    def _die(self) -> None:
        died = len(self.path.read_bytes()) if self.path.exists() else 0
        if died < self.times:
            with self.path.open("ab") as file:
                file.write(b"x")
            die()


class Kept(Total):
    """The same with snapshots."""

    def snapshot(self) -> Any:
        return self.total

    def restore(self, state: Any) -> None:
        self.total = state


class Moody(Total):
    """Says that it is stateless, and gives something else each time."""

    stateless = True

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        yield RuntimeData.json({"i": value(data), "mood": os.urandom(8).hex()})
        if value(data) == self.at:
            self._die()


class Fewer(Total):
    """Says that it is stateless, and gives less the second time."""

    stateless = True

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        if not self.path.exists():
            yield RuntimeData.json({"i": value(data)})
        if value(data) == self.at:
            self._die()


class Poison(Mortal):
    """Does not survive a number."""

    stateless = True

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def process(self, data: RuntimeData) -> RuntimeData:
        if value(data) == self.number:
            die()
        return data


class Frail(Mortal):
    """Gets nothing done: dies at its first datum, whichever that is."""

    stateless = True

    def process(self, data: RuntimeData) -> None:
        die()


class Recited:
    """A source that dies once at a number; it says that it gives the same stream again."""

    inputs: dict[str, str] = {}
    stateless = True

    def __init__(self, deaths: str, count: int, at: int) -> None:
        self.path, self.count, self.at = Path(deaths), count, at

    def produce(self) -> Iterator[RuntimeData]:
        for i in range(self.count):
            if i == self.at and not self.path.exists():
                self.path.touch()
                die()
            yield RuntimeData.json({"i": i})


class Dripping:
    """0, 1, 2, ... until it is told to end, then a word on it, twice. Its first process dies where it is told to.

    The second one is ready when there is a file `go`.
    """

    inputs: dict[str, str] = {}
    stateless = True

    def __init__(self, folder: str, when: str) -> None:
        self.folder, self.when = Path(folder), when

    def initialize(self, ctx: NodeContext) -> None:
        self.is_second = (self.folder / "began").exists()
        (self.folder / ("again" if self.is_second else "began")).touch()
        while self.is_second and not (self.folder / "go").exists():
            time.sleep(0.01)

    def produce(self) -> Iterator[RuntimeData]:
        for i in itertools.count():
            if i == 30 and self.when == "source":
                self._die()
            yield RuntimeData.json({"i": i})
            time.sleep(0.001)

    def flush(self) -> Iterator[RuntimeData]:
        for i in (-1, -2):
            yield RuntimeData.json({"i": i})
            if self.when == "flush":
                self._die()

    def _die(self) -> None:
        if not self.is_second:
            die()


class Brittle(Total):
    """A sum with snapshots whose process dies in the snapshot that is made after its flush, or when it begins again."""

    flushed = False

    def initialize(self, ctx: NodeContext) -> None:
        died = len(self.path.read_bytes()) if self.path.exists() else 0
        if self.when == "initialize" and died:
            self._die()

    def flush(self) -> Iterator[RuntimeData]:
        self.flushed = True
        return super().flush()

    def snapshot(self) -> Any:
        if self.flushed and self.when == "settle":
            self._die()
        return self.total

    def restore(self, state: Any) -> None:
        self.total = state

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        if value(data) == self.at and self.when == "initialize" and not self.path.exists():
            self._die()
        return super().process(data)


class Slow(Total):
    """Takes its time to begin again."""

    stateless = True

    def initialize(self, ctx: NodeContext) -> None:
        if self.path.exists():
            time.sleep(1)


class Scaled:
    """Each datum twice, times a factor; dies once between the two, and waits for a file before it begins again."""

    stateless = True

    def __init__(self, folder: str, at: int, factor: int = 1) -> None:
        self.folder, self.at, self.factor = Path(folder), at, factor

    def initialize(self, ctx: NodeContext) -> None:
        while (self.folder / "died").exists() and not (self.folder / "go").exists():
            time.sleep(0.01)

    def configure(self, factor: int) -> None:
        self.factor = factor

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        yield RuntimeData.json({"i": value(data) * self.factor})
        if value(data) == self.at and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            die()
        yield RuntimeData.json({"i": value(data) * self.factor})


class Ends:
    """Counts the inputs that have ended, and what came; at the end it says so."""

    inputs = {"a": "any", "b": "any", "c": "any", "d": "any"}

    def __init__(self, deaths: str, at: int = -1) -> None:
        self.path, self.at = Path(deaths), at
        self.counts = {"ended": 0, "data": 0}

    def process(self, data: RuntimeData, port: str) -> None:
        if not self.counts["data"]:
            time.sleep(0.5)  # then the others are there, and nothing is settled for want of data
        self.counts["data"] += 1
        if port == "b" and value(data) == self.at and not self.path.exists():
            self.path.touch()
            die()

    def ended(self, port: str) -> RuntimeData:
        self.counts["ended"] += 1
        return RuntimeData.json({"ended": self.counts["ended"]})

    def flush(self) -> RuntimeData:
        return RuntimeData.json(self.counts)


class KeptEnds(Ends):
    """The same with snapshots."""

    def snapshot(self) -> Any:
        return self.counts

    def restore(self, state: Any) -> None:
        self.counts = dict(state)


class MortalZip(Mortal, Zip):
    """`zip` of `a` and `b`."""

    inputs = {"a": "any", "b": "any"}
    outputs = {"a": "any", "b": "any", "unmatched_a": "any", "unmatched_b": "any"}

    def __init__(self, deaths: str = "", lives: int = 0, seed: int = 0, within: int = 4000) -> None:
        Mortal.__init__(self, deaths, lives, seed, within)
        Zip.__init__(self)

    def initialize(self, ctx: NodeContext) -> None:
        Zip.initialize(self, ctx)
        Mortal.initialize(self, ctx)


class MortalLatestOf(Mortal, LatestOf):
    """`latest_of` with `a` leading and the latest of `b`."""

    inputs = {"a": "any", "b": "any"}
    outputs = {"a": "any", "b": "any", "unmatched_a": "any"}

    def __init__(self, deaths: str = "", lives: int = 0, seed: int = 0, within: int = 4000) -> None:
        Mortal.__init__(self, deaths, lives, seed, within)
        LatestOf.__init__(self)

    def initialize(self, ctx: NodeContext) -> None:
        LatestOf.initialize(self, ctx)
        Mortal.initialize(self, ctx)
