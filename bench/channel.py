"""`channel`: 4 KiB from a bare `Sender` to a bare `Receiver`, without engine, workers or types, beside a pipe."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from bench import payload
from bench.figures import OURS, Series
from bench.options import Options
from bench.peers import Fd, Peer, pipe
from bench.pipes import PipeRow
from bench.placing import PLACINGS, pin
from penstock.shm.arena import ArenaMap
from penstock.shm.blocking import Receiver, Sender
from penstock.shm.doorbell import Doorbell
from penstock.shm.owner import Owner
from penstock.shm.record import Outgoing
from penstock.shm.ring import Geometry, Ring
from penstock.shm.segment import Segment
from penstock.shm.slab import SlabPool

__all__ = ["ChannelRow", "run"]


def run(options: Options) -> Series:
    """Messages a second, on one core and on two."""
    series = Series("channel")
    count = options.choose(quick=50_000, full=300_000)
    with ChannelRow(payload.SMALL_BYTES, 64) as channel, PipeRow() as row:
        for _ in range(options.choose(quick=3, full=7)):
            for case, places in PLACINGS.items():
                channel.place(*places)
                series.add(case, OURS, "msg/s", channel.rate_hz(count))
                row.place(*places)
                series.add(case, "Pipe", "msg/s", row.rate_hz(count))
    return series


class ChannelRow(ExitStack):
    """A process that sends and one that receives, started once."""

    def __init__(self, nbytes: int, capacity: int) -> None:
        super().__init__()
        owner = self.enter_context(Owner("bench"))
        geometry = Geometry.fitting(capacity)
        ring = owner.create("r0", geometry.segment_bytes, what="the benchmark's ring")
        Ring.format(ring, geometry)
        bells = [self.enter_context(Doorbell.create()) for _ in range(2)]
        fds = tuple(Fd(bell.fileno()) for bell in bells)
        self._orders, orders = pipe()
        self._answers, answers = pipe()
        link = (ring.name, owner.family("a0"))
        self._sender = self.enter_context(Peer(_send, orders, link, fds, nbytes))
        self._receiver = self.enter_context(Peer(_receive, answers, link, fds))

    def place(self, sender: int, receiver: int) -> None:
        pin(self._sender.pid, sender)
        pin(self._receiver.pid, receiver)

    def rate_hz(self, count: int) -> float:
        """Send `count` messages; those after the first tenth are timed, at the receiver."""
        self._orders.send(count)
        self._answers.send(count)
        return float(self._answers.recv())


def _send(orders: Any, link: tuple[str, str], fds: tuple[Fd, Fd], nbytes: int) -> None:
    bell, peer = (Doorbell(fd.number, fd.number) for fd in fds)
    sender = Sender(Ring(Segment.attach(link[0])), SlabPool(link[1]), bell, peer)
    payloads = [payload.make(number, nbytes).data.cast("B") for number in range(payload.CYCLE)]
    while True:
        for number in range(orders.recv()):
            sender.send(Outgoing(payloads[number % payload.CYCLE]))


def _receive(answers: Any, link: tuple[str, str], fds: tuple[Fd, Fd]) -> None:
    peer, bell = (Doorbell(fd.number, fd.number) for fd in fds)
    receiver = Receiver(Ring(Segment.attach(link[0])), ArenaMap(link[1]), bell, peer)
    while True:
        answers.send(_rate(receiver, answers.recv()))


def _rate(receiver: Receiver, count: int) -> float:
    skipped = count // 10
    start_ns = 0
    for number in range(count):
        payload.check(receiver.receive().payload, number)
        receiver.acknowledge()
        if number + 1 == skipped:
            start_ns = time.perf_counter_ns()
    return (count - skipped) / (time.perf_counter_ns() - start_ns) * 1e9
