"""ezmsg by its own clients (`GraphContext`): what its Units are made of, without the scheduling of Units above it.

Tuned as its documentation says: `buf_size` so that a message fits and shared memory is used from the first on, few
`num_buffers` for large messages (3: more leave the cache), the default 32 for small ones, and `recv_zero_copy`. Its
sender copies an array into shared memory: there is no way to write one in place.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("EZMSG_LOGLEVEL", "ERROR")
os.environ.setdefault("EZMSG_DISABLE_BACKPRESSURE_WARNING", "1")

from ezmsg.core.graphcontext import GraphContext
from ezmsg.core.graphserver import GraphService
from ezmsg.core.netprotocol import Address

from bench import payload
from bench.rivals.flow import Link, Rival
from bench.roundtrip import time_calls

__all__ = ["RIVALS", "answer", "call"]

_HEADROOM_BYTES = 1 << 16


class _Client:
    """An event loop that runs all the time, as publishers serve those who come later, and a connection to the server.

    The first to come starts the graph server, and leaves its address in the link's folder.
    """

    def __init__(self, link: Link, *, serves: bool = False) -> None:
        self.link = link
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        note = Path(link.folder, "address")
        if serves:
            self.service = GraphService(("127.0.0.1", 0))
            self.server: Any = self.service.create_server()
            note.write_text(str(self.service.address))
        else:
            self.service, self.server = GraphService(Address.from_string(note.read_text())), None
        self.context = GraphContext(self.service.address, auto_start=False)
        self.run(self.context.__aenter__())

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    async def publisher(self, topic: str) -> Any:
        small = self.link.nbytes < _HEADROOM_BYTES
        size = self.link.nbytes + _HEADROOM_BYTES
        return await self.context.publisher(topic, buf_size=size, num_buffers=32 if small else 3, host="127.0.0.1")

    def settle(self) -> None:
        """Let all publishers hear of all subscribers. (`sync` would not do: it pauses the publishers.)"""
        self.run(asyncio.sleep(0.5))

    def close(self) -> None:
        self.run(self.context.__aexit__(None, None, None))
        if self.server is not None:
            self.server.stop()
        self.loop.call_soon_threadsafe(self.loop.stop)


class Sender(_Client):
    def __init__(self, link: Link) -> None:
        super().__init__(link, serves=True)
        self._publisher = self.run(self.publisher("samples"))
        self._given = [payload.make(number, link.nbytes) for number in range(payload.CYCLE)]

    def send(self, count: int) -> None:
        self.run(self._send(count))

    async def _send(self, count: int) -> None:
        broadcast = self._publisher.broadcast
        for number in range(count):
            array = self._given[number % payload.CYCLE]
            if self.link.fresh:
                array = self._given[0]
                array.fill(payload.value_of(number))
            await broadcast(array)


class Receiver(_Client):
    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._subscriber = self.run(self.context.subscriber("samples"))
        self.settle()

    def receive(self, numbers: Iterable[int]) -> None:
        self.run(self._receive(numbers))

    async def _receive(self, numbers: Iterable[int]) -> None:
        receive = self._subscriber.recv_zero_copy
        for number in numbers:
            async with receive() as message:
                payload.check(message, number)


def call(orders: Any, link: Link) -> None:
    """The calling side, in an asyncio program of its own: for a number of calls, the time of each in ns; 0 ends it."""
    client = _Client(link, serves=True)
    publisher = client.run(client.publisher("there"))
    subscriber = client.run(client.context.subscriber("back"))
    message = payload.make(0)

    async def once() -> Any:
        await publisher.broadcast(message)
        async with subscriber.recv_zero_copy() as back:
            return np.array(back)

    orders.send("ready")
    while count := orders.recv():
        orders.send(client.run(time_calls(once, count)))
    client.close()


def answer(ready: Any, link: Link) -> None:
    """x * 2, for the number of calls that it is told, again and again; 0 ends it."""
    client = _Client(link)
    publisher = client.run(client.publisher("back"))
    subscriber = client.run(client.context.subscriber("there"))
    client.settle()

    async def double(count: int) -> None:
        for _ in range(count):
            async with subscriber.recv_zero_copy() as message:
                doubled = message * 2
            await publisher.broadcast(doubled)

    ready.send("ready")
    while count := ready.recv():
        client.run(double(count))
    client.close()


RIVALS = (Rival("ezmsg", "ezmsg", Sender, Receiver),)
