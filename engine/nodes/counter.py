"""`counter`: numbers as JSON, for demonstrations and benchmarks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from itertools import count as integers
from typing import ClassVar

from penstock.engine.nodes.params import at_least
from penstock.executors.contract import Node, RuntimeData

__all__ = ["Counter"]


class Counter(Node):
    """Gives {"n": 0}, {"n": 1} ... {"n": count - 1}, one every `period_s` seconds without drift, or as fast as may be.

    Args:
        count: how many; null goes on until the run is stopped.
        period_s: from one to the next; 0 does not wait.
    """

    stateless = True
    inputs: ClassVar[Mapping[str, str]] = {}
    outputs: ClassVar[Mapping[str, str]] = {"out": "json"}

    def __init__(self, *, count: int | None, period_s: float = 0.0) -> None:
        if count is not None:
            at_least("count", count, 0)
        at_least("period_s", period_s, 0)
        self._count = count
        self._period_s = period_s

    async def produce(self) -> AsyncIterator[RuntimeData]:
        import trio  # only where the node runs: a worker without async nodes does not load it

        start_s = trio.current_time()
        for n in integers() if self._count is None else range(self._count):
            if self._period_s:
                await trio.sleep_until(start_s + n * self._period_s)
            yield RuntimeData.json({"n": n})
