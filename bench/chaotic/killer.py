"""Kills workers of a run: at random, and at random moments of their lives."""

from __future__ import annotations

import os
import signal
from collections import Counter
from random import Random

import trio

from penstock.engine.running import Run

__all__ = ["Killer"]


class Killer:
    """Sends SIGKILL, or SIGSTOP and then SIGCONT or SIGKILL.

    Attributes:
        sent: signals that reached a worker, by name.
        descriptors: the most that this process had open.
    """

    def __init__(self, run: Run, rate: float, random: Random, *, stops: bool) -> None:
        self._run = run
        self._rate = rate
        self._random = random
        self._stops = stops
        self.sent: Counter[str] = Counter()
        self.descriptors = 0

    async def go_on(self, most: int) -> None:
        """Until so many were killed, or it is cancelled; who is stopped then goes on."""
        while self.sent["SIGKILL"] < most:
            await trio.sleep(self._random.expovariate(self._rate))
            self.descriptors = max(self.descriptors, len(os.listdir("/proc/self/fd")))
            workers = [pid for node in self._run.report().nodes for pid in node.pids or (node.pid,) if pid]
            if not workers:
                continue
            pid = self._random.choice(workers)
            if self._stops and self._random.random() < 0.25:
                await self._stop(pid)
            else:
                self._send(pid, signal.SIGKILL)

    async def _stop(self, pid: int) -> None:
        try:
            self._send(pid, signal.SIGSTOP)
            await trio.sleep(self._random.uniform(0, 0.3))
        finally:
            self._send(pid, self._random.choice((signal.SIGCONT, signal.SIGKILL)))

    def _send(self, pid: int, number: signal.Signals) -> None:
        if _is_child(pid):
            os.kill(pid, number)
            self.sent[number.name] += 1


def _is_child(pid: int) -> bool:
    """Whether this is a process of ours that has not ended: as long as nobody reaps it, its number is its own."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent = file.read().rpartition(b") ")[2].split()[:2]
    except OSError:
        return False
    return int(parent) == os.getpid() and state not in {b"Z", b"X"}
