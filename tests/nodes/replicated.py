"""Nodes that run as replicas."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from nodes.mortal import Mortal, value
from penstock.executors.contract import NodeContext, RuntimeData


class Uneven(Mortal):
    """None, one, two or three of each number, the smaller the remainder the later; odd ones also on their own port."""

    outputs = {"out": "any", "odd": "any"}
    stateless = True

    def process(self, data: RuntimeData) -> Any:
        number = value(data)
        time.sleep((3 - number % 4) / 2000)
        if number % 2:
            self.ctx.emit("odd", data)
        if number % 4 == 1:
            return data
        return self._several(number)

    def _several(self, number: int) -> Iterator[RuntimeData]:
        for part in range(number % 4):
            yield RuntimeData.json({"i": number, "part": part})


class Tenth:
    """Passes on what is divisible by ten; nothing comes of the rest."""

    stateless = True

    def process(self, data: RuntimeData) -> RuntimeData | None:
        return data if value(data) % 10 == 0 else None


class Slow:
    """Passes on each datum a moment later."""

    stateless = True

    def initialize(self, ctx: NodeContext) -> None:
        del ctx

    def process(self, data: RuntimeData) -> RuntimeData:
        time.sleep(0.002)
        return data


class Ending(Slow):
    """Has something to say at its end."""

    def flush(self) -> RuntimeData:
        return RuntimeData.json({"i": -1})
