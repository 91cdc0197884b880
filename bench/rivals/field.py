"""Which rivals are there, and a discipline that they all run in turn."""

from __future__ import annotations

import importlib
from contextlib import ExitStack
from typing import Any

from bench.channels import Channels
from bench.figures import OURS, Series
from bench.options import Options
from bench.pipes import PipeRow
from bench.rivals.flow import Flow, Flowing, Rival, installed

__all__ = ["MODULES", "flows", "run_flows"]

MODULES = {"iceoryx2": "iceoryx", "pyzmq": "zeromq", "ezmsg": "ezmsgs"}
"""Distribution, and the file here that uses it."""
BUSY = "iceoryx2, busy poll"


class _Ours:
    """A channel, in the form that every contestant has."""

    def __init__(self, channels: Channels, *, fresh: bool) -> None:
        self._channels = channels
        self._fresh = fresh
        self.place = channels.place

    def rate_hz(self, count: int) -> float:
        return self._channels.rate_hz(count, in_place=self._fresh)


class _Pipes:
    """Bare pipes, likewise."""

    def __init__(self, row: PipeRow, sinks: int) -> None:
        self._row = row
        self._sinks = sinks
        self.rate_hz = row.rate_hz

    def place(self, sender: int | None, receivers: int | None) -> None:
        self._row.place(sender, *[receivers] * self._sinks)


def flows(stack: ExitStack, nbytes: int, *, capacity: int, receivers: int = 1, fresh: bool = False) -> dict[str, Any]:
    """Everybody who can carry messages of this size to so many receivers, started and ready."""
    channels = stack.enter_context(Channels(nbytes, capacity, receivers))
    row = stack.enter_context(PipeRow(nbytes=nbytes, sinks=receivers, duplex=nbytes > 65536))
    found: dict[str, Flowing] = {OURS: _Ours(channels, fresh=fresh), "Pipe": _Pipes(row, receivers)}
    for package, module in MODULES.items():
        if installed(package):
            rivals: tuple[Rival, ...] = importlib.import_module(f"bench.rivals.{module}").RIVALS
            found |= {rival.name: stack.enter_context(Flow(rival, nbytes, receivers, fresh=fresh)) for rival in rivals}
    return found


def run_flows(
    series: Series,
    options: Options,
    contestants: dict[str, Flowing],
    cases: dict[str, tuple[int | None, int | None]],
    *,
    count: int,
    unit: str = "msg/s",
    factor: float = 1.0,
) -> Series:
    """Blocks of each in turn, at each placing; the slow ones send fewer messages, so that nobody waits for them."""
    counts = dict.fromkeys(contestants, count)
    for block in range(options.choose(quick=3, full=8)):
        for case, places in cases.items():
            for name, flow in contestants.items():
                if name == BUSY and places[0] == places[1]:
                    continue  # a poll that is busy has to have its core to itself
                flow.place(*places)
                if not block:  # warms up, and says how many messages take as long as the fastest's
                    probe = max(20, count // 50)
                    counts[name] = max(probe, min(count, int(flow.rate_hz(probe) * options.choose(quick=0.2, full=1))))
                else:
                    series.add(case, name, unit, flow.rate_hz(counts[name]) * factor)
    return series
