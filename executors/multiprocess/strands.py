"""A worker beside replicas, and a replica itself: edges that consist of several rings, each a *strand* of them.

Who writes to replicas deals its data out in turn, who reads from them gets them in the order of their causes (see
`penstock.shm.splitting` and `merging`). A replica has plain edges; it says in each record which input it comes from,
and tells its readers when it is done with one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from penstock.executors.codec import Codec
from penstock.executors.contract import Json, RuntimeData
from penstock.executors.multiprocess.messages import LinkSpec
from penstock.shm.blocking import Receiver, Sender
from penstock.shm.channel import ReceiveEnd
from penstock.shm.merging import Merger
from penstock.shm.record import Kind, Outgoing, Record
from penstock.shm.ring import Ring
from penstock.shm.segment import Segment

__all__ = ["CauseCodec", "Input", "MergedInput", "ReplicaReceiver", "merged", "strands"]

T = TypeVar("T")


def strands(specs: Sequence[LinkSpec], ends: Sequence[T]) -> Iterator[tuple[LinkSpec, Sequence[T]]]:
    """The edges of a worker: the first spec of each, and the ends of its rings, which stand in a row."""
    at = 0
    while at < len(specs):
        spec = specs[at]
        yield spec, ends[at : at + spec.strands]
        at += spec.strands


class Input(Protocol):
    """An input ring of the loop."""

    number: int
    spec: LinkSpec
    port: str | None
    receiver: Receiver
    codec: Codec


class MergedInput:
    """The input rings of an edge behind replicas, as one."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._inputs = inputs
        self.spec: LinkSpec = inputs[0].spec
        self.port: str | None = inputs[0].port
        self.codec: Codec = inputs[0].codec
        causes = [Ring(Segment.attach(one.spec.causes)) for one in inputs]
        self.receiver: Merger[Receiver] = Merger([one.receiver for one in inputs], causes)

    @property
    def number(self) -> int:
        """Of the input ring that the last record came from."""
        return self._inputs[self.receiver.taken].number


def merged(inputs: Sequence[Input]) -> list[Input | MergedInput]:
    """The inputs of a worker, with the rings of each edge behind replicas as one."""
    edges = strands([one.spec for one in inputs], inputs)
    return [ends[0] if spec.strands == 1 else MergedInput(ends) for spec, ends in edges]


class CauseCodec(Codec):
    """The codec of a replica's output: each record says what it comes from.

    That is the input in hand: the next one to be acknowledged. At the end of the stream it is beyond all of them.
    """

    def __init__(self, edge: str, causes: ReceiveEnd) -> None:
        super().__init__(edge)
        self._ring = causes.ring

    def encode(
        self, data: RuntimeData, *, kind: int = Kind.DATA, correlation: int = 0, port: int = 0, params: Json = None
    ) -> Outgoing:
        message = super().encode(data, kind=kind, correlation=correlation, port=port, params=params)
        message.input_sequence = self._ring.acknowledged
        return message


class ReplicaReceiver(Receiver):
    """The input of a replica. Its readers may wait for word that it is done with one, as much as for a record."""

    tells: Sequence[Sender] = ()

    def take(self) -> Record | None:
        """The next message (see `ReceiveEnd.take`); what was discarded before it is done with, too."""
        before = self.ring.acknowledged
        record = super().take()
        if self.ring.acknowledged != before:
            self._tell()
        return record

    def acknowledge(self) -> None:
        super().acknowledge()
        self._tell()

    def _tell(self) -> None:
        """The acknowledgement, or the discard, has fenced its store already."""
        for sender in self.tells:
            sender.wake_reader()
