"""The ends of an edge as a node of this process sees them: a bounded channel here, or a ring to another process."""

from __future__ import annotations

from time import monotonic_ns
from typing import Protocol

import trio

from penstock.executors.codec import Codec
from penstock.executors.contract import EndOfStream, RuntimeData, ServiceError
from penstock.executors.histogram import Histogram, Pace
from penstock.executors.translate import contract_error
from penstock.shm.errors import EndOfChannel, PeerLost, SharedMemoryError
from penstock.shm.record import Field, Outgoing, Record
from penstock.shm.trio_channel import TrioReceiver, TrioSender
from penstock.shm.trio_strands import TrioMerger, TrioSplitter

__all__ = [
    "EdgeFailed",
    "EdgeReceiver",
    "NeighbourLost",
    "RingReceiverEnd",
    "RingSenderEnd",
]


class NeighbourLost(Exception):
    """The process at the other end is gone; its supervisor says why."""


class EdgeFailed(ServiceError):
    """Something went wrong on an edge, whose name is in the text; the cause says what it is."""

    def __init__(self, edge: str, cause: ServiceError) -> None:
        super().__init__(cause.message if edge in cause.message else f"edge {edge}: {cause.message}")
        self.__cause__: BaseException | None = cause


class EdgeReceiver(Protocol):
    """Where a node's data come from.

    Attributes:
        queueing: how old data were when they were taken.
    """

    queueing: Histogram

    async def receive(self) -> RuntimeData:
        """The next datum; raises `EndOfStream`."""
        ...

    def receive_nowait(self) -> RuntimeData:
        """The next datum; raises `EndOfStream`, or `trio.WouldBlock` while there is none."""
        ...

    def acknowledge(self) -> None:
        """The oldest datum is done with."""
        ...

    def interrupt(self) -> None:
        """What is on the edge, and what was taken from it and is not done with, is stale."""
        ...

    @property
    def is_stale(self) -> bool:
        """Whether the oldest datum that was taken is: to be acknowledged and not to be worked on."""
        ...


class RingSenderEnd:
    """The end of an edge into a worker."""

    def __init__(self, sender: TrioSender | TrioSplitter) -> None:
        self.name: str = sender.name
        self._sender = sender

    async def send(self, message: Outgoing) -> None:
        """Publish a message, which other edges may carry too, waiting for room.

        Raises:
            NeighbourLost: the worker is gone.
            EdgeFailed: there was no room in time, or no memory, or the other side wrote nonsense.
        """
        try:
            await self._sender.send(message)
        except PeerLost:
            raise NeighbourLost from None
        except SharedMemoryError as error:
            known = contract_error(error, self.name)
            raise EdgeFailed(self.name, known) from known

    def has_room(self, nbytes: int) -> bool:
        """Whether `put` may be called: nobody would have to wait."""
        return self._sender.ready(nbytes)

    def put(self, message: Outgoing) -> None:
        """Publish a message, where `has_room` said so.

        Raises:
            NeighbourLost: the worker is gone.
            EdgeFailed: there was no memory, or the other side wrote nonsense.
        """
        try:
            self._sender.send_nowait(message)
        except PeerLost:
            raise NeighbourLost from None
        except SharedMemoryError as error:
            known = contract_error(error, self.name)
            raise EdgeFailed(self.name, known) from known

    async def wait_for_room(self, nbytes: int) -> None:
        """Wait until there is room, or `put` would raise.

        Raises:
            EdgeFailed: there was none within the edge's timeout.
        """
        try:
            await self._sender.wait_for_room(nbytes)
        except SharedMemoryError as error:
            known = contract_error(error, self.name)
            raise EdgeFailed(self.name, known) from known

    def end(self) -> None:
        """Nothing follows. Idempotent."""
        self._sender.end()


class RingReceiverEnd:
    """The end of an edge out of a worker."""

    def __init__(self, receiver: TrioReceiver | TrioMerger, codec: Codec) -> None:
        self._receiver = receiver
        self._codec = codec
        self._taken = self._stale = 0
        self.queueing: Histogram = Histogram()
        self._pace = Pace()
        self._count = 0

    async def receive(self) -> RuntimeData:
        """The next datum, waiting for it.

        Raises:
            EndOfStream: there will be none.
            NeighbourLost: there will be none, as the worker is gone.
            IPCError: what stands there makes no sense.
        """
        try:
            record = await self._receiver.receive()
        except EndOfChannel:
            raise EndOfStream from None
        except PeerLost:
            raise NeighbourLost from None
        except SharedMemoryError as error:
            raise contract_error(error, self._receiver.name) from error
        return self._take(record)

    def receive_nowait(self) -> RuntimeData:
        """The next datum.

        Raises:
            trio.WouldBlock: there is none yet.
            EndOfStream, NeighbourLost, IPCError: as `receive`.
        """
        try:
            record = self._receiver.take()
        except EndOfChannel:
            raise EndOfStream from None
        except PeerLost:
            raise NeighbourLost from None
        except SharedMemoryError as error:
            raise contract_error(error, self._receiver.name) from error
        if record is None:
            raise trio.WouldBlock
        return self._take(record)

    def acknowledge(self) -> None:
        """The oldest datum that was received is done with."""
        self._taken -= 1
        self._stale -= self._stale > 0
        self._receiver.acknowledge()

    def interrupt(self) -> None:
        """What was taken is stale; the ring has been told of the rest (see `Link.interrupt`)."""
        self._stale = self._taken
        self._receiver.discard_stale()

    @property
    def is_stale(self) -> bool:
        """Whether the oldest datum that was taken was interrupted."""
        return self._stale > 0

    def _take(self, record: Record) -> RuntimeData:
        self._taken += 1
        self._count = count = self._count + 1
        if count >= self._pace.next:
            age_ns = monotonic_ns() - record.header[Field.PUBLISHED_NS]
            self.queueing.add(max(0, age_ns), self._pace.weight(count))
        return self._codec.decode(record)
