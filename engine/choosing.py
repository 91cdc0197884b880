"""Taking turns at a node that says which of its inputs it can use next."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio

from penstock.executors.host import NodeHost, wants_nothing

__all__ = ["Choosing"]


class Choosing:
    """Lets one of several inputs have its turn at the node: one that the node `wants`.

    The others keep what they have received, which is not acknowledged before: so their edges fill, and hold up who
    writes them.
    """

    def __init__(self, host: NodeHost, ports: Iterable[str]) -> None:
        """Begin with the port of each edge."""
        self._host = host
        self._open = Counter(ports)
        self._changed = trio.Condition()

    @asynccontextmanager
    async def turn(self, port: str) -> AsyncIterator[None]:
        """Wait until the node wants a datum of this port, and have it alone meanwhile.

        Raises:
            NodeExecution: it wants nothing at all, and so will never go on.
        """
        async with self._changed:
            while not self._wants(port):
                if not any(map(self._wants, self._open)):
                    raise wants_nothing(self._host.ctx.node_id, self._open)
                await self._changed.wait()
            yield
            self._changed.notify_all()

    @asynccontextmanager
    async def end(self, port: str) -> AsyncIterator[bool]:
        """An edge into this port has ended; whether it was the last. The node is had alone meanwhile."""
        async with self._changed:
            self._open[port] -= 1
            if not self._open[port]:
                del self._open[port]
            yield port not in self._open
            self._changed.notify_all()

    @property
    def is_busy(self) -> bool:
        """Whether somebody has the node."""
        return self._changed.locked()

    def _wants(self, port: str) -> bool:
        return self._host.wants is None or self._host.wants(port)
