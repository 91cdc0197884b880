"""A run of a pipeline: everything it starts lives in one `async with`, and is gone when that is left."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any

import trio

from penstock.engine.assembly import Assembly
from penstock.engine.control import changed_params, edges_at_and_behind, node_of
from penstock.engine.edge import EdgeReceiver, NeighbourLost
from penstock.engine.ending import CycleEnding
from penstock.engine.external import ExternalOutput, RunEnded
from penstock.engine.faults import DeadLetter
from penstock.engine.gate import Gate
from penstock.engine.lag import Lag
from penstock.engine.local_task import LocalTask
from penstock.engine.options import RunOptions
from penstock.engine.plan import Cycle, PlannedNode, PlannedPort, edge_named
from penstock.engine.ports import Ports
from penstock.engine.report import Report
from penstock.engine.reporting import edge_report, node_report
from penstock.engine.stall import Stall
from penstock.engine.tap import Tap
from penstock.engine.watch import Watch
from penstock.executors.contract import EndOfStream, NodeExecution, ServiceError
from penstock.executors.multiprocess.faults import open_letter
from penstock.executors.multiprocess.lives import Worker
from penstock.executors.multiprocess.replicas import Replicas

__all__ = ["Run"]


_HURRIED_GRACE_S = 0.5


class Run(Ports):
    """A running pipeline, from `async with pipeline.open() as run:`."""

    def __init__(
        self, assembly: Assembly, options: RunOptions, nursery: trio.Nursery, dead_letters: deque[DeadLetter]
    ) -> None:
        super().__init__(assembly.inputs, assembly.outputs)
        self.dead_letters: deque[DeadLetter] = dead_letters
        """The newest data that nodes with `on_error: dead_letter` failed on; the report has their number."""
        self._assembly = assembly
        self._options = options
        self._nursery = nursery
        self._started_at = trio.current_time()
        self._flowing_at: float | None = None
        self._ended_at: float | None = None
        self._lag = Lag()
        self._unfinished = {node.node_id for node in assembly.plan.nodes}
        self._all_finished = trio.Event()
        self._unkept = set(assembly.outputs)  # outputs that the end has to wait for
        self._all_kept = trio.Event()
        self._gate = Gate()  # for who waits for the end, when it does not come
        self._stopping = self._ending = self._is_over = False
        self._hurry = False  # the grace period has been used, or is not wanted
        self._failure: ServiceError | None = None
        self._watch = Watch(assembly, options.stall_after_s, self._fail)
        self._endings = [self._ending_of(cycle) for cycle in assembly.plan.cycles]
        if not self._unfinished:
            self._all_finished.set()
        if not self._unkept:
            self._all_kept.set()

    # How it ends

    async def wait(self) -> None:
        """Wait until every source and external input has ended and every node has worked everything off.

        Raises:
            RunEnded: the run was given up before that.
            NodeExecution: it has failed: what failed it.
        """
        if self._all_finished.is_set():
            await trio.lowlevel.checkpoint()
            return
        with self._gate.waiting():
            await self._all_finished.wait()

    async def stop(self, grace_s: float | None = None) -> bool:
        """End sources and external inputs, and work off what is in flight; whether that was done in the grace period.

        From here on, external outputs keep what nobody receives, and hold nothing up.

        Args:
            grace_s: in place of the one of the options.
        """
        if not self._is_over:
            self._note_stop()
            for external in self._inputs.values():
                external.stop(RunEnded(f"input {external.name!r}: the run was stopped"))
            self._end_streams()
        with trio.move_on_after(self._options.grace_s if grace_s is None else grace_s):
            with suppress(ServiceError):
                await self._wait_complete()
        self._hurry = not self._is_complete
        return not self._hurry

    async def drain(self) -> None:
        """End sources and external inputs, behind what waits to be sent, and wait until everything is worked off.

        As `stop`, but without a limit, and nobody is turned away who waits to send.

        Raises:
            RunEnded, NodeExecution: as `wait`.
        """
        if not self._is_over:
            self._note_stop()
            self._end_streams()
            for external in self._inputs.values():
                self._nursery.start_soon(external.end)
        await self._wait_complete()

    async def configure(self, node_id: str, /, **params: Any) -> None:
        """Give a node other parameters, between two data: by its `configure`; a function has them with its next datum.

        Raises:
            Validation: there is no such node or parameter, a value is of another type, or the node can not be
                configured. Nothing has changed.
            NodeExecution: its `configure` failed. The run goes on.
        """
        node = node_of(self._assembly.plan, node_id)
        changed = changed_params(node, params)
        if node.in_worker:
            await self._assembly.workers[node_id].configure(changed)
        else:
            await self._assembly.tasks[node_id].configure(changed)

    def interrupt(self, node_id: str) -> None:
        """Make everything stale that is at and behind a node (barge-in): dropped, and counted.

        Data on the edges into the node and on all edges behind it are dropped. A native node that works on such a datum
        is cancelled where it waits (async nodes, generators, and whoever waits for room; who must not be shields itself
        as in any trio program); a thread or a worker comes to the end of its call, a thread's outputs are not taken any
        more. Nodes with an `interrupt` method hear of it before their next datum. What is sent afterwards is new.

        Raises:
            Validation: there is no such node.
        """
        assembly = self._assembly
        for edge in edges_at_and_behind(node_of(assembly.plan, node_id)):
            if edge in assembly.links:
                assembly.links[edge].interrupt()
            if isinstance(edge.target, PlannedPort):
                assembly.receivers[edge].interrupt()
            elif edge.target.in_worker:
                assembly.workers[edge.target.node_id].interrupt()
            else:
                assembly.tasks[edge.target.node_id].interrupt(assembly.receivers[edge])

    def tap(self, edge: str, *, capacity: int = 64, every_s: float = 0.005) -> Tap:
        """See copies of what passes an edge: `async with run.tap("a -> b") as tap`, then `async for data in tap`.

        It holds nothing up: what nobody fetches in time, or what was gone before it was seen, is in `tap.dropped`.

        Args:
            edge: `node.port -> node.port`; ports may be left out where that is clear.
            capacity: data that are kept until they are fetched; beyond that the oldest is dropped.
            every_s: how often an edge between processes is looked at.

        Raises:
            Validation: there is no such edge, or a bound is none.
        """
        return Tap(self._assembly, edge_named(self._assembly.plan.edges, edge), self._nursery, capacity, every_s)

    def abort(self) -> None:
        """End everything at once, with data in flight."""
        if self._is_over:
            return
        self._hurry = self._stopping = True
        self._shut(RunEnded("the run was aborted"))
        self._nursery.cancel_scope.cancel()

    def report(self) -> Report:
        """What has been done so far; after the end, what was done in all."""
        assembly = self._assembly
        flowing_s = 0.0 if self._flowing_at is None else self._now() - self._flowing_at
        nodes = tuple(node_report(assembly, node, flowing_s) for node in assembly.plan.nodes)
        edges = tuple(edge_report(assembly, edge, self._watch.grown.get(edge)) for edge in assembly.plan.edges)
        error = None if self._failure is None else str(self._failure)
        return Report(
            assembly.plan.name,
            self._outcome(),
            self._now() - self._started_at,
            nodes,
            edges,
            error,
            tuple(self.stalls()),
            self._lag.longest_ns / 1e6,
        )

    def stalls(self) -> list[Stall]:
        """The edges on which nothing has moved for `stall_after_s`: who holds what is there, and what he is doing."""
        return [] if self._is_over else self._watch.stalls()

    @property
    def failure(self) -> ServiceError | None:
        """What made the run fail, if anything did."""
        return self._failure

    def _outcome(self) -> str:
        if self._failure is not None:
            return "failed"
        if self._ended_at is None:
            return "running"
        if not self._is_complete:
            return "aborted"
        return "stopped" if self._stopping else "completed"

    @property
    def _is_complete(self) -> bool:
        return self._all_finished.is_set() and self._all_kept.is_set()

    def _fail(self, error: ServiceError) -> None:
        if self._failure is None:
            self._failure = error
        self._shut(self._failure)  # first: whoever waits there is to be told, not only cancelled
        self._nursery.cancel_scope.cancel()

    async def _wait_complete(self) -> None:
        await self.wait()
        if not self._all_kept.is_set():
            with self._gate.waiting():
                await self._all_kept.wait()

    def _is_own(self, raised: BaseException) -> bool:
        """Whether all that came out of the block is what this run has told it: its failure, or that it was aborted."""
        if isinstance(raised, BaseExceptionGroup):
            return all(map(self._is_own, raised.exceptions))
        return raised is self._gate.error or isinstance(raised, trio.Cancelled)

    def _note_stop(self) -> None:
        self._stopping = self._stopping or not self._have_streams_ended()

    def _shut(self, error: ServiceError) -> None:
        """Nothing goes in or comes out any more, and nobody waits for the end."""
        self._gate.shut(error)
        self._shut_ports(error)

    def _end_external(self) -> None:
        """Nothing goes in any more; if everything was worked off, what is still unread can be received."""
        over = RunEnded("the run has ended")
        if not self._is_complete:
            self._shut(over)
        for external in self._inputs.values():
            external.shut(over)

    def _have_streams_ended(self) -> bool:
        """Whether every source and external input has ended by itself, so that there is nothing to stop."""
        if not all(external.has_ended for external in self._inputs.values()):
            return False
        for node in self._assembly.plan.nodes:
            if node.is_source and node.node_id in self._unfinished:
                links = [self._assembly.links.get(edge) for edge in node.edges_out if node.in_worker]
                if not links or not all(link is not None and link.statistics().ended for link in links):
                    return False
        return True

    def _end_streams(self) -> None:
        """Tell the sources to end. What comes out from here on is kept."""
        for node in self._assembly.plan.nodes:
            if node.is_source:
                self._stop_source(node)
        if not self._ending:
            self._ending = True
            for output in self._outputs.values():
                self._nursery.start_soon(self._keep_rest, output)

    async def _keep_rest(self, output: ExternalOutput) -> None:
        try:
            await output.keep_rest()
        except ServiceError as error:
            self._fail(error)
        self._unkept.discard(output.name)
        if not self._unkept:
            self._all_kept.set()

    def _ending_of(self, cycle: Cycle) -> CycleEnding:
        external = [edge.source.name for edge in cycle.feeding if isinstance(edge.source, PlannedPort)]
        inputs = [self._inputs[name].ended for name in external]
        return CycleEnding(cycle, self._assembly.statistics, self._assembly.end_feedback, inputs)

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

    def _measure(self, lag: Lag) -> None:
        """How long the loop does not look, from now on."""
        self._lag = lag
        for task in self._assembly.tasks.values():
            task.lag = lag

    async def _start(self, nursery: trio.Nursery, supervisors: trio.Nursery) -> None:
        """Start the workers side by side; initialize the nodes here; then let data flow, sinks first."""
        workers = self._assembly.workers
        for worker in workers.values():
            supervisors.start_soon(_shielded, worker)
        async with trio.open_nursery() as starting:
            for worker in workers.values():
                starting.start_soon(self._wait_ready, worker)
            for node_id, task in self._assembly.tasks.items():
                try:
                    await task.initialize()
                except ServiceError as error:
                    self._fail(_named(node_id, error))
                    break
        if self._failure is not None:
            await trio.sleep_forever()  # cancelled: see _fail
        nursery.start_soon(self._watch.run)
        for ending in self._endings:
            nursery.start_soon(ending.run)
        self._flowing_at = trio.current_time()
        for node in reversed(self._assembly.plan.nodes):
            if node.in_worker:
                worker = workers[node.node_id]
                nursery.start_soon(self._drive_worker, node, worker)
                await worker.start()
            else:
                nursery.start_soon(self._drive_task, node.node_id, self._assembly.tasks[node.node_id])

    async def _wait_ready(self, worker: Worker | Replicas) -> None:
        try:
            await worker.wait_ready()
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

    async def _drive_worker(self, node: PlannedNode, worker: Worker | Replicas) -> None:
        async with trio.open_nursery() as nursery:
            if node.decl.timeout_s is not None:
                nursery.start_soon(worker.watch_timeout, node.decl.timeout_s)
            async with trio.open_nursery() as letters:
                for receiver in self._assembly.letters.get(node.node_id, ()):
                    letters.start_soon(self._open_letters, node.node_id, receiver)
            await worker.wait_gone()
            nursery.cancel_scope.cancel()
        if worker.failure is not None:
            self._fail(worker.failure)
        elif worker.counters.why == "interrupted" and not self._stopping:
            self._fail(NodeExecution(node.node_id, f"its process (pid {worker.pid}) was told to end by SIGTERM"))
        elif worker.counters.why == "ended":
            self._finished(node.node_id)

    async def _open_letters(self, node_id: str, letters: EdgeReceiver) -> None:
        """Hand on the data that a node in a worker failed on, until there will be none."""
        faults = self._assembly.faults[node_id]
        try:
            while True:
                port, data, error = open_letter(node_id, await letters.receive())
                faults.set_aside(error, data, port)
                letters.acknowledge()
        except (EndOfStream, NeighbourLost):
            return
        except ServiceError as error:
            self._fail(_named(node_id, error))

    async def _end(self) -> None:
        """Clean up the nodes of this process and end the workers, each within the grace period."""
        self._is_over = True
        self._end_external()
        grace_s = min(_HURRIED_GRACE_S, self._options.grace_s) if self._hurry else self._options.grace_s
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for worker in self._assembly.workers.values():
                    nursery.start_soon(worker.stop, grace_s)
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

    def _now(self) -> float:
        """The time; after the end, that of the end."""
        return trio.current_time() if self._ended_at is None else self._ended_at


async def _shielded(worker: Worker | Replicas) -> None:
    """A cancelled run still ends its workers in good order: see `Run._end`."""
    with trio.CancelScope(shield=True):
        await worker.run()


def _named(node_id: str, error: ServiceError) -> ServiceError:
    """An error that says which node it is about."""
    return error if isinstance(error, NodeExecution) else NodeExecution(node_id, str(error))
