"""Nodes with several inputs: subclasses of the grouping nodes, and some that choose what they take."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping

from penstock.engine.nodes.zip import Zip
from penstock.executors.contract import NodeContext, RuntimeData


class Pair(Zip):
    """One JSON list of what belongs together."""

    inputs = {"left": "json", "right": "json"}
    outputs = {"out": "json"}

    def __init__(self) -> None:
        super().__init__(inputs=["left", "right"])

    def together(self, group: Mapping[str, RuntimeData]) -> RuntimeData:
        return RuntimeData.json([group["left"].as_json(), group["right"].as_json()])

    def unmatched(self, port: str, data: RuntimeData) -> RuntimeData:
        return RuntimeData.json([port, data.as_json()])


class Ranged:
    """A source of given numbers, whose time stamps are these, in ms."""

    inputs: dict[str, str] = {}
    outputs = {"out": "json"}

    def __init__(self, stamps_ms: list[int]) -> None:
        self.stamps_ms = stamps_ms

    def produce(self) -> Iterator[RuntimeData]:
        for stamp in self.stamps_ms:
            yield RuntimeData.json(stamp, timestamp_ns=stamp * 1_000_000, session_id="s", meta={"own": stamp})


class FirstLeft:
    """Takes all of one input before it takes any of the other."""

    inputs = {"left": "json", "right": "json"}
    outputs = {"out": "json"}

    def __init__(self) -> None:
        self.over: set[str] = set()

    def wants(self, port: str) -> bool:
        return port == "left" or "left" in self.over

    def ended(self, port: str) -> RuntimeData:
        self.over.add(port)
        return RuntimeData.json(f"no more {port}")

    def process(self, data: RuntimeData, port: str) -> RuntimeData:
        return RuntimeData.json([port, data.as_json()])


class WantsNothing(FirstLeft):
    """Will not have what there is."""

    def wants(self, port: str) -> bool:
        return False


class Labels:
    """As many outputs as it is told."""

    def __init__(self, labels: list[str]) -> None:
        self.labels = labels

    @classmethod
    def ports(cls, labels: list[str]) -> tuple[dict[str, str], dict[str, str]]:
        return {"in": "json"}, dict.fromkeys(labels, "json")

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx

    def process(self, data: RuntimeData) -> None:
        self.ctx.emit(self.labels[data.as_json() % len(self.labels)], data)


class Countdown:
    """Sends what it gets to `out`; what is above 0 also round again, one less. The last words go to both."""

    inputs = {"in": "json", "back": "json"}
    outputs = {"out": "json", "again": "json"}

    def __init__(self, last_words: int = 0) -> None:
        self.last_words = last_words

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx

    def process(self, data: RuntimeData, port: str) -> None:
        n = data.as_json()
        self.ctx.emit("out", RuntimeData.json([port, n]))
        if n > 0:
            self.ctx.emit("again", RuntimeData.json(n - 1))

    def flush(self) -> None:
        for n in range(self.last_words):
            self.ctx.emit("out", RuntimeData.json(["flush", n]))
            self.ctx.emit("again", RuntimeData.json(n))


def _die_once(path: str, now: bool) -> None:
    if now and not os.path.exists(path):
        with open(path, "w"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)


class MortalPair(Pair):
    """Its process dies once: when it has put a group together, or when it is told of an end, or knows of it already."""

    def __init__(self, *, path: str, when: str) -> None:
        super().__init__()
        self.path = path
        self.when = when

    def together(self, group: Mapping[str, RuntimeData]) -> RuntimeData:
        _die_once(self.path, self.when == "group" and group["left"].as_json() == 7)
        return super().together(group)

    def unmatched(self, port: str, data: RuntimeData) -> RuntimeData:
        _die_once(self.path, self.when == "behind" and data.as_json() == 17)
        return super().unmatched(port, data)

    def ended(self, port: str) -> list[RuntimeData]:
        given = super().ended(port)
        _die_once(self.path, self.when == f"ended {port}")
        return given


class MortalCountdown(Countdown):
    """Its process dies once, with a datum in hand that has been round, or at its end; it says that it is stateless."""

    stateless = True

    def __init__(self, *, path: str, when: str, last_words: int = 0) -> None:
        super().__init__(last_words)
        self.path = path
        self.when = when

    def process(self, data: RuntimeData, port: str) -> None:
        super().process(data, port)
        _die_once(self.path, self.when == "round" and port == "back")

    def flush(self) -> None:
        super().flush()
        _die_once(self.path, self.when == "flush")
