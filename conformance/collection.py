"""All checks, without pytest."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import Any

__all__ = ["checks"]


@functools.cache
def checks() -> tuple[Any, ...]:
    """The functions, by file and in the order in which they stand there."""
    package = importlib.import_module("penstock.conformance.checks")
    found: list[Any] = []
    for module in pkgutil.iter_modules(package.__path__):
        loaded = importlib.import_module(f"{package.__name__}.{module.name}")
        found += [item for name, item in vars(loaded).items() if name.startswith("check_") and hasattr(item, "marking")]
    return tuple(found)
