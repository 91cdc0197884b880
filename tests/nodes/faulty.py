"""Nodes that fail on some data, take too long, or are told something while they run; for workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from penstock.executors.contract import RuntimeData


def odd(data: RuntimeData) -> Iterator[RuntimeData]:
    """Fails on even numbers, of some behind its first output."""
    value = data.as_json()
    if value % 4 == 2:
        yield RuntimeData.json(f"before {value}")
    if value % 2 == 0:
        raise ValueError(f"{value} is even")
    yield data


class Frail:
    """Dies of multiples of five, and takes an hour for what is below zero."""

    stateless = True

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        value = int(data.as_tensor()[0])
        yield RuntimeData.json(value)
        if value and value % 5 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if value < 0:
            time.sleep(3600)
        yield RuntimeData.json(value)


def numbers(data: RuntimeData) -> Iterator[RuntimeData]:
    """0, 1, 2 ... as arrays of 80 kB, up to the number that it is given."""
    for i in range(data.as_json()):
        yield RuntimeData.tensor(np.full(20_000, i, np.int32))


class Scaled:
    """Multiplies; the factor may change, to anything but 13. Keeps the last datum back until an interrupt."""

    def __init__(self, factor: int = 1) -> None:
        self.factor = factor
        self.held: list[int] = []

    def configure(self, factor: int) -> None:
        if factor == 13:
            raise ValueError("13 is no factor")
        self.factor = factor

    def process(self, data: RuntimeData) -> RuntimeData:
        self.held.append(data.as_json())
        return RuntimeData.json({"times": data.as_json() * self.factor, "held": len(self.held)})

    def interrupt(self) -> None:
        self.held.clear()

    def snapshot(self) -> Any:
        return self.held

    def restore(self, state: Any) -> None:
        self.held = state


class Counts:
    """A source that counts by a step, until it is told to end."""

    inputs: dict[str, str] = {}

    def __init__(self, step: int = 1) -> None:
        self.step = step

    def configure(self, step: int) -> None:
        self.step = step

    def produce(self) -> Iterator[RuntimeData]:
        value = 0
        while True:
            yield RuntimeData.json(value)
            value += self.step


class Endless:
    """For each datum an endless stream, told in a file when it is over."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        try:
            while data.as_json():
                yield data
            yield RuntimeData.json("done")
        finally:
            self.path.touch()
