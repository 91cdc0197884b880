"""From a node to its worker: the party, the spec and the supervisor that belong together."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.executors.contract import Validation
from penstock.executors.multiprocess.messages import JournalSpec, LinkSpec, NodeSpec, WorkerSpec
from penstock.executors.multiprocess.supervisor import Supervisor, WorkerOptions
from penstock.executors.multiprocess.wiring import Party, Wiring
from penstock.executors.registry import NodeFactory, type_name

__all__ = ["Launch", "importable", "importable_types"]


@dataclass(slots=True)
class Launch:
    """A worker to be: collect its edges, then `supervisor()`.

    Attributes:
        traced: whether it notes what it does (see `tracing`).
    """

    wiring: Wiring
    node: NodeSpec
    types: Mapping[str, str] = field(default_factory=dict)
    options: WorkerOptions = field(default_factory=WorkerOptions)
    traced: bool = False
    inputs: list[LinkSpec] = field(default_factory=list)
    outputs: list[LinkSpec] = field(default_factory=list)
    party: Party = field(init=False)

    def __post_init__(self) -> None:
        self.party = self.wiring.party(self.node.node_id)

    def supervisor(self, journal: JournalSpec | None = None, *, announce: bool = True) -> Supervisor:
        """The supervisor of a worker, or of one in the place of another.

        Args:
            journal: how it notes what a successor has to know, where there may be one.
            announce: tell the neighbours when the process is gone, as nobody takes its place.

        Raises:
            AllocationFailed: /dev/shm has no room for its page.
        """
        page = self.wiring.page(self.party, len(self.inputs), len(self.outputs))
        spec = WorkerSpec(
            replace(self.node, node_type=importable(self.node.node_type)),
            self.party.bell.fds,
            self.party.family,
            page.segment.name,
            journal,
            tuple(self.inputs),
            tuple(self.outputs),
            self.options.surroundings.search_path(),
            _main_path(importable(self.node.node_type), self.types),
            self.types,
            self.wiring.trace(self.party).name if self.traced else None,
        )
        return Supervisor(self.wiring, self.party, spec, self.options, announce=announce)


def importable_types(types: Mapping[str, NodeFactory | str]) -> dict[str, str]:
    """Node types by name, as another process can import them.

    Raises:
        Validation: one of them can not be found by another process.
    """
    return {name: importable(found if isinstance(found, str) else type_name(found)) for name, found in types.items()}


def importable(name: str) -> str:
    """The same type under a name that holds in another process: `python -m package.module` is `__main__` only here."""
    module, colon, rest = name.partition(":")
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return f"{spec.name}:{rest}" if colon and module == "__main__" and spec is not None else name


def _main_path(node_type: str, types: Mapping[str, str]) -> str | None:
    """The script of this program, where the node type is defined in it."""
    if not types.get(node_type, node_type).startswith("__main__:"):
        return None
    main: Any = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if path is None:
        raise Validation(f"node type {node_type} is defined in an interactive session: put it into a file")
    return os.path.abspath(str(path))
