"""What `zip` and `latest_of` share: ports from a parameter, data as they came, and a number for each group."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from penstock.executors.contract import Node, NodeContext, RuntimeData, Validation

__all__ = ["Grouping", "Ports"]

Ports: TypeAlias = Sequence[str] | Mapping[str, str]
"""Names of inputs, or names with their types."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
UNMATCHED = "unmatched_"


class Grouping(Node):
    """A node that puts data of several inputs together.

    It gives the data of a group on ports that are named as its inputs, each as it came but for `meta["group"]`, which
    counts the groups from 0. A subclass that makes one thing out of them overrides `together`, and says its `inputs`
    and `outputs` as any class does.
    """

    def __init__(self, inputs: Ports | None) -> None:
        given, _ = self.ports(inputs)
        self._names = tuple(given)
        if len(self._names) < 2:
            raise Validation(f"inputs are the names of two or more ports, not {list(self._names)}")
        self._groups = 0

    @classmethod
    def ports(cls, inputs: Ports | None = None, **_: Any) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """The ports for these parameters; of a subclass that has no parameter `inputs`, those of the class."""
        if inputs is None:
            return cls.inputs, cls.outputs
        takes = dict(inputs) if isinstance(inputs, Mapping) else dict.fromkeys(inputs, "any")
        if len(takes) < len(inputs):
            raise Validation(f"inputs has a name twice: {', '.join(inputs)}")
        for name in takes:
            if not _NAME.fullmatch(name) or name.startswith(UNMATCHED):
                raise Validation(f"inputs: {name!r} is no name for a port, which has letters, digits, _ and -")
        return takes, takes | {UNMATCHED + name: takes[name] for name in cls._may_be_unmatched(list(takes))}

    @classmethod
    def _may_be_unmatched(cls, names: list[str]) -> list[str]:
        """The inputs whose data may stay without a group."""
        return names

    def initialize(self, ctx: NodeContext) -> None:
        self._ctx = ctx

    def together(self, group: Mapping[str, RuntimeData]) -> Any:
        """What is given for the data of a group, by the names of their inputs: as `process` gives it."""
        for name, data in group.items():
            self._ctx.emit(name, data)

    def unmatched(self, port: str, data: RuntimeData) -> Any:
        """What is given for a datum that belongs to no group."""
        self._ctx.emit(UNMATCHED + port, data)

    def _group(self, group: Mapping[str, RuntimeData]) -> Any:
        number, self._groups = self._groups, self._groups + 1
        return self.together({name: _numbered(data, number) for name, data in group.items()})


def _numbered(data: RuntimeData, group: int) -> RuntimeData:
    """The same datum with the number of its group; the payload is not copied."""
    return RuntimeData(
        data.data_type,
        data.payload,
        data.session_id,
        data.timestamp_ns,
        data.dtype,
        data.shape,
        data.sample_rate,
        data.channels,
        {**data.meta, "group": group},
    )
