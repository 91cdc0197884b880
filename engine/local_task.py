"""Drives a node of this process: takes from its input edges, lets it work, puts into its output edges."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from penstock.engine.choosing import Choosing
from penstock.engine.edge import EdgeReceiver, RingSenderEnd
from penstock.engine.faults import Faults
from penstock.engine.lag import Lag
from penstock.engine.local_edge import LocalEdge
from penstock.executors.codec import Codec
from penstock.executors.contract import EndOfStream, NodeExecution, RuntimeData
from penstock.executors.histogram import LONG_NS, Histogram, Pace
from penstock.executors.local import LocalNode

__all__ = ["LocalTask", "Outputs"]

_TOO_LONG_NS = 100_000_000


class Outputs:
    """Everything that is connected to one output port."""

    def __init__(self, codec: Codec) -> None:
        self.edges: list[LocalEdge] = []
        self.rings: list[RingSenderEnd] = []
        self._codec = codec

    async def send(self, data: RuntimeData) -> None:
        """Send a datum along every edge; what goes into shared memory is encoded, and written if large, once."""
        for edge in self.edges:
            await edge.send(data)
        if self.rings:
            message = self._codec.encode(data)
            for ring in self.rings:
                await ring.send(message)

    def offer(self, data: RuntimeData) -> bool:
        """Send a datum along every edge without waiting, or along none; whether there was room on all of them."""
        nbytes = data.nbytes
        if not all(edge.has_room(nbytes) for edge in self.edges):
            return False
        if self.rings:
            message = self._codec.encode(data)
            if not all(ring.has_room(message.nbytes) for ring in self.rings):
                return False
            for ring in self.rings:  # first, as they may fail
                ring.put(message)
        for edge in self.edges:
            edge.put(data)
        return True

    async def wait_for_room(self, data: RuntimeData) -> None:
        """Wait until `offer` would send it: only who sends takes room away."""
        for edge in self.edges:
            await edge.wait_for_room(data.nbytes)
        if self.rings:
            nbytes = self._codec.encode(data).nbytes
            for ring in self.rings:
                await ring.wait_for_room(nbytes)

    def end(self) -> None:
        for edge in self.edges:
            edge.end()
        for ring in self.rings:
            ring.end()


class LocalTask:
    """One node of this process.

    Attributes:
        processed: data given to it; by a source, made by it.
        busy_ns: time in the node, without waiting for room on its outputs.
        faults: what it failed on.
        processing: how long its calls took.
        lag: of the loop that it runs in.
        longest_hold_ns: for how long it has held that loop at most.
    """

    def __init__(
        self,
        node: LocalNode,
        inputs: list[tuple[str, EdgeReceiver]],
        outputs: Mapping[str, Outputs],
        faults: Faults,
    ) -> None:
        self._node = node
        self.faults: Faults = faults
        self._deadline: trio.CancelScope | None = None  # of the call in hand, where calls have a timeout
        self._inputs = inputs
        self._outputs = outputs
        self._source_scope = trio.CancelScope()
        host = node.host
        chooses = host.wants is not None or host.ended is not None
        self._choosing = Choosing(host, [port for port, _ in inputs]) if chooses else None
        self._turn = trio.Lock() if len(inputs) > 1 else None
        self._emitting = self._stop_after_emit = False
        self._emit_ns = 0
        self._initialized = False
        self._scopes: dict[EdgeReceiver, trio.CancelScope] = {}
        self._unheard = False  # an interrupt that the node does not know of yet
        self._in_call = False
        self._held: trio.Event | None = None  # the node is being configured: it gets no datum meanwhile
        self._line = trio.Lock()  # of those who want to have it alone
        self._between = trio.lowlevel.ParkingLot()
        self.processed: int = 0
        self.busy_ns: int = 0
        self.processing: Histogram = Histogram()
        self._pace = Pace()
        self._next_noted = self._pace.next
        self.lag: Lag = Lag()
        self.longest_hold_ns: int = 0
        self._resumed_ns = 0  # since when the node computes, or waits for something of its own

    async def initialize(self) -> None:
        await self._node.initialize()
        self._initialized = True

    async def run(self) -> None:
        """Work until the inputs, or the source, have ended; flush; end the outputs."""
        if self._node.host.is_source:
            with self._source_scope:
                await self._timed_produce()
        elif len(self._inputs) == 1 and self._choosing is None:
            port, edge = self._inputs[0]
            await self._consume(port, edge)
        else:
            await self._consume_all()
        await self._node.flush(self._emit)
        for outputs in self._outputs.values():
            outputs.end()

    async def cleanup(self) -> None:
        """Clean the node up, once, if it was initialized."""
        if self._initialized:
            self._initialized = False
            await self._node.cleanup()

    @property
    def is_busy(self) -> bool:
        """Whether it works on one of several inputs, while it listens to the others."""
        if self._choosing is not None:
            return self._choosing.is_busy
        return self._turn is not None and self._turn.locked()

    def stop_producing(self) -> None:
        """End a source's stream between two data; for any other node nothing happens."""
        self._stop_after_emit = True
        if not self._emitting:
            self._source_scope.cancel()

    def interrupt(self, edge: EdgeReceiver) -> None:
        """What stands on this one of its edges, and what the node has in hand from it, is stale."""
        edge.interrupt()
        self._unheard = True
        if self._node.in_thread:  # it can not be stopped, only not be listened to
            if edge.is_stale:
                self._node.give_up()
        elif edge in self._scopes:
            self._scopes[edge].cancel()

    async def configure(self, params: Mapping[str, Any]) -> None:
        """Give the node other parameters, between two data; a source at once, as it waits for its next one.

        Raises:
            NodeExecution: its `configure` failed.
        """
        async with self._alone():
            await self._node.configure(params)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Have the node between two data."""
        async with self._line:
            self._held = trio.Event()  # first: else the next call may have begun before it is our turn, again and again
            try:
                while self._in_call:
                    await self._between.park()
                yield
            finally:
                self._held.set()
                self._held = None

    async def _consume(self, port: str, edge: EdgeReceiver) -> None:
        while True:
            with trio.CancelScope() as self._scopes[edge]:
                await self._consume_to_the_end(port, edge)
                break
            while edge.is_stale:  # interrupted, with a datum in hand
                edge.acknowledge()
            await self._tell_of_interrupt()
        if self._choosing is not None:
            async with self._choosing.end(port) as is_last:
                if is_last:
                    await self._node.ended(port, self._emit)

    async def _consume_to_the_end(self, port: str, edge: EdgeReceiver) -> None:
        while True:
            try:
                data = await edge.receive()
            except EndOfStream:
                return
            if self._choosing is not None:  # it says what it wants next: others are kept back until it does
                async with self._choosing.turn(port):
                    await self._process(data, port, edge)
            elif self._turn is None:
                await self._process(data, port, edge)
            else:
                async with self._turn:
                    await self._process(data, port, edge)
            del data  # a view in it must not outlive its acknowledgement by our doing
            edge.acknowledge()

    async def _tell_of_interrupt(self) -> None:
        """Let the node throw away what it holds back of the stale data, before it gets a new one."""
        if self._unheard:
            self._unheard = False
            async with self._alone():
                await self._node.interrupt()

    async def _consume_all(self) -> None:
        """Take from several edges as they come; the node works on one datum at a time."""
        errors: list[Exception] = []

        async def consume(port: str, edge: EdgeReceiver) -> None:
            try:
                await self._consume(port, edge)
            except Exception as error:  # told after the nursery, which would wrap it
                errors.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for port, edge in self._inputs:
                nursery.start_soon(consume, port, edge)
        if errors:
            raise errors[0]

    async def _process(self, data: RuntimeData, port: str, edge: EdgeReceiver) -> None:
        while self._held is not None:
            await self._held.wait()
        if self._unheard and self._node.in_thread:
            await self._tell_of_interrupt()
        if edge.is_stale:
            return
        start = self._resumed_ns = time.perf_counter_ns()
        waited = self._emit_ns
        self._in_call = True
        try:
            if self.faults.timeout_s is None:
                await self._node.process(data, self._emit, port)
            else:
                await self._process_in_time(data, port, self.faults.timeout_s)
        except NodeExecution as error:
            self.faults.take(error, data, port)
        finally:
            self._in_call = False
            self._between.unpark_all()
        took_ns = time.perf_counter_ns() - start - (self._emit_ns - waited)
        self.busy_ns += took_ns
        self.processed = processed = self.processed + 1
        if took_ns > LONG_NS or processed >= self._next_noted:
            self._note(took_ns)

    def _note(self, took_ns: int) -> None:
        """Put a call into the histogram (see `histogram`: what it stands for, and why that is right)."""
        weight = 1
        if self.processed >= self._next_noted:
            weight = self._pace.weight(self.processed)
            self._next_noted = self._pace.next
        self.processing.add(took_ns, 1 if took_ns > LONG_NS else weight)
        self._note_hold(time.perf_counter_ns())

    def _note_hold(self, now_ns: int) -> None:
        """See whether it has held the loop: it has if it was resumed in the same round, and not in an earlier one."""
        held_ns = now_ns - self._resumed_ns
        if held_ns > self.longest_hold_ns and self._resumed_ns >= self.lag.round_ns:
            if held_ns > _TOO_LONG_NS >= self.longest_hold_ns:
                logging.getLogger("penstock").warning(
                    "node %r held the loop of this process for %.0f ms, and everything in it stood still: give it "
                    "`thread: true`, or `executor: multiprocess`",
                    self._node.node_id,
                    held_ns / 1e6,
                )
            self.longest_hold_ns = held_ns

    async def _process_in_time(self, data: RuntimeData, port: str, timeout_s: float) -> None:
        try:
            with trio.move_on_after(timeout_s) as self._deadline:
                await self._node.process(data, self._emit, port)
                return
        finally:
            self._deadline = None
        raise self.faults.too_slow()

    async def _timed_produce(self) -> None:
        start = self._resumed_ns = time.perf_counter_ns()
        try:
            await self._node.produce(self._emit_produced)
        finally:
            self.busy_ns = time.perf_counter_ns() - start - self._emit_ns

    async def _emit_produced(self, port: str, data: RuntimeData) -> None:
        self._emitting = True  # a stop in the middle would send to some edges of a fan-out and not to others
        await self._emit(port, data)
        self._emitting = False
        self.processed += 1
        if self._stop_after_emit:
            self._source_scope.cancel()

    async def _emit(self, port: str, data: RuntimeData) -> None:
        outputs = self._outputs.get(port)
        if outputs is None:  # nothing is connected to this port; a source must let the others run all the same
            await trio.lowlevel.checkpoint()
            return
        if self._deadline is not None:
            await self._emit_beside_deadline(outputs, data, self._deadline)
            self._resumed_ns = time.perf_counter_ns()
            return
        start = time.perf_counter_ns()
        if start - self._resumed_ns > LONG_NS:
            self._note_hold(start)
        try:
            await outputs.send(data)
        finally:
            self._resumed_ns = now = time.perf_counter_ns()
            self._emit_ns += now - start

    async def _emit_beside_deadline(self, outputs: Outputs, data: RuntimeData, deadline: trio.CancelScope) -> None:
        """The wait for room is not the node's: its deadline stands still meanwhile."""
        start = trio.current_time()
        due, deadline.deadline = deadline.deadline, float("inf")
        try:
            await outputs.send(data)
        finally:
            waited_s = trio.current_time() - start
            deadline.deadline = due + waited_s
            self._emit_ns += int(waited_s * 1e9)
