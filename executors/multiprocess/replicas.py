"""A node with replicas, as the engine has it: its workers as one, and the rings of its edges as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import trio

from penstock.executors.contract import Json, NodeExecution, ServiceError
from penstock.executors.multiprocess.lives import Lives, Worker
from penstock.executors.multiprocess.supervisor import Counters
from penstock.executors.multiprocess.wiring import Link, Wiring
from penstock.shm.ring import RingStatistics
from penstock.shm.trio_channel import TrioReceiver, TrioSender
from penstock.shm.trio_strands import TrioMerger, TrioSplitter

__all__ = ["Replicas", "Strands", "links_of", "receiver_of", "sender_of"]


@dataclass(frozen=True, slots=True)
class Strands:
    """The rings of an edge to or from replicas, one for each, to be used like a `Link`.

    Attributes:
        links: in the order of the replicas.
        inputs: behind replicas, the links that their inputs come by; empty of an edge to them.
    """

    links: Sequence[Link]
    inputs: Sequence[Link] = ()

    def statistics(self) -> RingStatistics:
        """The sums. Replicas wait for data when all of them do."""
        each = [link.statistics() for link in self.links]
        return RingStatistics(
            sum(one.capacity for one in each),
            sum(one.sent for one in each),
            sum(one.received for one in each),
            sum(one.dropped for one in each),
            sum(one.in_flight for one in each),
            sum(one.sent_bytes for one in each),
            all(one.ended for one in each),
            any(one.writer_waiting for one in each),
            (any if self.inputs else all)(one.reader_waiting for one in each),
            any(one.writer_lost for one in each),
            any(one.reader_lost for one in each),
        )

    def grow(self) -> int:
        """Let each of them hold twice as much (see `Link.grow`). The new capacity."""
        return sum(link.grow() for link in self.links)

    def interrupt(self) -> None:
        """What nobody has taken yet is stale (see `Link.interrupt`)."""
        for link in self.links:
            link.interrupt()


def links_of(link: Link | Strands) -> Sequence[Link]:
    """The rings of an edge."""
    return (link,) if isinstance(link, Link) else link.links


def sender_of(wiring: Wiring, link: Link | Strands) -> TrioSender | TrioSplitter:
    """The engine's end of an edge that it writes."""
    if isinstance(link, Link):
        return wiring.sender(link)
    return TrioSplitter([wiring.sender(one) for one in link.links])


def receiver_of(wiring: Wiring, link: Link | Strands) -> TrioReceiver | TrioMerger:
    """The engine's end of an edge that it reads."""
    if isinstance(link, Link):
        return wiring.receiver(link)
    return TrioMerger([wiring.receiver(one) for one in link.links], [one.ring for one in link.inputs])


@dataclass(slots=True, eq=False)
class Replicas:
    """The workers of a node, to be driven like one `Worker`."""

    workers: Sequence[Worker]

    @property
    def pid(self) -> int:
        """Of the first."""
        return self.workers[0].pid

    @property
    def pids(self) -> tuple[int, ...]:
        """Of all."""
        return tuple(worker.pid for worker in self.workers)

    @property
    def counters(self) -> Counters:
        """What they said at their ends: the sums. Why one has ended counts, if it was not the end of its inputs."""
        each = [worker.counters for worker in self.workers]
        whys = {counters.why for counters in each}
        return Counters(
            sum(counters.processed for counters in each),
            sum(counters.busy_ns for counters in each),
            sum(counters.max_rss_kib for counters in each),
            "ended" if whys == {"ended"} else max(whys - {"ended"}),
        )

    @property
    def lives(self) -> Lives:
        """What their deaths have meant, together."""
        each = [worker.lives for worker in self.workers]
        return Lives(
            sum(lives.restarts for lives in each),
            sum(lives.redelivered for lives in each),
            sum(lives.state_lost for lives in each),
        )

    @property
    def failure(self) -> ServiceError | None:
        """Why the first of them failed that did."""
        return next((worker.failure for worker in self.workers if worker.failure is not None), None)

    @property
    def errors(self) -> int:
        """Data that they failed on, which did not fail the run."""
        return sum(worker.errors for worker in self.workers)

    async def configure(self, params: Mapping[str, Json]) -> None:
        """Give each of them other parameters (see `Worker.configure`)."""
        for worker in self.workers:
            await worker.configure(params)

    def interrupt(self) -> None:
        """What they have in hand is stale (see `Worker.interrupt`)."""
        for worker in self.workers:
            worker.interrupt()

    async def watch_timeout(self, timeout_s: float) -> None:
        """See that none has a datum in hand for too long (see `Worker.watch_timeout`). Never returns."""
        async with trio.open_nursery() as nursery:
            for worker in self.workers:
                nursery.start_soon(worker.watch_timeout, timeout_s)

    async def run(self) -> None:
        """Start and restart them, until all are done or no other may follow. Never raises."""
        async with trio.open_nursery() as nursery:
            for worker in self.workers:
                nursery.start_soon(worker.run)

    async def wait_ready(self) -> None:
        """Wait until all are initialized, or one is not to be (see `Worker.wait_ready`)."""
        errors: list[NodeExecution] = []

        async def wait(worker: Worker) -> None:
            try:
                await worker.wait_ready()
            except NodeExecution as error:
                errors.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for worker in self.workers:
                nursery.start_soon(wait, worker)
        if errors:
            raise errors[0]

    async def start(self) -> None:
        """Let them take their inputs."""
        for worker in self.workers:
            await worker.start()

    async def wait_gone(self) -> None:
        """Wait until all are gone, or one of them before it was done."""
        left = set(self.workers)

        async def wait(worker: Worker) -> None:
            await worker.wait_gone()
            left.discard(worker)
            if not left or worker.failure is not None or worker.counters.why != "ended":
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for worker in self.workers:
                nursery.start_soon(wait, worker)

    def end_stream(self) -> None:
        """Nothing: replicas are no sources."""

    async def stop(self, grace_s: float | None = None) -> None:
        """End them, side by side (see `Worker.stop`)."""
        async with trio.open_nursery() as nursery:
            for worker in self.workers:
                nursery.start_soon(worker.stop, grace_s)
