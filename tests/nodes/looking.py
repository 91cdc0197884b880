"""Nodes for tests that look inside: of known duration, and ones that die."""

from __future__ import annotations

import os
import signal
import time

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
