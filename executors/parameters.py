"""Parameters as a node's signature has them: what came as JSON becomes the path, enum or tuple that it asks for."""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin

from penstock.executors.contract import Json

__all__ = ["UNIONS", "typed"]

UNIONS: Final = frozenset({Union, types.UnionType})
"""What `get_origin` gives for `X | Y`."""


def typed(value: Json, annotation: Any) -> Any:
    """A value of an annotation's type, as far as JSON has no such type: `Path`, enums, tuples and sets, also within."""
    if value is None:
        return None
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in UNIONS:
        return typed(value, _chosen(value, arguments))
    if annotation is Path and isinstance(value, str):
        return Path(value)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return annotation(value)
    if isinstance(value, list | tuple) and origin in {list, tuple, set, frozenset} and arguments:
        kinds = arguments if origin is tuple and arguments[-1] is not Ellipsis else [arguments[0]] * len(value)
        return origin(map(typed, value, kinds))
    if isinstance(value, Mapping) and origin is dict:
        return {typed(name, arguments[0]): typed(item, arguments[1]) for name, item in value.items()}
    return value


def _chosen(value: Json, kinds: tuple[Any, ...]) -> Any:
    """The member of a union that a value is meant for: a text is a path, or a member of an enum, where it may be."""
    if isinstance(value, Mapping):
        return next((kind for kind in kinds if get_origin(kind) is dict), Any)
    if isinstance(value, list | tuple):
        return next((kind for kind in kinds if get_origin(kind) in {list, tuple, set, frozenset}), Any)
    if isinstance(value, str) and Path in kinds:
        return Path
    enums = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, enum.Enum))
    return next((kind for kind in enums if value in {member.value for member in kind}), Any)
