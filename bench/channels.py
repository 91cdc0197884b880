"""A bare `Sender` for each of some bare `Receiver`s, each in a process of its own: no engine, no nodes, no types."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median
from typing import Any

import numpy as np

from bench import payload
from bench.peers import Fd, Peer, pipe
from bench.placing import pin
from bench.timed import Timed
from penstock.shm.arena import ArenaMap
from penstock.shm.blocking import Receiver, Sender
from penstock.shm.channel import EdgeOptions
from penstock.shm.doorbell import Doorbell
from penstock.shm.owner import Owner
from penstock.shm.record import Outgoing
from penstock.shm.ring import Geometry, Ring
from penstock.shm.segment import Segment
from penstock.shm.slab import SlabPool

__all__ = ["Channels"]

BURST = 4
"""Messages that are sent in one go when the sender's own time is asked for: fewer than any capacity."""


class Channels(ExitStack):
    """A process that sends every message to all of the others, which receive; started once."""

    def __init__(self, nbytes: int, capacity: int, receivers: int = 1) -> None:
        super().__init__()
        owner = self.enter_context(Owner("bench"))
        geometry = Geometry.fitting(capacity)
        rings = [owner.create(f"r{lane}", geometry.segment_bytes, what="a ring") for lane in range(receivers)]
        for ring in rings:
            Ring.format(ring, geometry)
        bells = [self.enter_context(Doorbell.create()) for _ in range(receivers + 1)]
        sender_bell, *reader_bells = (Fd(bell.fileno()) for bell in bells)
        family = owner.family("a0")
        self._orders, orders = pipe()
        ends = [(ring.name, bell) for ring, bell in zip(rings, reader_bells, strict=True)]
        self._sender = self.enter_context(Peer(_send, orders, family, sender_bell, ends, nbytes))
        self._answers: list[Any] = []
        self._receivers: list[Peer] = []
        for lane, (ring_name, bell) in enumerate(ends):
            ours, theirs = pipe()
            self._answers.append(ours)
            link = (ring_name, family, lane)
            self._receivers.append(self.enter_context(Peer(_receive, theirs, link, bell, sender_bell)))

    def place(self, sender: int | None, receivers: int | None) -> None:
        """Pin the sender, and all the receivers; None: they run free."""
        pin(self._sender.pid, sender)
        for peer in self._receivers:
            pin(peer.pid, receivers)

    def rate_hz(self, count: int, *, in_place: bool = False) -> float:
        """Send `count` messages at full speed; those after the first tenth are timed, at the slowest receiver.

        Args:
            count: messages to each receiver.
            in_place: write each anew into shared memory and publish it there, instead of copying a given one.
        """
        self._order(count, "in place" if in_place else "copies")
        return min(float(answers.recv()) for answers in self._answers)

    def send_us(self, bursts: int) -> float:
        """The sender's own time for a message to all receivers: the median of bursts with room for all of them."""
        self._order(bursts * BURST, "bursts")
        taken_us = float(self._orders.recv())
        for answers in self._answers:
            answers.recv()
        return taken_us

    def _order(self, count: int, way: str) -> None:
        self._orders.send((count, way))
        for answers in self._answers:
            answers.send(count)


def _send(orders: Any, family: str, own: Fd, ends: list[tuple[str, Fd]], nbytes: int) -> None:
    pool, bell = SlabPool(family), Doorbell(own.number, own.number)
    senders = [
        Sender(Ring(Segment.attach(name)), pool, bell, Doorbell(fd.number, fd.number), EdgeOptions(lane=lane))
        for lane, (name, fd) in enumerate(ends)
    ]
    payloads = [payload.make(number, nbytes).data.cast("B") for number in range(payload.CYCLE)]

    def written(number: int) -> memoryview:
        array = pool.claim(nbytes)
        array.view(np.float32).fill(payload.value_of(number))
        return array.data

    while True:
        count, way = orders.recv()
        if way == "bursts":
            orders.send(_bursts(senders, payloads, count))
        elif way == "in place":
            _all(senders, map(written, range(count)))
        else:
            _all(senders, (payloads[number % payload.CYCLE] for number in range(count)))


def _all(senders: list[Sender], payloads: Iterator[memoryview]) -> None:
    if len(senders) == 1:
        send = senders[0].send
        for each in payloads:
            send(Outgoing(each))
    else:
        for each in payloads:
            _to_each([sender.send for sender in senders], each)


def _to_each(sends: list[Callable[[Outgoing], None]], each: memoryview) -> None:
    message = Outgoing(each)
    for send in sends:
        send(message)


def _bursts(senders: list[Sender], payloads: list[memoryview], count: int) -> float:
    """Microseconds a message. Between two bursts the receivers get the time to read and to fall asleep."""
    sends = [sender.send for sender in senders]
    taken_ns = []
    for first in range(0, count, BURST):
        start_ns = time.perf_counter_ns()
        for number in range(first, first + BURST):
            _to_each(sends, payloads[number % payload.CYCLE])
        taken_ns.append((time.perf_counter_ns() - start_ns) / BURST)
        while any(sender.ring.ring.statistics().in_flight for sender in senders):
            time.sleep(0.0005)
    return median(taken_ns) / 1000


def _receive(answers: Any, link: tuple[str, str, int], own: Fd, peer: Fd) -> None:
    name, family, lane = link
    bells = (Doorbell(fd.number, fd.number) for fd in (own, peer))
    receiver = Receiver(Ring(Segment.attach(name)), ArenaMap(family), *bells, EdgeOptions(lane=lane))
    while True:
        answers.send(_rate(receiver, answers.recv()))


def _rate(receiver: Receiver, count: int) -> float:
    timed = Timed(count)
    for number in timed:
        payload.check(receiver.receive().payload, number)
        receiver.acknowledge()
    return timed.rate_hz
