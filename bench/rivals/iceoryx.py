"""iceoryx2: publish and subscribe on slices of float32, in shared memory.

Tuned as its documentation says: samples are loaned and written in place, the service does not overflow (a publisher
that finds no room retries until it is delivered), buffers are as deep as our edges. *Blocking*: an event service beside
it, notified after every sample, on which the receiver waits when it has none. *Busy poll*: the receiver asks again and
again, which takes a whole core, so there is no such thing on one core.

A listener has no descriptor in Python, so it can not be awaited in trio.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import iceoryx2
import numpy as np

from bench import payload
from bench.rivals.flow import Link, Rival

__all__ = ["RIVALS", "Caller", "answer"]

_DEPTH = {payload.SMALL_BYTES: 64}
_FEW = 4
"""Samples in a subscriber's buffer when they are large: few, so that they stay in the cache."""


class _Node:
    """A node whose files are all in the link's folder, or have its name."""

    def __init__(self, link: Link) -> None:
        iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
        self.link = link
        self.elements = link.nbytes // 4
        self.array_type = ctypes.c_float * self.elements
        config = iceoryx2.config.default()
        config.global_cfg.root_path = iceoryx2.Path.new(link.folder)
        config.global_cfg.prefix = iceoryx2.FileName.new(Path(link.folder).name + "_")
        builder = iceoryx2.NodeBuilder.new().config(config)
        builder = builder.signal_handling_mode(iceoryx2.SignalHandlingMode.Disabled)
        self.node = builder.create(iceoryx2.ServiceType.Ipc)
        self.ports: list[Any] = []

    def service(self, name: str) -> Any:
        builder = self.node.service_builder(iceoryx2.ServiceName.new(name))
        builder = builder.publish_subscribe(iceoryx2.Slice[ctypes.c_float]).enable_safe_overflow(False)
        depth = _DEPTH.get(self.link.nbytes, _FEW)
        return builder.subscriber_max_buffer_size(depth).max_subscribers(8).open_or_create()

    def publisher(self, name: str) -> Any:
        builder = self.service(name).publisher_builder().initial_max_slice_len(self.elements)
        return self._kept(builder.backpressure_strategy(iceoryx2.BackpressureStrategy.RetryUntilDelivered).create())

    def subscriber(self, name: str) -> Any:
        return self._kept(self.service(name).subscriber_builder().create())

    def notifier(self, name: str) -> Any:
        return self._kept(self._events(name).notifier_builder().create())

    def listener(self, name: str) -> Any:
        return self._kept(self._events(name).listener_builder().create())

    def _events(self, name: str) -> Any:
        return self.node.service_builder(iceoryx2.ServiceName.new(name)).event().open_or_create()

    def _kept(self, port: Any) -> Any:
        self.ports.append(port)
        return port

    def close(self) -> None:
        for port in self.ports:
            port.delete()

    def view(self, sample: Any) -> Any:
        return np.frombuffer(self.array_type.from_address(sample.payload_ptr), np.float32)


class Sender(_Node):
    def __init__(self, link: Link, *, busy: bool) -> None:
        super().__init__(link)
        self._publisher = self.publisher("samples")
        self._notifier = None if busy else self.notifier("news")
        self._given = [payload.make(number, link.nbytes) for number in range(payload.CYCLE)]

    def send(self, count: int) -> None:
        loan, nbytes = self._publisher.loan_slice_uninit, self.link.nbytes
        notify = None if self._notifier is None else self._notifier.notify
        addresses = [given.ctypes.data for given in self._given]
        for number in range(count):
            sample = loan(self.elements)
            if self.link.fresh:
                self.view(sample).fill(payload.value_of(number))
            else:
                ctypes.memmove(sample.payload_ptr, addresses[number % payload.CYCLE], nbytes)
            sample.assume_init().send()
            if notify is not None:
                notify()


class Receiver(_Node):
    def __init__(self, link: Link, *, busy: bool) -> None:
        super().__init__(link)
        self._subscriber = self.subscriber("samples")
        self._listener = None if busy else self.listener("news")

    def receive(self, numbers: Iterable[int]) -> None:
        receive = self._subscriber.receive
        wait = None if self._listener is None else self._listener.blocking_wait
        for number in numbers:
            while (sample := receive()) is None:
                if wait is not None:
                    wait()
            payload.check(self.view(sample), number)
            sample.delete()


class _Turn(_Node):
    """A side of a round trip: sends on one service, receives on another."""

    def __init__(self, link: Link, out: str, back: str, *, busy: bool) -> None:
        super().__init__(link)
        self._publisher, self._subscriber = self.publisher(out), self.subscriber(back)
        self._notifier, self._listener = (None, None) if busy else (self.notifier(out), self.listener(back))

    def send(self, array: Any) -> None:
        sample = self._publisher.loan_slice_uninit(self.elements)
        ctypes.memmove(sample.payload_ptr, array.ctypes.data, self.link.nbytes)
        sample.assume_init().send()
        if self._notifier is not None:
            self._notifier.notify()

    def double(self) -> None:
        """Answer one message, in place."""
        sample, back = self.next(), self._publisher.loan_slice_uninit(self.elements)
        np.multiply(self.view(sample), 2, out=self.view(back))
        sample.delete()
        back.assume_init().send()
        if self._notifier is not None:
            self._notifier.notify()

    def next(self) -> Any:
        while (sample := self._subscriber.receive()) is None:
            if self._listener is not None:
                self._listener.blocking_wait()
        return sample


class Caller(_Turn):
    """The calling side; its peer runs `answer`."""

    def __init__(self, link: Link, *, busy: bool) -> None:
        super().__init__(link, "there", "back", busy=busy)
        self._message = payload.make(0)

    async def once(self) -> Any:
        self.send(self._message)
        sample = self.next()
        answer = self.view(sample).copy()
        sample.delete()
        return answer


def answer(ready: Any, link: Link, busy: bool) -> None:
    """x * 2, for the number of calls that it is told, again and again; 0 ends it."""
    turn = _Turn(link, "back", "there", busy=busy)
    ready.send("ready")
    while count := ready.recv():
        for _ in range(count):
            turn.double()
    turn.close()


def _rival(name: str, *, busy: bool) -> Rival:
    return Rival(name, "iceoryx2", functools.partial(Sender, busy=busy), functools.partial(Receiver, busy=busy))


RIVALS = (_rival("iceoryx2, blocking", busy=False), _rival("iceoryx2, busy poll", busy=True))
