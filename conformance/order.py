"""What a child is told to do."""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from penstock.conformance.adapter import Adapter

__all__ = ["AdapterError", "Order", "load_adapter"]


class AdapterError(Exception):
    """The adapter can not be used; the text says why and what to do."""


@dataclass(frozen=True)
class Order:
    """The parent's order to a child, as a file.

    Attributes:
        adapter: `package.module:Class`.
        journal: where the child writes.
        requirements: ids to check.
        done: items of earlier children.
        claims: the folder of the run's `Claims`.
        path: where the adapter may be found beside what is installed.
        smoke: "call": make everything, and call it; "make": make and close it; "no": an earlier child has done it.
    """

    adapter: str
    journal: str
    requirements: list[str]
    done: list[str] = field(default_factory=list)
    claims: str = ""
    seed: int = 1
    scale: float | None = None
    repeat: int = 1
    latency_budget_ms: float | None = None
    path: list[str] = field(default_factory=list)
    smoke: str = "call"

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: str) -> Order:
        with open(path, encoding="utf-8") as file:
            return cls(**json.load(file))


def load_adapter(name: str) -> Adapter:
    """The adapter of a name `package.module:Class`.

    Raises:
        AdapterError: there is none, or it is no adapter.
    """
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path:
        raise AdapterError(f"{name!r} is no adapter: write it as package.module:Class")
    try:
        found: object = importlib.import_module(module_name)
    except Exception as error:
        raise AdapterError(f"module {module_name!r} can not be imported: {type(error).__name__}: {error}") from error
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise AdapterError(f"module {module_name!r} has no {path!r}")
    if not isinstance(found, Adapter) and not (isinstance(found, type) and issubclass(found, Adapter)):
        raise AdapterError(
            f"{name} is not an Adapter: a subclass of penstock.conformance.Adapter, whose make_bridge makes the "
            "bridge; see the first lines of docs/conformance.md"
        )
    try:
        adapter = found() if isinstance(found, type) else found
    except Exception as error:
        raise AdapterError(f"{name} can not be made: {type(error).__name__}: {error}") from error
    problems = adapter.capabilities.problems()
    if problems:
        raise AdapterError(f"the capabilities of {name}: {'; '.join(problems)}")
    return adapter
