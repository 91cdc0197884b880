"""A trace of a run: what each node did when, in the format of Chrome's tracing, which https://ui.perfetto.dev shows.

A node is a process of the trace: its calls are one thread of it, and the waits for room on each of its edges another.
The nodes of this process are traced as workers are: by methods that are changed for others, so that a run that is not
traced has nothing of it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain, count
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final

import trio

from penstock.engine.assembly import Assembly
from penstock.engine.local_edge import LocalEdge
from penstock.engine.nodes.files import check_to_write, make_folder
from penstock.engine.plan import PlannedEdge, PlannedNode, PlannedPort
from penstock.executors.contract import Validation
from penstock.executors.trace import EVENTS, Event, Trace, What

__all__ = ["Tracing"]

Fields = dict[str, Any]
_CALLS: Final = 0
_NAMES: Final = {What.PRODUCE: "produce", What.INITIALIZE: "initialize", What.SNAPSHOT: "snapshot"}


class Tracing:
    """The trace of one run."""

    def __init__(self, path: Path) -> None:
        """Be ready to write it.

        Raises:
            Validation: it can not be written there.
        """
        check_to_write(path)
        self._path = path
        self._began_ns = perf_counter_ns()
        self._local: dict[PlannedNode | PlannedPort, Trace] = {}

    def attach(self, assembly: Assembly) -> None:
        """Note from now on what is done in this process; before anything is initialized."""
        for node in assembly.plan.nodes:
            if not node.in_worker:
                self._attach_node(assembly, node)
        for port in assembly.plan.inputs.values():
            self._attach_edges(assembly, port.edges, self._new(port))

    async def write(self, assembly: Assembly) -> None:
        """Write the file, after the run. What is wrong with it is logged: the run is over, and no worse for it."""
        try:
            await trio.to_thread.run_sync(self._write, assembly)
        except (OSError, Validation) as error:
            logging.getLogger("penstock").error("the trace could not be written to %s: %s", self._path, error)

    # Noting

    def _new(self, owner: PlannedNode | PlannedPort) -> Trace:
        self._local[owner] = events = Trace(bytearray(Trace.bytes_for(EVENTS)))
        return events

    def _attach_node(self, assembly: Assembly, node: PlannedNode) -> None:
        events = self._new(node)
        task: Any = assembly.tasks[node.node_id]
        task.initialize = _noted(events, What.INITIALIZE, 0, task.initialize)
        task._timed_produce, task._emit_produced = _noted_source(events, task._timed_produce, task._emit_produced)
        numbers = {assembly.receivers[edge]: number for number, edge in enumerate(node.edges_in)}
        process = task._process

        async def noted(data: Any, port: str, edge: Any) -> None:
            start_ns = perf_counter_ns()
            try:
                await process(data, port, edge)
            finally:
                events.add(What.CALL, numbers[edge], start_ns, perf_counter_ns())

        task._process = noted
        self._attach_edges(assembly, node.edges_out, events)

    @staticmethod
    def _attach_edges(assembly: Assembly, edges: list[PlannedEdge], events: Trace) -> None:
        """Note the waits for room: what is changed here is called by those alone who find none."""
        for number, edge in enumerate(edges):
            for end in assembly.writers_of(edge):
                name = "wait_for_room" if isinstance(end, LocalEdge) else "_await_room"
                setattr(end, name, _noted(events, What.WAIT, number, getattr(end, name)))

    # Writing

    def _write(self, assembly: Assembly) -> None:
        make_folder(self._path)
        lost: dict[str, int] = {}
        with self._path.open("w", encoding="utf-8") as file:
            file.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
            file.writelines(_lines(self._all(assembly, lost)))
            other = {"pipeline": assembly.plan.name, "lost_events": lost}
            file.write(f'\n], "otherData": {json.dumps(other)}}}\n')
        if lost:
            said = ", ".join(f"{count} of {name}" for name, count in lost.items())
            logging.getLogger("penstock").warning("the trace has the newest events alone; it lacks %s", said)

    def _all(self, assembly: Assembly, lost: dict[str, int]) -> Iterator[Fields]:
        pids = count(1)
        for port in assembly.plan.inputs.values():
            pid = next(pids)
            yield from _heads(pid, f"input {port.name}", port.edges)
            yield from self._of_trace(pid, port.name, self._local[port], [], lost)
        for node in assembly.plan.nodes:
            worker = assembly.workers.get(node.node_id)
            if worker is None:
                yield from self._of_node(next(pids), node, "in this process", self._local[node], lost)
                continue
            for one, events in zip(worker.each, assembly.traces[node.node_id], strict=True):
                pid = next(pids)
                yield from self._of_node(pid, node, f"pid {one.pid}", events, lost)
                for restarted_ns in one.lives.restarted_ns:
                    at = {"ts": self._us(restarted_ns), "pid": pid, "tid": _CALLS}
                    yield {"ph": "i", "s": "p", "cat": "restart", "name": f"{node.node_id} restarted", **at}

    def _of_node(self, pid: int, node: PlannedNode, where: str, trace: Trace, lost: dict[str, int]) -> Iterator[Fields]:
        yield from _heads(pid, f"{node.node_id} ({where})", node.edges_out)
        yield from self._of_trace(pid, node.node_id, trace, node.edges_in, lost)

    def _of_trace(
        self, pid: int, name: str, trace: Trace, edges_in: list[PlannedEdge], lost: dict[str, int]
    ) -> Iterator[Fields]:
        if trace.lost:
            lost[name] = lost.get(name, 0) + trace.lost
        for event in trace.events():
            yield self._complete(pid, name, event, edges_in)

    def _complete(self, pid: int, name: str, event: Event, edges_in: list[PlannedEdge]) -> Fields:
        said: Fields = {"ph": "X", "ts": self._us(event.start_ns), "dur": event.duration_ns / 1000, "pid": pid}
        if event.kind == What.WAIT:
            return {**said, "tid": 1 + event.number, "cat": "wait", "name": "no room"}
        if event.kind == What.CALL:
            edge = edges_in[event.number].name
            return {**said, "tid": _CALLS, "cat": "call", "name": name, "args": {"edge": edge}}
        return {**said, "tid": _CALLS, "cat": _NAMES[event.kind], "name": f"{name} {_NAMES[event.kind]}"}

    def _us(self, ns: int) -> float:
        return (ns - self._began_ns) / 1000


def _heads(pid: int, name: str, edges_out: list[PlannedEdge]) -> Iterator[Fields]:
    """What the tracks of a node are called, in the order of the stream."""
    yield {"ph": "M", "name": "process_name", "pid": pid, "tid": _CALLS, "args": {"name": name}}
    yield {"ph": "M", "name": "process_sort_index", "pid": pid, "tid": _CALLS, "args": {"sort_index": pid}}
    for tid, track in enumerate(chain(["calls"], (f"room on {edge.name}" for edge in edges_out))):
        yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": track}}


def _lines(items: Iterator[Fields]) -> Iterator[str]:
    for number, item in enumerate(items):
        yield (",\n" if number else "") + json.dumps(item, ensure_ascii=False, separators=(",", ":"))


def _noted(
    events: Trace, kind: int, number: int, call: Callable[..., Awaitable[None]]
) -> Callable[..., Awaitable[None]]:
    async def noted(*arguments: Any) -> None:
        start_ns = perf_counter_ns()
        try:
            await call(*arguments)
        finally:
            events.add(kind, number, start_ns, perf_counter_ns())

    return noted


def _noted_source(
    events: Trace, produce: Callable[[], Awaitable[None]], emit: Callable[..., Awaitable[None]]
) -> tuple[Callable[[], Awaitable[None]], Callable[..., Awaitable[None]]]:
    """Of a source: from its start to its first output, and from one output to the next."""
    since_ns = 0

    async def noted_produce() -> None:
        nonlocal since_ns
        since_ns = perf_counter_ns()
        await produce()

    async def noted_emit(port: str, data: Any) -> None:
        nonlocal since_ns
        events.add(What.PRODUCE, 0, since_ns, perf_counter_ns())
        await emit(port, data)
        since_ns = perf_counter_ns()

    return noted_produce, noted_emit
