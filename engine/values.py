"""Values of parameters: checked against the annotation of a node's signature, and said in words."""

from __future__ import annotations

import enum
import inspect
import os
import re
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from penstock.executors.contract import Json

__all__ = ["Unfit", "plain", "settle", "words"]

_CHOICE = re.compile(r"Invalid enum value .*?( - at `.*`)?")
_LONGEST = 60


class Unfit(Exception):
    """A value is not of its parameter's type; the text says what was expected, and what there is."""


def settle(value: Any, annotation: object, folder: str) -> Json:
    """A value of a parameter's own type, as JSON says it; relative paths begin in a folder.

    Int, float, str, bool, Literal, Optional and unions, list, tuple, set, dict, Path, enum, dataclasses: what msgspec
    knows. A value for an annotation that it does not know is left to the node.

    Raises:
        Unfit: it is of another type.
    """
    if annotation is inspect.Parameter.empty:
        return plain(value)

    def convert(kind: type, said: Any) -> Any:
        if kind is not Path:
            raise NotImplementedError
        if not isinstance(said, str | os.PathLike):
            raise TypeError(f"Expected `path`, got `{type(said).__name__}`")
        return Path(_joined(folder, os.fspath(said)))

    if _is_path(annotation) and isinstance(value, str | os.PathLike):
        return _joined(folder, os.fspath(value))
    try:
        return plain(msgspec.convert(value, _known(annotation), dec_hook=convert))
    except msgspec.ValidationError as error:
        raise Unfit(_explained(str(error), value, annotation)) from None
    except (TypeError, NotImplementedError):  # an annotation that msgspec does not know: the node will see
        return plain(value)


def plain(value: Any) -> Json:
    """A value as JSON says it."""
    said: Json = msgspec.to_builtins(value, enc_hook=str)
    return said


def words(annotation: object) -> str:
    """An annotation as people read it: `int or null`, `'order' or 'timestamp'`, `list of path`."""
    if annotation is inspect.Parameter.empty or annotation is Any:
        return "any"
    if annotation is None or annotation is type(None):
        return "null"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, types.UnionType}:
        return " or ".join(map(words, arguments))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return " or ".join(repr(member.value) for member in annotation)
    if annotation is Path:
        return "path"
    if origin in {list, set, frozenset} and arguments:
        return f"{origin.__name__} of {words(arguments[0])}"
    if origin is dict and len(arguments) == 2:
        return f"dict of {words(arguments[0])} to {words(arguments[1])}"
    return inspect.formatannotation(annotation).replace("typing.", "")


def _known(annotation: Any) -> Any:
    """The annotation with `str` for `Path` where several types may stand: msgspec can not tell them apart."""
    arguments = get_args(annotation)
    others = [argument for argument in arguments if argument not in {Path, type(None)}]
    if get_origin(annotation) in {Union, types.UnionType} and Path in arguments and others:
        return Union[tuple(str if argument is Path else argument for argument in arguments)]  # noqa: UP007  built here
    return annotation


def _is_path(annotation: object) -> bool:
    unions = {Union, types.UnionType}
    return annotation is Path or (get_origin(annotation) in unions and Path in get_args(annotation))


def _joined(folder: str, path: str) -> str:
    return path if path == "-" else os.path.join(folder, path)


def _explained(text: str, value: Any, annotation: object) -> str:
    """Msgspec's words, with the choices where it does not name them, and the value."""
    choice = _CHOICE.fullmatch(text)
    text = f"expected {words(annotation)}{choice[1] or ''}" if choice else text[:1].lower() + text[1:]
    said = repr(value)
    return f"{text.replace('`', '')}: {said if len(said) <= _LONGEST else said[:_LONGEST] + '...'}"
