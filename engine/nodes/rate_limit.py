"""`rate_limit`: at most so many data a second."""

from __future__ import annotations

from penstock.engine.nodes.params import above_zero, at_least
from penstock.executors.contract import Node, RuntimeData

__all__ = ["RateLimit"]

_MOST_LATE_S = 0.1


class RateLimit(Node):
    """Passes everything on unchanged, `per_s` data a second, after a pause up to `burst` at once.

    The pace does not drift: a datum that the machine let go late does not delay those behind it (up to 0.1 s).
    """

    stateless = True

    def __init__(self, *, per_s: float, burst: int = 1) -> None:
        self._period_s = 1 / above_zero("per_s", per_s)
        at_least("burst", burst, 1)
        self._credit_s = (burst - 1) * self._period_s
        self._due_s = float("-inf")  # when the next datum may go if it uses no burst
        self._late_s = 0.0  # how late the last one went

    async def process(self, data: RuntimeData) -> RuntimeData:
        import trio  # only where the node runs: a worker without async nodes does not load it

        due_s = max(self._due_s, trio.current_time() - self._late_s)
        self._due_s = due_s + self._period_s
        go_s = due_s - self._credit_s
        await trio.sleep_until(go_s)
        self._late_s = min(max(trio.current_time() - go_s, 0.0), _MOST_LATE_S)
        return data
