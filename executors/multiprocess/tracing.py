"""A worker that is traced. Its methods are changed for others that note what they do; untraced, nothing asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter_ns
from typing import Any

from penstock.executors.contract import RuntimeData
from penstock.executors.multiprocess.loop import WorkerLoop
from penstock.executors.multiprocess.strands import strands
from penstock.executors.trace import Trace, What

__all__ = ["trace"]


def trace(loop: WorkerLoop, events: Trace) -> None:
    """Note from now on what a worker does; before it is initialized."""
    changed: Any = loop
    changed.initialize = _noted(events, What.INITIALIZE, 0, loop.initialize)
    changed._take_snapshot = _noted(events, What.SNAPSHOT, 0, loop._take_snapshot)
    inputs = [link.spec for link in loop._inputs]
    edges = [edge for edge, (_, ends) in enumerate(strands(inputs, inputs)) for _ in ends]
    changed._handle = _noted_calls(events, edges, loop._handle)
    if loop.host.is_source:
        changed._results = _noted_results(events, loop._results)
    for number, outlet in enumerate(loop._outlets.all):
        sender: Any = outlet.sender
        sender.send = _noted(events, What.WAIT, number, sender.send)  # only what finds no room comes to it


def _noted(events: Trace, kind: int, number: int, call: Callable[..., Any]) -> Callable[..., Any]:
    def noted(*arguments: Any) -> Any:
        start_ns = perf_counter_ns()
        try:
            return call(*arguments)
        finally:
            events.add(kind, number, start_ns, perf_counter_ns())

    return noted


def _noted_calls(events: Trace, edges: list[int], handle: Callable[..., Any]) -> Callable[..., Any]:
    def noted(link: Any, record: Any) -> None:
        start_ns = perf_counter_ns()
        try:
            handle(link, record)
        finally:
            events.add(What.CALL, edges[link.number], start_ns, perf_counter_ns())

    return noted


def _noted_results(
    events: Trace, results: Callable[[Any], Iterator[RuntimeData]]
) -> Callable[[Any], Iterator[RuntimeData]]:
    def noted(result: Any) -> Iterator[RuntimeData]:
        items = results(result)
        while True:
            start_ns = perf_counter_ns()
            data = next(items, None)
            if data is None:
                return
            events.add(What.PRODUCE, 0, start_ns, perf_counter_ns())
            yield data

    return noted
