"""Nodes and edges as they were asked for, from Python or from a manifest; nothing of it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from penstock.engine.problems import Where
from penstock.executors.contract import ExecutorType, Validation
from penstock.executors.registry import NodeFactory
from penstock.executors.router import Routes
from penstock.shm.ring import Policy

if TYPE_CHECKING:
    from penstock.engine.pipeline import Pipeline

__all__ = [
    "DEFAULT_CAPACITY",
    "DEFAULT_GROWTH",
    "DEFAULT_MAX_BYTES",
    "POLICIES",
    "DeliveryDecl",
    "EdgeDecl",
    "NodeDecl",
    "PortRef",
    "SurroundingsDecl",
    "parse_chain",
]

DEFAULT_CAPACITY = 64
"""Data on an edge that were sent and are not done with."""
DEFAULT_MAX_BYTES = 16 << 20
DEFAULT_GROWTH = 8
"""How often an edge may double, so that a graph does not stand still for want of room."""
POLICIES = {
    "block": Policy.BLOCK,
    "drop_oldest": Policy.DROP_OLDEST,
    "drop_newest": Policy.DROP_NEWEST,
    "latest": Policy.DROP_OLDEST,
    "error": Policy.ERROR,
}
"""What happens on a full edge. `latest` is `drop_oldest` with a capacity of one."""


@dataclass(slots=True)
class DeliveryDecl:
    """What becomes of a node whose process dies, as it was asked for. `None` is the default, `"unlimited"` no bound."""

    mode: str | None = None
    restart: Mapping[str, Any] = field(default_factory=dict)
    max_redeliveries: int | str | None = None
    snapshot_every: int | None = None

    @property
    def said(self) -> bool:
        """Whether anything was asked for."""
        return self != DeliveryDecl()


@dataclass(slots=True)
class SurroundingsDecl:
    """What surrounds the process of a node's worker, as it was asked for."""

    python: str | None = None
    env: dict[str, Any] = field(default_factory=dict)
    cwd: str | None = None

    @property
    def said(self) -> bool:
        """Whether anything was asked for."""
        return self != SurroundingsDecl()


@dataclass(slots=True)
class NodeDecl:
    """A node as it was asked for."""

    node_id: str
    node_type: str | NodeFactory | Pipeline
    params: dict[str, Any] = field(default_factory=dict)
    executor: ExecutorType | None = None
    thread: bool = False
    init_timeout_s: float = 60.0
    limits: dict[str, Any] = field(default_factory=dict)
    delivery: DeliveryDecl = field(default_factory=DeliveryDecl)
    on_error: str = "fail"
    timeout_s: float | None = None
    replicas: int = 1
    where: Where = field(default_factory=Where)
    param_where: dict[str, Where] = field(default_factory=dict)
    surroundings: SurroundingsDecl = field(default_factory=SurroundingsDecl)
    folder: str = ""
    """Of the manifest that it stands in: where paths start, and modules are found."""
    routes: tuple[Routes, ...] = ()
    """The rules of its pipeline, and of those around it; the first that has one for its type places it."""
    folders: dict[str, str] = field(default_factory=dict)
    """Where the relative path of a parameter starts that came from elsewhere; empty: where the program runs."""


@dataclass(frozen=True, slots=True)
class PortRef:
    """`node` or `node.port`. Within a chain a port may be of either side: `through`."""

    node_id: str
    port: str | None = None
    through: bool = False

    @classmethod
    def parse(cls, text: str) -> PortRef:
        node_id, _, port = text.strip().partition(".")
        return cls(node_id, port or None)

    def __str__(self) -> str:
        return self.node_id if self.port is None else f"{self.node_id}.{self.port}"


@dataclass(slots=True)
class EdgeDecl:
    """An edge as it was asked for."""

    source: PortRef
    target: PortRef
    capacity: int = DEFAULT_CAPACITY
    max_bytes: int = DEFAULT_MAX_BYTES
    timeout_s: float | None = None
    policy: str = "block"
    max_age_s: float | None = None
    where: Where = field(default_factory=Where)
    feedback: bool = False
    """Whether it may close a cycle."""


def parse_chain(text: str) -> list[tuple[PortRef, PortRef]]:
    """The edges of `a -> b.port -> c`.

    Raises:
        Validation: this is no chain of two or more.
    """
    refs = [PortRef.parse(step) for step in text.split("->")]
    if len(refs) < 2 or not all(ref.node_id for ref in refs):
        raise Validation(f"edge {text!r}: an edge is `node -> node`")
    refs[1:-1] = [replace(ref, through=True) for ref in refs[1:-1]]
    return list(pairwise(refs))
