"""What is wrong with a pipeline, and where: collected, so that all of it is reported at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from penstock.executors.contract import Validation

__all__ = ["PipelineInvalid", "Problem", "Where", "did_you_mean"]


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a manifest or in somebody's Python file."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, with its remedy in the text."""

    where: Where
    text: str

    def __str__(self) -> str:
        place = str(self.where)
        return f"{place}: {self.text}" if place else self.text


class PipelineInvalid(Validation):
    """A pipeline can not be run; `problems` has every reason."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """A remedy for a misspelt name: the nearest one, else all there are."""
    names = sorted(candidates)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there is {', '.join(names)}" if names else "there is none"
