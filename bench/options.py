"""How thoroughly to measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Options"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """What every benchmark is told."""

    quick: bool = False

    def choose(self, *, quick: T, full: T) -> T:
        return quick if self.quick else full
