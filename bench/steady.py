"""Pipelines of workers that run without an end, looked at while they run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import trio

from bench.cpu import cpu_ns
from bench.placing import pin
from penstock.engine.options import RunOptions
from penstock.engine.pipeline import Pipeline
from penstock.engine.report import Report
from penstock.engine.running import Run

__all__ = ["Seen", "line", "watch"]


@dataclass(frozen=True, slots=True)
class Seen:
    """A steady run."""

    rate_hz: float
    """Messages that the last node was done with, a second, in the middle of the run."""
    cpu_us: float
    """CPU time of all workers together for each of these messages."""
    said: Mapping[str, Mapping[str, Any]]
    """What each node said of itself at its end, by name."""


def line(*nodes: tuple[str, str, Mapping[str, Any]], capacity: int = 64) -> Pipeline:
    """Worker nodes in a row, each (name, type of `bench.nodes`, parameters)."""
    pipeline = Pipeline("bench")
    for name, node_type, params in nodes:
        pipeline.add(name, f"bench.nodes:{node_type}", params, executor="multiprocess")
    return pipeline.connect(*(name for name, _, _ in nodes), capacity=capacity)


async def watch(pipeline: Pipeline, window_s: float, processors: Sequence[int] = (), *, settle: int = 1000) -> Seen:
    """Run it; after `settle` messages look at the ledger for `window_s`, then stop it and see that nothing is missing.

    Args:
        pipeline: its sinks say at their end, as a line of JSON, how many messages they got: {"count": ...}, or
            {"counts": [...]}, one for each edge.
        window_s: how long to look.
        processors: of the workers in the order of the graph; free when left out.
        settle: messages to let pass before.
    """
    said: dict[str, Mapping[str, Any]] = {}

    def hear(node_id: str, stream: str, text: str) -> None:
        if stream == "stdout":
            said[node_id] = json.loads(text)
        else:
            print(f"[{node_id}] {text}", file=sys.stderr)

    async with pipeline.open(RunOptions(on_output=hear, grace_s=20.0)) as run:
        for node, processor in zip(run.report().nodes, processors, strict=False):
            pin(node.pid, processor)
        await _received(run, settle)
        rate_hz, cpu_us = await _rate(run, window_s)
    _settled(run.report(), said)
    return Seen(rate_hz, cpu_us, said)


async def _received(run: Run, count: int) -> None:
    while _done(run) < count:  # noqa: ASYNC110 - no event says that the ledger moved
        await trio.sleep(0.01)


async def _rate(run: Run, window_s: float) -> tuple[float, float]:
    pids = [node.pid for node in run.report().nodes if node.pid]
    start_s, before, used_ns = trio.current_time(), _done(run), cpu_ns(pids)
    await trio.sleep(window_s)
    count = _done(run) - before
    return count / (trio.current_time() - start_s), (cpu_ns(pids) - used_ns) / 1000 / max(count, 1)


def _done(run: Run) -> int:
    """What the last edge's reader is done with, from all of its edges."""
    edges = run.report().edges
    reader = edges[-1].name.partition(" -> ")[2]
    return sum(edge.received for edge in edges if edge.name.endswith(f" -> {reader}"))


def _settled(report: Report, said: Mapping[str, Mapping[str, Any]]) -> None:
    """Nothing is missing on any edge, and the last edges have brought what their sinks say they got."""
    wrong = [edge for edge in report.edges if edge.sent != edge.received or edge.dropped or edge.in_flight]
    counts = sorted(count for words in said.values() for count in words.get("counts", [words.get("count")]) if count)
    if report.outcome != "stopped" or wrong or counts != sorted(edge.sent for edge in report.edges[-len(counts) :]):
        raise ValueError(f"the run was {report.outcome}, the nodes say {said}, and the ledger is {report.edges}")
