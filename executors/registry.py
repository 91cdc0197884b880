"""Node types by name: registered, `package.module:Name`, entry points of the group `penstock.nodes`, wasm files."""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from penstock.executors.contract import Validation

__all__ = ["ENTRY_POINTS", "NodeFactory", "NodeRegistry", "run_as_main", "type_name"]

NodeFactory: TypeAlias = Callable[..., Any]
"""A node class, or a function that works on one datum."""

ENTRY_POINTS = "penstock.nodes"
_MAIN = "__mp_main__"
_FILES = {".wasm": "penstock.executors.wasm.type:WasmType"}
"""Node types that are files: the suffix, and what makes a node type of the path. Imported when one is met."""


class NodeRegistry:
    """Finds the class or function behind the name of a node type."""

    def __init__(self, types: Mapping[str, NodeFactory | str] | None = None) -> None:
        """Start with some names; a string is itself a `package.module:Name`, imported when it is first needed."""
        self._types: dict[str, NodeFactory | str] = dict(types or {})

    def register(self, name: str, factory: NodeFactory | str) -> None:
        """Give a node type a short name; a later one replaces it."""
        self._types[name] = factory

    def names(self) -> list[str]:
        """All short names, registered and from entry points."""
        return sorted({*self._types, *_entry_points()})

    def find(self, node_type: str) -> NodeFactory:
        """The class or function.

        Raises:
            Validation: "Unknown node type: T", or what went wrong when its module was imported.
        """
        suffix = os.path.splitext(node_type)[1]
        if suffix in _FILES:
            factory: NodeFactory = _load(_FILES[suffix])(node_type)
            return factory
        found = self._types.get(node_type)
        if found is None:
            found = node_type if ":" in node_type else _entry_points().get(node_type)
        if found is None:
            raise Validation(f"Unknown node type: {node_type}")
        return _load(found) if isinstance(found, str) else found


def type_name(factory: NodeFactory) -> str:
    """The `package.module:Name` under which another process finds a class or function.

    Raises:
        Validation: it has no such name (a lambda, something defined inside a function).
    """
    name = getattr(factory, "__qualname__", "")
    if not name or "<" in name:
        raise Validation(f"{factory!r} can not be found by another process: define it at the top of a module")
    return f"{factory.__module__}:{name}"


def run_as_main(path: str) -> None:
    """Make the classes of the program's main script loadable here: import it under another name than `__main__`."""
    loader = importlib.machinery.SourceFileLoader(_MAIN, path)  # whatever the script's suffix
    spec = importlib.util.spec_from_file_location(_MAIN, path, loader=loader)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MAIN] = module
    spec.loader.exec_module(module)


def _load(name: str) -> NodeFactory:
    module_name, _, path = name.partition(":")
    if module_name == "__main__" and _MAIN in sys.modules:
        module_name = _MAIN
    try:
        target: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise Validation(f"Unknown node type: {name} (there is no module {error.name!r})") from error
        raise Validation(f"Node type {name} can not be loaded: {error}") from error
    except (Exception, SystemExit) as error:
        raise Validation(f"Node type {name} can not be loaded: {type(error).__name__}: {error}") from error
    for part in path.split("."):
        target = getattr(target, part, None)
    if not callable(target):
        raise Validation(f"Unknown node type: {name} (module {module_name!r} has no {path!r})")
    factory: NodeFactory = target
    return factory


@functools.cache
def _entry_points() -> dict[str, str]:
    import importlib.metadata  # 14 ms that a worker whose type has a module in its name does not pay

    return {point.name: point.value for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
