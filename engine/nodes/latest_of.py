"""`latest_of`: each datum of one input, with the newest of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.engine.nodes.grouping import Grouping
from penstock.executors.contract import RuntimeData

__all__ = ["LatestOf"]


class LatestOf(Grouping):
    """Gives, for each datum of the first input, that datum and the newest one of each other input.

    They come out of the ports that are named as the inputs. As long as one of the others has given nothing, data of the
    first go to the port `unmatched_<input>`. What is newest is decided by the order in which data arrive.

    Args:
        inputs: the names of the ports, or names with types; the first is the one that decides when.
    """

    def __init__(self, *, inputs: list[str] | dict[str, str] | None = None) -> None:
        super().__init__(inputs)
        self._newest: dict[str, RuntimeData] = {}

    @classmethod
    def _may_be_unmatched(cls, names: list[str]) -> list[str]:
        return names[:1]

    def process(self, data: RuntimeData, port: str) -> Any:  # type: ignore[override]
        first = self._names[0]
        if port != first:
            self._newest[port] = data
            return None
        if len(self._newest) < len(self._names) - 1:
            return self.unmatched(port, data)
        return self._group({name: data if name == first else self._newest[name] for name in self._names})

    def snapshot(self) -> dict[str, Any]:
        """Everything that what comes next depends on."""
        return {"groups": self._groups, "newest": dict(self._newest)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where a snapshot was made."""
        self._groups = state["groups"]
        self._newest = dict(state["newest"])
