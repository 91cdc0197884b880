"""A round of chaos: a graph under fire, the same graph in peace, what differs, and what is left behind."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing import resource_tracker
from random import Random

import psutil
import trio

from bench.chaotic.graphs import Graph, Sink
from bench.chaotic.killer import Killer
from penstock.engine.options import RunOptions
from penstock.engine.report import Report

__all__ = ["Fire", "Round", "differences", "fight"]

_PATIENCE_S = 180.0
_SETTLING_S = 10.0
_MORE_DESCRIPTORS = 100
"""Of processes that are just being started."""


@dataclass(frozen=True, slots=True)
class Fire:
    """What a run has to stand: for how long, kills a second and in all, and whether workers are stopped, too."""

    seconds: float
    rate: float
    kills: int
    stops: bool = True


@dataclass(slots=True)
class Round:
    """What has happened; it is right when there is nothing in `wrong`."""

    wrong: list[str] = field(default_factory=list)
    signals: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    redelivered: int = 0
    data: int = 0
    """What came to the sinks."""
    sent: int = 0
    """On all edges."""
    sent_bytes: int = 0
    seconds: float = 0.0
    rss_mib: float = 0.0


def fight(build: Callable[[dict[str, int] | None], Graph], fire: Fire, seed: int, *, native: bool) -> Round:
    """One round.

    Args:
        build: makes the graph.
        fire: what the first run has to stand.
        seed: of the kills.
        native: the second run, without kills, is in this process alone.
    """
    found = Round()
    resource_tracker.ensure_running()  # the one process that stays
    before = _held()
    graph = build(None)
    begun = time.monotonic()
    report = trio.run(_under_fire, graph, fire, Random(seed), found)
    found.seconds = time.monotonic() - begun
    if report is not None and not found.wrong:
        _look_at(report, found)
        found.data = sum(len(data) for sink in graph.sinks.values() for data in sink.paths.values())
        counts = {name: _sent(report, name) for name in graph.sources}
        peaceful = build(counts)
        trio.run(_in_peace, peaceful, RunOptions(only_native=native, on_output=_no_output))
        for name, sink in graph.sinks.items():
            found.wrong += [f"{name}: {line}" for line in differences(sink, peaceful.sinks[name])]
    found.wrong += _left(before)
    found.rss_mib = psutil.Process().memory_info().rss / 2**20
    return found


async def _under_fire(graph: Graph, fire: Fire, random: Random, found: Round) -> Report | None:
    run, report = None, None
    try:
        with trio.fail_after(fire.seconds + _PATIENCE_S):
            async with graph.pipeline.open(RunOptions(grace_s=_PATIENCE_S, on_output=_no_output)) as run:
                killer = Killer(run, fire.rate, random, stops=fire.stops)
                most = len(os.listdir("/proc/self/fd")) + _MORE_DESCRIPTORS
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(killer.go_on, fire.kills)
                    with trio.move_on_after(fire.seconds):
                        await run.wait()
                    found.signals = killer.sent
                    await run.stop()  # still under fire
                    nursery.cancel_scope.cancel()
            report = run.report()
            if killer.descriptors > most:
                found.wrong.append(
                    f"{killer.descriptors} descriptors were open, and at first {most - _MORE_DESCRIPTORS}"
                )
    except trio.TooSlowError:
        found.wrong.append(f"not done after {_PATIENCE_S:g} s more")
        found.wrong += [str(stall) for stall in run.report().stalls] if run is not None else []
    except Exception as error:
        found.wrong.append(f"the run failed: {type(error).__name__}: {error}")
    return report


async def _in_peace(graph: Graph, options: RunOptions) -> None:
    async with graph.pipeline.open(options) as run:
        await run.wait()


def _no_output(_node: str, _stream: str, _line: str) -> None:
    """Dead workers have nothing to say."""


def _sent(report: Report, source: str) -> int:
    return next(edge.sent for edge in report.edges if edge.name.startswith(f"{source}.out -> "))


def _look_at(report: Report, found: Round) -> None:
    """The ledgers, and what was done."""
    if report.outcome not in {"completed", "stopped"}:
        found.wrong.append(f"the run was {report.outcome}")
    for edge in report.edges:
        if edge.in_flight or edge.sent != edge.received + edge.dropped:
            found.wrong.append(f"the ledger is not exact: {edge}")
    sent: dict[str, set[int]] = {}
    for edge in report.edges:
        sent.setdefault(edge.name.partition(" -> ")[0], set()).add(edge.sent)
    found.wrong += [f"edges of {port} were sent {counts}" for port, counts in sent.items() if len(counts) > 1]
    found.restarts = sum(node.restarts for node in report.nodes)
    found.redelivered = sum(node.redelivered for node in report.nodes)
    found.sent = sum(edge.sent for edge in report.edges)
    found.sent_bytes = sum(edge.sent_bytes for edge in report.edges)


def differences(got: Sink, expected: Sink) -> list[str]:
    """What came to a sink that was not to come, or not so; of one that is not exact, what is out of order."""
    if not got.exact:
        return [
            f"path {path}: {after[0]} comes after {before[0]}"
            for path, data in got.paths.items()
            for before, after in pairwise(data)
            if after[0] <= before[0]
        ][:3]
    wrong = []
    for path in sorted(got.paths.keys() | expected.paths.keys()):
        here, there = got.paths.get(path, []), expected.paths.get(path, [])
        if here != there:
            at = next(
                (n for n, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), min(len(here), len(there))
            )
            wrong.append(
                f"path {path}: {len(here)} data under fire, {len(there)} in peace; "
                f"at {at} there are {here[at : at + 3]} instead of {there[at : at + 3]}"
            )
    return wrong[:5]


# What is left behind


@dataclass(frozen=True, slots=True)
class _Held:
    processes: frozenset[int]
    segments: frozenset[str]
    descriptors: Counter[str]


def _held() -> _Held:
    gc.collect()
    descriptors: Counter[str] = Counter()
    for fd in os.listdir("/proc/self/fd"):
        try:
            descriptors[os.readlink(f"/proc/self/fd/{fd}").partition(":")[0]] += 1
        except OSError:
            continue
    segments = [name for name in os.listdir("/dev/shm") if name.startswith("pstk-") and _is_mine(name)]
    return _Held(frozenset(p.pid for p in psutil.Process().children(True)), frozenset(segments), descriptors)


def _is_mine(segment: str) -> bool:
    """Whether it may belong to this process: others work in /dev/shm as well."""
    try:
        with open(f"/dev/shm/pstk-{segment.split('-')[1]}-owner", encoding="utf-8") as file:
            return f'"pid": {os.getpid()}' in file.read()
    except OSError:
        return False


def _left(before: _Held) -> list[str]:
    deadline = time.monotonic() + _SETTLING_S
    while True:
        now = _held()
        left = [
            *(f"process {pid} is left" for pid in now.processes - before.processes),
            *(f"segment {name} is left" for name in sorted(now.segments - before.segments)),
            *(f"a descriptor of {kind} is left" for kind in (now.descriptors - before.descriptors).elements()),
        ]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)
