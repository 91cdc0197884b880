"""`zip`: the data of several inputs that belong together, by their order or their time stamps."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

from penstock.engine.nodes.grouping import Grouping
from penstock.engine.nodes.params import at_least, finite
from penstock.executors.contract import RuntimeData, Validation
from penstock.executors.host import outputs

__all__ = ["Zip"]


class Zip(Grouping):
    """Gives data of all inputs that belong together, each on the port that is named as its input.

    By `order`, the n-th datum of each input belongs to the n-th of the others. By `timestamp`, data belong together
    whose time stamps are at most `tolerance_ms` apart, the earliest first; time stamps of an input must not fall.
    A datum whose partner can not come any more goes to the port `unmatched_<input>`.

    What comes out of each port depends on what came into each input, not on when: it takes from an input only when it
    has none of it in hand, so whoever is ahead waits, and a slow input slows the others down.

    Args:
        inputs: the names of the ports, or names with types, as in {frame: tensor, boxes: json}.
        by: what belongs together.
        tolerance_ms: how far apart time stamps of a group may be.
    """

    def __init__(
        self,
        *,
        inputs: list[str] | dict[str, str] | None = None,
        by: Literal["order", "timestamp"] = "order",
        tolerance_ms: float = 0.0,
    ) -> None:
        super().__init__(inputs)
        if by not in {"order", "timestamp"}:
            raise Validation(f"by must be order or timestamp, not {by}")
        if tolerance_ms and by == "order":
            raise Validation("tolerance_ms is for by: timestamp")
        at_least("tolerance_ms", finite("tolerance_ms", tolerance_ms), 0)
        self._by_time = by == "timestamp"
        self._tolerance_ns = round(tolerance_ms * 1e6)
        self._waiting: dict[str, deque[RuntimeData]] = {name: deque() for name in self._names}
        self._over: set[str] = set()  # inputs of which nothing will come
        self._alone = dict.fromkeys(self._names, 0)

    def wants(self, port: str) -> bool:
        """Whether it can use another datum of an input."""
        return not self._waiting[port]

    def process(self, data: RuntimeData, port: str) -> list[RuntimeData]:  # type: ignore[override]
        self._waiting[port].append(data)
        return self._settle()

    def ended(self, port: str) -> list[RuntimeData]:
        """Nothing more will come of an input."""
        self._over.add(port)
        return self._settle()

    def flush(self) -> list[RuntimeData]:
        self._over.update(self._names)
        given = self._settle()
        if any(self._alone.values()):
            counts = ", ".join(f"{count} of {name}" for name, count in self._alone.items())
            name = f"penstock.node.{self._ctx.node_id}"
            logging.getLogger(name).warning("data without a partner: %s", counts)
        return given

    def snapshot(self) -> dict[str, Any]:
        """Everything that what comes next depends on."""
        return {
            "groups": self._groups,
            "waiting": {name: list(data) for name, data in self._waiting.items()},
            "over": sorted(self._over),
            "alone": dict(self._alone),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where a snapshot was made."""
        self._groups = state["groups"]
        self._waiting = {name: deque(state["waiting"][name]) for name in self._names}
        self._over = set(state["over"])
        self._alone = dict(state["alone"])

    def _settle(self) -> list[RuntimeData]:
        """Give what can be given now."""
        given: list[RuntimeData] = []
        while True:
            late = self._late()
            if late:
                for port in late:
                    self._alone[port] += 1
                    given += outputs(self.unmatched(port, self._waiting[port].popleft()))
            elif all(self._waiting.values()):
                given += outputs(self._group({name: self._waiting[name].popleft() for name in self._names}))
            else:
                return given

    def _late(self) -> list[str]:
        """The inputs whose oldest datum will find no partner.

        The oldest datum that waits of an input is its watermark: nothing older will come. An input of which none waits
        was part of the last group, or had no partner itself, so its watermark would say nothing new.
        """
        stamps_ns = {name: waiting[0].timestamp_ns for name, waiting in self._waiting.items() if waiting}
        if any(name not in stamps_ns for name in self._over):
            return list(stamps_ns)
        if not self._by_time or not stamps_ns:
            return []
        reached_ns = max(stamps_ns.values()) - self._tolerance_ns
        return [name for name, stamp_ns in stamps_ns.items() if stamp_ns < reached_ns]
