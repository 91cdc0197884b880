"""What a node type is, said by the interpreter that will run it, to an engine that can not import it."""

from __future__ import annotations

import enum
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from penstock.executors.contract import Json, ServiceError
from penstock.executors.host import Signature, signature_of
from penstock.executors.parameters import UNIONS
from penstock.executors.registry import NodeRegistry

__all__ = ["annotation_of", "describe"]

_PLAIN: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool, "null": None, "path": Path, "any": Any}
_CONTAINERS = {kind.__name__: kind for kind in (list, tuple, set, frozenset, dict)}


def describe(request: Mapping[str, Any]) -> dict[str, Json]:
    """The ports and parameters of a node type; with `params`, its ports for these, and what its `check` says of them.

    Args:
        request: `type`, `types` (short names), `search_path`, and perhaps `params`.
    """
    sys.path[:0] = request["search_path"]
    try:
        factory = NodeRegistry(request["types"]).find(request["type"])
        signature = signature_of(factory)
        params = request.get("params")
        if params is None:
            return _described(factory, signature)
        inputs, outputs = signature.ports(params)
        if hasattr(factory, "check"):
            factory(**signature.accepted(params)).check()
    except (Exception, SystemExit) as error:
        return {"error": error.message if isinstance(error, ServiceError) else str(error) or repr(error)}
    return {"inputs": dict(inputs), "outputs": dict(outputs)}


def _described(factory: Any, signature: Signature) -> dict[str, Json]:
    return {
        "doc": inspect.getdoc(factory) or "",
        "inputs": dict(signature.inputs),
        "outputs": dict(signature.outputs),
        "is_source": signature.is_source,
        "works": signature.is_function or signature.works,
        "is_function": signature.is_function,
        "stateless": signature.stateless,
        "snapshots": signature.snapshots,
        "depends_on_params": signature.ports_of is not None or hasattr(factory, "check"),
        "takes_any": signature.takes_any,
        "parameters": [_parameter(parameter) for parameter in signature.parameters.values()],
    }


def _parameter(parameter: inspect.Parameter) -> dict[str, Json]:
    said: dict[str, Json] = {"name": parameter.name}
    if parameter.annotation is not parameter.empty:
        said["annotation"] = _said(parameter.annotation)
    if parameter.default is not parameter.empty:
        said["default"] = repr(parameter.default)
    return said


def _said(annotation: Any) -> Json:
    """An annotation as JSON: a word, or a list of a word and what is within. What is not known may be anything."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "null"
    for word, kind in _PLAIN.items():
        if annotation is kind:
            return word
    if origin in UNIONS:
        return ["union", *map(_said, arguments)]
    if origin is Literal:
        return ["literal", *arguments]
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return ["literal", *(member.value for member in annotation)]
    if annotation in _CONTAINERS.values():
        return str(annotation.__name__)
    if origin in _CONTAINERS.values():
        return [origin.__name__, *("..." if one is Ellipsis else _said(one) for one in arguments)]
    return "any"


def annotation_of(said: Json) -> Any:
    """The annotation again, in the engine."""
    if isinstance(said, str):
        return _CONTAINERS.get(said, _PLAIN.get(said, Any))
    assert isinstance(said, list)
    word, within = said[0], said[1:]
    if word == "literal":
        return Literal[tuple(within)]
    kinds = tuple(Ellipsis if one == "..." else annotation_of(one) for one in within)
    return Union[kinds] if word == "union" else _CONTAINERS[str(word)][kinds]  # noqa: UP007  made here
