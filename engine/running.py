"""A run of a pipeline: everything it starts lives in one `async with`, and is gone when that is left."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from os import PathLike

import trio

from penstock.engine.assembly import Assembly
from penstock.engine.edge import NeighbourLost
from penstock.engine.ending import CycleEnding
from penstock.engine.local_task import LocalTask
from penstock.engine.pipeline import Pipeline
from penstock.engine.plan import PlannedEdge, PlannedNode
from penstock.engine.report import EdgeReport, NodeReport, Report
from penstock.executors.contract import NodeExecution, ServiceError
from penstock.executors.multiprocess.supervisor import OnOutput, Supervisor, print_output
from penstock.executors.multiprocess.wiring import Wiring

__all__ = ["Run", "RunOptions", "open_run", "run"]


_HURRIED_GRACE_S = 0.5


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a pipeline is run.

    Attributes:
        only_native: every node in this process, for the debugger.
        grace_s: how long a stop may take to drain, and then a worker to end after SIGTERM.
        on_output: gets each line that a worker prints: `on_output(node_id, "stdout" | "stderr", line)`.
        session_id: of the data; a random one when it is left out.
    """

    only_native: bool = False
    grace_s: float = 5.0
    on_output: OnOutput = print_output
    session_id: str | None = None


class Run:
    """A running pipeline, from `async with pipeline.open() as run:`."""

    def __init__(self, assembly: Assembly, options: RunOptions, scope: trio.CancelScope) -> None:
        self._assembly = assembly
        self._options = options
        self._scope = scope
        self._started_at = trio.current_time()
        self._ended_at: float | None = None
        self._unfinished = {node.node_id for node in assembly.plan.nodes}
        self._all_finished = trio.Event()
        self._stopping = False
        self._hurry = False  # the grace period has been used, or is not wanted
        self._failure: ServiceError | None = None
        look, end = assembly.statistics, assembly.end_feedback
        self._endings = [CycleEnding(cycle, look, end) for cycle in assembly.plan.cycles]
        if not self._unfinished:
            self._all_finished.set()

    async def wait(self) -> None:
        """Wait until every source has ended and everything has been worked off."""
        await self._all_finished.wait()

    async def stop(self) -> bool:
        """End the sources and work off what is in flight; whether that was done within the grace period."""
        self._stopping = self._stopping or not self._all_finished.is_set()
        for node in self._assembly.plan.nodes:
            if node.is_source:
                self._stop_source(node)
        with trio.move_on_after(self._options.grace_s):
            await self._all_finished.wait()
        self._hurry = not self._all_finished.is_set()
        return not self._hurry

    def abort(self) -> None:
        """End everything at once, with data in flight."""
        self._hurry = self._stopping = True
        self._scope.cancel()

    def report(self) -> Report:
        """What has been done so far; after the end, what was done in all."""
        nodes = tuple(map(self._node_report, self._assembly.plan.nodes))
        edges = tuple(map(self._edge_report, self._assembly.plan.edges))
        ended = trio.current_time() if self._ended_at is None else self._ended_at
        error = None if self._failure is None else str(self._failure)
        return Report(self._assembly.plan.name, self._outcome(), ended - self._started_at, nodes, edges, error)

    @property
    def failure(self) -> ServiceError | None:
        """What made the run fail, if anything did."""
        return self._failure

    def _outcome(self) -> str:
        if self._failure is not None:
            return "failed"
        if self._ended_at is None:
            return "running"
        if not self._all_finished.is_set():
            return "aborted"
        return "stopped" if self._stopping else "completed"

    def _fail(self, error: ServiceError) -> None:
        if self._failure is None:
            self._failure = error
        self._scope.cancel()

    def _finished(self, node_id: str) -> None:
        self._unfinished.discard(node_id)
        for ending in self._endings:
            ending.finished(node_id)
        if not self._unfinished:
            self._all_finished.set()

    def _stop_source(self, node: PlannedNode) -> None:
        if node.in_worker:
            self._assembly.workers[node.node_id].end_stream()
        else:
            self._assembly.tasks[node.node_id].stop_producing()

    # Starting and driving

    async def _start(self, nursery: trio.Nursery, supervisors: trio.Nursery) -> None:
        """Start the workers side by side; initialize the nodes here; then let data flow, sinks first."""
        workers = self._assembly.workers
        for supervisor in workers.values():
            supervisors.start_soon(_shielded, supervisor)
        async with trio.open_nursery() as starting:
            for supervisor in workers.values():
                starting.start_soon(self._wait_ready, supervisor)
            for node_id, task in self._assembly.tasks.items():
                try:
                    await task.initialize()
                except ServiceError as error:
                    self._fail(_named(node_id, error))
                    break
        if self._failure is not None:
            await trio.sleep_forever()  # cancelled: see _fail
        for ending in self._endings:
            nursery.start_soon(ending.run)
        for node in reversed(self._assembly.plan.nodes):
            if node.in_worker:
                supervisor = workers[node.node_id]
                nursery.start_soon(self._drive_worker, node, supervisor)
                await supervisor.start()
            else:
                nursery.start_soon(self._drive_task, node.node_id, self._assembly.tasks[node.node_id])

    async def _wait_ready(self, supervisor: Supervisor) -> None:
        try:
            await supervisor.wait_ready()
        except NodeExecution as error:
            self._fail(error)

    async def _drive_task(self, node_id: str, task: LocalTask) -> None:
        try:
            await task.run()
        except NeighbourLost:
            await trio.sleep_forever()  # its supervisor says what happened, and that ends us
        except ServiceError as error:
            self._fail(_named(node_id, error))
        except Exception as error:
            self._fail(NodeExecution(node_id, str(error) or repr(error), kind=type(error).__name__))
        else:
            await self._finish_task(node_id, task)

    async def _finish_task(self, node_id: str, task: LocalTask) -> None:
        """Clean up as soon as a node is through: a file is complete before others have ended."""
        with trio.move_on_after(self._options.grace_s, shield=True) as scope:
            try:
                await task.cleanup()
            except ServiceError as error:
                self._fail(_named(node_id, error))
        if scope.cancelled_caught:
            self._fail(NodeExecution(node_id, f"its cleanup took longer than {self._options.grace_s:g} s"))
        self._finished(node_id)

    async def _drive_worker(self, node: PlannedNode, supervisor: Supervisor) -> None:
        await supervisor.wait_gone()
        if supervisor.failure is not None:
            self._fail(supervisor.failure)
        elif supervisor.counters.why == "interrupted" and not self._stopping:
            self._fail(NodeExecution(node.node_id, f"its process (pid {supervisor.pid}) was told to end by SIGTERM"))
        elif supervisor.counters.why == "ended":
            self._finished(node.node_id)

    async def _end(self) -> None:
        """Clean up the nodes of this process and end the workers, each within the grace period."""
        grace_s = min(_HURRIED_GRACE_S, self._options.grace_s) if self._hurry else self._options.grace_s
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for supervisor in self._assembly.workers.values():
                    nursery.start_soon(supervisor.stop, grace_s)
                for node_id, task in self._assembly.tasks.items():
                    nursery.start_soon(self._clean_up, node_id, task, grace_s)
        self._ended_at = trio.current_time()

    async def _clean_up(self, node_id: str, task: LocalTask, grace_s: float) -> None:
        with trio.move_on_after(grace_s, shield=True):
            try:
                await task.cleanup()
            except ServiceError as error:
                if self._failure is None:
                    self._failure = _named(node_id, error)

    # Reporting

    def _node_report(self, node: PlannedNode) -> NodeReport:
        supervisor = self._assembly.workers.get(node.node_id)
        executor = node.executor.value.lower()
        if supervisor is None:
            task = self._assembly.tasks[node.node_id]
            return NodeReport(node.node_id, node.type_name, executor, 0, task.processed, task.busy_ns / 1e9, None)
        counters = supervisor.counters
        said = bool(counters.why)
        return NodeReport(
            node.node_id,
            node.type_name,
            executor,
            supervisor.pid,
            counters.processed if said else None,
            counters.busy_ns / 1e9 if said else None,
            counters.max_rss_kib if said else None,
        )

    def _edge_report(self, edge: PlannedEdge) -> EdgeReport:
        statistics = self._assembly.statistics(edge)
        return EdgeReport(
            edge.name,
            "ring" if edge.shared else "channel",
            edge.decl.capacity,
            statistics.sent,
            statistics.received,
            statistics.dropped,
            statistics.in_flight,
            statistics.sent_bytes,
        )


@asynccontextmanager
async def open_run(pipeline: Pipeline, options: RunOptions | None = None) -> AsyncIterator[Run]:
    """Check, start, yield, stop and remove (see `Pipeline.open`).

    Leaving the block stops the sources and works off what is in flight within the grace period; an error or a
    cancellation ends everything at once, with the nodes cleaned up.

    Raises:
        PipelineInvalid: it can not be run.
        AllocationFailed: /dev/shm is too small.
        NodeExecution: a node failed, or its process died.
    """
    options = options or RunOptions()
    plan = pipeline.check(only_native=options.only_native)
    with ExitStack() as stack:
        shared = any(node.in_worker for node in plan.nodes)
        wiring = stack.enter_context(Wiring(f"penstock run {plan.name}", pipeline.wait)) if shared else None
        assembly = Assembly(plan, options.session_id or secrets.token_hex(8), wiring)
        assembly.build(grace_s=options.grace_s, on_output=options.on_output)
        running: Run | None = None
        raised: BaseException | None = None
        try:
            async with trio.open_nursery() as supervisors:
                try:
                    async with trio.open_nursery() as nursery:
                        running = Run(assembly, options, nursery.cancel_scope)
                        await running._start(nursery, supervisors)
                        try:
                            yield running
                        except BaseException as error:
                            raised = error
                            raise
                        await running.stop()
                        nursery.cancel_scope.cancel()
                finally:
                    if running is not None:
                        await running._end()
        except BaseExceptionGroup:
            # The tasks of a run note their errors and do not raise them: this is the block's own, wrapped by nurseries.
            if raised is None or isinstance(raised, trio.Cancelled):
                raise
            raise raised from raised.__cause__
        if running is not None and running.failure is not None:
            raise running.failure


def run(pipeline: Pipeline | str | PathLike[str], options: RunOptions | None = None) -> Report:
    """Run a pipeline, or the manifest at a path, to its end: `penstock.run("pipeline.yaml")`.

    Raises:
        PipelineInvalid, AllocationFailed, NodeExecution: as `Pipeline.open`.
    """
    from penstock.engine.manifest import load

    described = pipeline if isinstance(pipeline, Pipeline) else load(pipeline)

    async def main() -> Report:
        async with described.open(options) as running:
            await running.wait()
        return running.report()

    return trio.run(main)


async def _shielded(supervisor: Supervisor) -> None:
    """A cancelled run still ends its workers in good order: see `Run._end`."""
    with trio.CancelScope(shield=True):
        await supervisor.run()


def _named(node_id: str, error: ServiceError) -> ServiceError:
    """An error that says which node it is about."""
    return error if isinstance(error, NodeExecution) else NodeExecution(node_id, str(error))
