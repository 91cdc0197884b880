"""Nodes for tests that look inside: of known duration, and ones that die."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from penstock.executors.contract import RuntimeData


class Numbers:
    """0, 1, 2, ... as JSON."""

    inputs: dict[str, str] = {}
    stateless = True

    def __init__(self, count: int) -> None:
        self.count = count

    def produce(self):
        for number in range(self.count):
            yield RuntimeData.json(number)


class Slow:
    """Passes on what it gets; each call takes at least `ms`, and `dies_at` is its last."""

    stateless = True

    def __init__(self, ms: float = 0, dies_at: int | None = None, once: str = "") -> None:
        self.ms = ms
        self.dies_at = dies_at
        self.once = once

    def process(self, data):
        time.sleep(self.ms / 1000)
        if data.as_json() == self.dies_at and not (self.once and os.path.exists(self.once)):
            if self.once:
                open(self.once, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return data


class Patterns:
    """Tensors whose every element is their number: each third as large as `large`, the others as `small`."""

    inputs: dict[str, str] = {}

    def __init__(self, count: int, small: int = 500, large: int = 30_000, pause_us: int = 0) -> None:
        self.count, self.small, self.large, self.pause_us = count, small, large, pause_us

    def produce(self):
        for number in range(self.count):
            if self.pause_us:
                time.sleep(self.pause_us / 1e6)
            size = self.small if number % 3 else self.large
            yield RuntimeData.tensor(np.full(size, number, np.int64), meta={"number": number})
