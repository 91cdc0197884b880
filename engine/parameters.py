"""Parameters of a whole pipeline: declared with or without a default, and filled in where its nodes say `${name}`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from penstock.engine.problems import Problem, Where, did_you_mean

if TYPE_CHECKING:
    from penstock.engine.declarations import NodeDecl

__all__ = ["REQUIRED", "Given", "Parameter", "fill_in"]

REQUIRED: Any = object()
"""In place of a default: there is none."""

_USE = re.compile(r"(\$?)\$\{([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a pipeline."""

    default: Any = REQUIRED
    where: Where = field(default_factory=Where)

    @property
    def is_required(self) -> bool:
        return self.default is REQUIRED


@dataclass(frozen=True, slots=True)
class Given:
    """A value, who gave it, and where a relative path in it begins."""

    value: Any
    where: Where
    folder: str


def fill_in(decl: NodeDecl, values: Mapping[str, Given], folder: str) -> tuple[NodeDecl | None, list[Problem]]:
    """A node with the values of its pipeline's parameters, and what is wrong with their use; None where one is missing.

    A parameter that has to be given and was not has the value `REQUIRED`: that was reported already.

    `${name}` alone gives the value itself, whatever its type; in a longer text it gives text. `$${` is a plain `${`. A
    pipeline without parameters leaves texts alone. What comes from elsewhere is blamed on who gave it, and a relative
    path that begins with it begins where that one's do.
    """
    if not values:
        return decl, []
    problems = []
    is_complete = True
    filled = replace(decl, params={}, param_where=dict(decl.param_where), folders=dict(decl.folders))
    for name, value in decl.params.items():
        missing: list[str] = []
        filled.params[name] = _filled(value, values, missing)
        is_complete &= not missing
        for unknown in (used for used in missing if used not in values):
            text = f"node {decl.node_id!r}: there is no parameter {unknown!r}: {did_you_mean(unknown, values)}"
            problems.append(Problem(decl.param_where.get(name, decl.where), text))
        first = _USE.match(value) if isinstance(value, str) else None
        if first is not None and not first[1] and first[2] in values:
            given = values[first[2]]
            if given.folder != folder:
                filled.folders[name] = given.folder
            if first.end() == len(value):
                filled.param_where[name] = given.where
    return (filled if is_complete else None), problems


def _filled(value: Any, values: Mapping[str, Given], missing: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(item, values, missing) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values, missing) for item in value]
    if not isinstance(value, str):
        return value

    def text_of(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        if match[2] not in values or values[match[2]].value is REQUIRED:
            missing.append(match[2])
            return match[0]
        given = values[match[2]].value
        return given if isinstance(given, str) else json.dumps(given)

    whole = _USE.fullmatch(value)
    if whole is not None and not whole[1] and whole[2] in values and values[whole[2]].value is not REQUIRED:
        return values[whole[2]].value
    return _USE.sub(text_of, value)
