"""A tap: copies of what passes an edge of a running pipeline, which nobody waits for.

An edge inside this process shows each datum to those who watch it. A ring is read along (`shm/tapping`): nobody tells
of news there, so as long as a tap is open, and only then, it looks now and then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from types import TracebackType
from typing import Self

import trio

from penstock.engine.assembly import Assembly
from penstock.engine.external import RunEnded
from penstock.engine.local_edge import LocalEdge
from penstock.engine.plan import PlannedEdge
from penstock.executors.codec import Codec
from penstock.executors.contract import RuntimeData, Validation
from penstock.executors.multiprocess.replicas import links_of
from penstock.shm.record import Field, Record
from penstock.shm.tapping import RingTap

__all__ = ["Tap"]


class Tap(AsyncIterator[RuntimeData]):
    """Copies of what passes an edge while its block lasts, from `async with run.tap("a -> b") as tap:`.

    `async for data in tap` ends with the edge, or the run. It never holds anything up: of data that nobody fetches, the
    newest are kept.
    """

    def __init__(
        self, assembly: Assembly, edge: PlannedEdge, nursery: trio.Nursery, capacity: int, every_s: float
    ) -> None:
        if capacity < 1 or not 0 < every_s < float("inf"):
            raise Validation(f"a tap keeps at least 1 datum and looks in less than for ever: {capacity=}, {every_s=}")
        self.edge: str = edge.name
        self._nursery = nursery
        self._every_s = every_s
        self._codec = Codec(edge.name)
        self._waiting: deque[RuntimeData | Record] = deque(maxlen=capacity)
        self._reader = trio.lowlevel.ParkingLot()
        self._scope = trio.CancelScope()
        self._ended = self._closed = False
        self._dropped = 0
        self._local: LocalEdge | None = assembly.local_edges.get(edge)
        self._rings: list[RingTap] = []
        if self._local is None:
            assert assembly.wiring is not None
            self._rings = [assembly.wiring.tap(link) for link in links_of(assembly.links[edge])]

    @property
    def dropped(self) -> int:
        """Data that passed and can not be had: nobody fetched them in time, or they were gone before they were seen."""
        return self._dropped + sum(ring.lost for ring in self._rings)

    async def receive(self) -> RuntimeData:
        """The next datum.

        Raises:
            trio.EndOfChannel: there will be none.
            IPCError: what stands in the ring makes no sense.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._waiting:
            if self._ended:
                raise trio.EndOfChannel
            await self._reader.park()
        data = self._waiting.popleft()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return self._codec.decode(data) if isinstance(data, Record) else data

    def see(self, data: RuntimeData) -> None:
        """A datum has passed. A copy of it is kept, as a view of it might hold up whoever it was read from."""
        payload = data.payload
        self._put(data if isinstance(payload, bytes) else replace(data, payload=bytes(payload)))

    def see_end(self) -> None:
        """No datum will pass."""
        self._ended = True
        self._reader.unpark_all()

    def _put(self, data: RuntimeData | Record) -> None:
        self._dropped += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(data)
        self._reader.unpark()

    async def _follow(self) -> None:
        try:
            with self._scope:
                if self._local is not None:
                    await trio.sleep_forever()
                while not all(ring.ended for ring in self._rings):
                    self._look()
                    await trio.sleep(self._every_s)
        finally:
            if not self._closed:  # the run is over: see what passed at last
                self._look()
            self.see_end()

    def _look(self) -> None:
        """Take what has passed up to now; to and from replicas, in the order in which it was sent."""
        passed: list[Record] = []
        for ring, head in [(ring, ring.head) for ring in self._rings]:
            while (record := ring.take(head)) is not None:
                passed.append(record)
        if len(self._rings) > 1:
            passed.sort(key=lambda record: int(record.header[Field.PUBLISHED_NS]))
        for record in passed:
            self._put(record)

    async def __anext__(self) -> RuntimeData:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        if self._nursery.cancel_scope.cancel_called:
            raise RunEnded(f"the tap of edge {self.edge}: the run has ended")
        if self._local is not None:
            self._local.watch(self)
        self._nursery.start_soon(self._follow)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._local is not None:
            self._local.unwatch(self)
        self._closed = True
        self._scope.cancel()
        self.see_end()
        await trio.lowlevel.cancel_shielded_checkpoint()
