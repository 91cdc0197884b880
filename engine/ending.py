"""The end of stream in a cycle. No node of it can see the end: each waits for the next one, which waits for it.

So the engine looks. When everything that feeds a cycle has finished, and the edges into the cycle and within it are
empty, nothing will ever come of it any more: its feedback edges are ended, and the end travels round as on any path.

What is looked at moves meanwhile, in other processes. A datum is acknowledged after everything that its node made of
it was sent: so wherever there is work, there is a datum in flight. The engine reads, of every edge: how many were sent;
then whether any is in flight; then again how many were sent. If the counts agree, nothing was sent while it looked for
data in flight, so an edge that was empty when it was looked at stayed so to the end of that reading, and then all were
empty at once: nobody works, and nobody will. (What another process has written is seen in the order in which it was
written: what was sent before the acknowledgement. The fence is for our own reads.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import trio

from penstock.engine.plan import Cycle, PlannedEdge, PlannedNode
from penstock.shm.fence import fence

__all__ = ["CycleEnding", "Flow"]

_FIRST_PAUSE_S = 0.0005
_LONGEST_PAUSE_S = 0.02
"""Between two looks, and only after everything outside has finished: a node may still work on what is in the cycle."""


class Flow(Protocol):
    """What can be seen of an edge."""

    @property
    def sent(self) -> int: ...
    @property
    def in_flight(self) -> int: ...


class CycleEnding:
    """Ends the feedback edges of one cycle when nothing can come any more."""

    def __init__(
        self,
        cycle: Cycle,
        look: Callable[[PlannedEdge], Flow],
        end: Callable[[PlannedEdge], None],
        inputs: Iterable[trio.Event] = (),
    ) -> None:
        """Be told of everything that finishes, and `run`.

        Args:
            cycle: what to end.
            look: reads the counts of an edge.
            end: ends an edge in its writer's place.
            inputs: the ends of the external inputs that feed it.
        """
        self._cycle = cycle
        self._look = look
        self._end = end
        self._inputs = list(inputs)
        self._feeding = {edge.source.node_id for edge in cycle.feeding if isinstance(edge.source, PlannedNode)}
        self._is_fed = trio.Event()
        self.finished("")

    def finished(self, node_id: str) -> None:
        """A node has finished, with everything that it sent."""
        self._feeding.discard(node_id)
        if not self._feeding:
            self._is_fed.set()

    async def run(self) -> None:
        """Wait until everything outside has finished, then for the cycle to become quiet, and end it."""
        await self._is_fed.wait()
        for ended in self._inputs:
            await ended.wait()
        pause_s = _FIRST_PAUSE_S
        while not self._is_quiet():
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        for edge in self._cycle.feedback:
            self._end(edge)

    def _is_quiet(self) -> bool:
        edges = [*self._cycle.feeding, *self._cycle.inner]
        sent = self._sent(edges)
        fence()
        if any(self._look(edge).in_flight for edge in edges):
            return False
        fence()
        return self._sent(edges) == sent

    def _sent(self, edges: Iterable[PlannedEdge]) -> list[int]:
        return [self._look(edge).sent for edge in edges]
