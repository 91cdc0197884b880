"""What a guest says about itself: the JSON of `ps_describe`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.executors.contract import DataType, Json
from penstock.executors.wasm.abi import ABI

__all__ = ["Description", "DescriptionError", "parse_description"]


class DescriptionError(Exception):
    """What `ps_describe` gives is no description."""


_TYPES: dict[str, tuple[type, ...]] = {
    "number": (int, float),
    "integer": (int,),
    "string": (str,),
    "boolean": (bool,),
    "object": (Mapping,),
    "array": (list, tuple),
}
_KINDS = {kind.value.lower(): kind for kind in DataType}


@dataclass(frozen=True, slots=True)
class Description:
    """A guest's ports and parameters.

    Attributes:
        name: of the node type.
        abi: the version it was built for.
        inputs: its input port and the type that it takes; `audio|tensor` for several, or `any`.
        outputs: its output port, likewise; empty for a sink.
        params: name to `{"type": ..., "default": ...}`, the type as JSON schema names it.
        in_place: whether it changes the data where the host put it.
    """

    name: str
    abi: int
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    params: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    in_place: bool = False

    def wrong_params(self, params: Mapping[str, Json]) -> list[str]:
        """What is wrong with these parameters: unknown names and wrong types. Ranges are for the guest to check."""
        return [problem for name, value in params.items() if (problem := self._wrong_param(name, value))]

    def _wrong_param(self, name: str, value: Json) -> str | None:
        spec = self.params.get(name)
        if spec is None:
            return f"unknown parameter {name!r}: {self.name} has {', '.join(sorted(self.params)) or 'none'}"
        kind = str(spec.get("type", "any"))
        accepted = _TYPES.get(kind)
        if accepted is None or (isinstance(value, accepted) and (bool in accepted or not isinstance(value, bool))):
            return None
        return f"parameter {name!r} is {value!r}, not a {kind}"

    def takes(self, kind: DataType) -> bool:
        """Whether its input port takes data of this type."""
        (types,) = self.inputs.values()
        return types == "any" or kind.value.lower() in types.split("|")


def parse_description(text: bytes) -> Description:
    """The description in the bytes that `ps_describe` pointed at.

    Raises:
        DescriptionError: what is wrong with it.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DescriptionError(f"ps_describe gives no JSON: {error}") from None
    if not isinstance(value, dict):
        raise DescriptionError(f"ps_describe gives {type(value).__name__}, not a JSON object")
    if value.get("abi") != ABI:
        raise DescriptionError(f"ps_describe says abi {value.get('abi')!r}, this penstock speaks {ABI}")
    return Description(
        name=_checked(value, "name", str),
        abi=ABI,
        inputs=_ports(value, "inputs", least=1),
        outputs=_ports(value, "outputs", least=0),
        params=_params(_checked(value, "params", dict, {})),
        in_place=_checked(value, "in_place", bool, False),
    )


def _checked(value: Mapping[str, Any], name: str, kind: type, default: Any = None) -> Any:
    found = value.get(name, default)
    if not isinstance(found, kind):
        raise DescriptionError(f"ps_describe gives {name!r} as {found!r}, it is a JSON {kind.__name__}")
    return found


def _ports(value: Mapping[str, Any], name: str, *, least: int) -> dict[str, str]:
    ports: dict[str, Any] = _checked(value, name, dict)
    if not least <= len(ports) <= 1:
        raise DescriptionError(
            f"ps_describe gives {len(ports)} {name}: a frame names no port, so there can be only one"
        )
    for port, types in ports.items():
        unknown = [kind for kind in str(types).split("|") if kind not in _KINDS and types != "any"]
        if not port or unknown:
            raise DescriptionError(
                f"ps_describe gives port {port!r} the type {types!r}: it is any, or of {', '.join(_KINDS)}"
            )
    return ports


def _params(params: dict[str, Any]) -> dict[str, Mapping[str, Json]]:
    for name, spec in params.items():
        if not isinstance(spec, dict) or not isinstance(spec.get("type"), str):
            raise DescriptionError(f"ps_describe gives parameter {name!r} as {spec!r}: it is an object with a type")
    return params
