"""pyzmq over `ipc://`: PUSH to PULL, one pair a receiver, so that nothing is dropped.

Tuned as its documentation says: small messages by copy, large ones with `copy=False` from buffers that are not written
again before libzmq has let go of them (a tracker says so), few of them, and a high-water mark of as many for large
messages, so that the bytes stay in the cache. A receiver takes large messages as frames and reads them in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import trio
import zmq

from bench import payload
from bench.rivals.flow import Link, Rival

__all__ = ["RIVALS", "PairCaller", "answer"]

_SMALL = 65536
"""pyzmq's own `copy_threshold`: below it copying is cheaper."""
_BUFFERS = 4


def _address(link: Link, index: int) -> str:
    return f"ipc://{link.folder}/{index}"


class _Ends:
    """A context and its sockets."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.sockets: list[Any] = []

    def socket(self, kind: int, hwm: int) -> Any:
        socket = self.context.socket(kind)
        socket.set_hwm(hwm)
        socket.linger = 0
        self.sockets.append(socket)
        return socket

    def close(self) -> None:
        for socket in self.sockets:
            socket.close()
        self.context.term()


def _high_water(link: Link) -> int:
    return 1000 if link.nbytes < _SMALL else _BUFFERS


class Sender(_Ends):
    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link
        for index in range(link.receivers):
            self.socket(zmq.PUSH, _high_water(link)).bind(_address(link, index))
        self._given = [payload.make(number, link.nbytes) for number in range(payload.CYCLE)]
        self._buffers = [np.empty(link.nbytes // 4, np.float32) for _ in range(_BUFFERS)]

    def send(self, count: int) -> None:
        if self._link.nbytes < _SMALL:
            for number in range(count):
                for socket in self.sockets:
                    socket.send(self._given[number % payload.CYCLE])
        else:
            for frame in self._frames(count):
                for socket in self.sockets:
                    socket.send(frame, copy=False)

    def _frames(self, count: int) -> Iterator[Any]:
        used: list[Any] = [None] * _BUFFERS
        for number in range(count):
            if not self._link.fresh:
                yield zmq.Frame(self._given[number % payload.CYCLE], copy=False)
                continue
            slot = number % _BUFFERS
            if used[slot] is not None:
                used[slot].wait()
            buffer = self._buffers[slot]
            buffer.fill(payload.value_of(number))
            frame = zmq.Frame(buffer, track=True, copy=False)
            used[slot] = frame.tracker
            yield frame


class Receiver(_Ends):
    def __init__(self, link: Link) -> None:
        super().__init__()
        self._small = link.nbytes < _SMALL
        self._socket = self.socket(zmq.PULL, _high_water(link))
        self._socket.connect(_address(link, link.index))

    def receive(self, numbers: Iterable[int]) -> None:
        receive = self._socket.recv
        if self._small:
            for number in numbers:
                payload.check(receive(), number)
        else:
            for number in numbers:
                payload.check(receive(copy=False).buffer, number)


class PairCaller(_Ends):
    """The calling side of a PAIR; its peer runs `answer`."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._socket = self.socket(zmq.PAIR, 1000)
        self._socket.bind(_address(link, 0))
        self._message = payload.make(0)

    async def blocking(self) -> Any:
        self._socket.send(self._message)
        return np.frombuffer(self._socket.recv(), np.float32)

    async def in_trio(self) -> Any:
        """Its descriptor is edge-triggered: look at the events before each wait."""
        self._socket.send(self._message)
        while not self._socket.get(zmq.EVENTS) & zmq.POLLIN:
            await trio.lowlevel.wait_readable(self._socket.get(zmq.FD))
        return np.frombuffer(self._socket.recv(), np.float32)


def answer(ready: Any, link: Link) -> None:
    """x * 2, for the number of calls that it is told, again and again; 0 ends it."""
    ends = _Ends()
    socket = ends.socket(zmq.PAIR, 1000)
    socket.connect(_address(link, 0))
    ready.send("ready")
    while count := ready.recv():
        for _ in range(count):
            socket.send(np.frombuffer(socket.recv(), np.float32) * 2)
    ends.close()


RIVALS = (Rival("pyzmq", "pyzmq", Sender, Receiver),)
