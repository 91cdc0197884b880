"""A node with replicas, as the engine has it: its workers as one, and the rings of its edges as one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
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


@dataclass(slots=True)
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

    each: Sequence[Worker]

    @property
    def pid(self) -> int:
        """Of the first."""
        return self.each[0].pid

    @property
    def node_id(self) -> str:
        return self.each[0].node_id

    @property
    def counters(self) -> Counters:
        """What they said at their ends: the sums. Why one has ended counts, if it was not the end of its inputs."""
        said = [worker.counters for worker in self.each]
        whys = {counters.why for counters in said}
        return Counters(
            sum(counters.processed for counters in said),
            sum(counters.busy_ns for counters in said),
            sum(counters.max_rss_kib for counters in said),
            "ended" if whys == {"ended"} else max(whys - {"ended"}),
        )

    @property
    def lives(self) -> Lives:
        """What their deaths have meant, together."""
        all_lives = [worker.lives for worker in self.each]
        return Lives(
            sum(lives.restarts for lives in all_lives),
            sum(lives.redelivered for lives in all_lives),
            sum(lives.state_lost for lives in all_lives),
        )

    @property
    def errors(self) -> int:
        """Data that they failed on, which did not fail the run."""
        return sum(worker.errors for worker in self.each)

    @property
    def failure(self) -> ServiceError | None:
        """Why the first of them failed that did."""
        return next((worker.failure for worker in self.each if worker.failure is not None), None)

    async def run(self) -> None:
        """Start and restart them, until all are done or no other may follow. Never raises."""
        await self._side_by_side(Worker.run)

    async def wait_ready(self) -> None:
        """Wait until all are initialized, or one is not to be (see `Worker.wait_ready`)."""
        await self._side_by_side(Worker.wait_ready)

    async def start(self) -> None:
        """Let them take their inputs."""
        await self._side_by_side(Worker.start)

    async def configure(self, params: Mapping[str, Json]) -> None:
        """Give each other parameters, between two of its data (see `Worker.configure`)."""
        await self._side_by_side(lambda worker: worker.configure(params))

    def interrupt(self) -> None:
        """What they have in hand is stale (see `Worker.interrupt`)."""
        for worker in self.each:
            worker.interrupt()

    async def watch_timeout(self, timeout_s: float) -> None:
        """End those that have one datum in hand for longer (see `Worker.watch_timeout`). Never returns."""
        await self._side_by_side(lambda worker: worker.watch_timeout(timeout_s))

    async def wait_gone(self) -> None:
        """Wait until all are gone, or one of them before it was done."""
        left = set(self.each)

        async def wait(worker: Worker) -> None:
            await worker.wait_gone()
            left.discard(worker)
            if not left or worker.failure is not None or worker.counters.why != "ended":
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for worker in self.each:
                nursery.start_soon(wait, worker)

    def end_stream(self) -> None:
        """Nothing: replicas are no sources."""

    async def stop(self, grace_s: float | None = None) -> None:
        """End them, side by side (see `Worker.stop`)."""
        await self._side_by_side(lambda worker: worker.stop(grace_s))

    async def _side_by_side(self, call: Callable[[Worker], Awaitable[None]]) -> None:
        """Do the same with each; the first error ends it, bare."""
        errors: list[NodeExecution] = []

        async def one(worker: Worker) -> None:
            try:
                await call(worker)
            except NodeExecution as error:
                errors.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for worker in self.each:
                nursery.start_soon(one, worker)
        if errors:
            raise errors[0]
