"""What a requirement is."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

__all__ = ["Kind", "Level", "Requirement"]


class Level(enum.Enum):
    """How binding a requirement is."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    INFO = "INFO"


class Kind(enum.Enum):
    """How it is tested, and so what a verdict is worth."""

    DETERMINISTIC = "deterministic"
    STOCHASTIC = "seeded and repeated; may miss"
    TIMING = "timing"
    EVIDENCE = "evidence from the kernel"
    FAULT = "needs a fault: a hook of the adapter, a signal or a limit"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One numbered sentence of the contract.

    Attributes:
        id: `R-<area>-<number>`.
        sentence: what holds of a bridge that keeps it.
        basis: lines of executor-bridge-api.md (L), decisions of errata.md (D), sections of the authors' spec (SC, NFR).
        how: how it is tested, in a phrase.
        needs: the capability without which it is not asked for; "not x" where it is asked for without.
        after: requirements whose failure explains a failure of this one.
        causes: what was usually wrong where it failed.
    """

    id: str
    level: Level
    sentence: str
    basis: str
    kind: Kind
    how: str = ""
    needs: str = ""
    after: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()

    @property
    def area(self) -> str:
        """The two letters in the middle of the id."""
        return self.id.split("-")[1]

    @property
    def lines(self) -> frozenset[int]:
        """The lines of the contract text that it stands on."""
        numbers: set[int] = set()
        for part in re.findall(r"L(\d[\d,-]*)", self.basis):
            for span in part.strip(",").split(","):
                first, _, last = span.partition("-")
                numbers.update(range(int(first), int(last or first) + 1))
        return frozenset(numbers)

    @property
    def errata(self) -> tuple[str, ...]:
        """The decisions that it stands on, as "D-05"."""
        found: list[str] = []
        for part in re.findall(r"D-(\d\d(?:/\d\d)*)", self.basis):
            found += [f"D-{number}" for number in part.split("/")]
        return tuple(found)
