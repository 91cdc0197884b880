"""What a mutant is: the reference, with one part replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from penstock.conformance.adapter import Adapter, Profile
from penstock.conformance.reference.adapter import ReferenceAdapter
from penstock.conformance.reference.converter import PlainConverter, ReferenceConverter

__all__ = ["MUTANTS", "Mutant", "mutant", "registered"]

_Part = TypeVar("_Part", bound=type[Any])


@dataclass(frozen=True)
class Mutant:
    """One faulty bridge.

    Attributes:
        name: of its adapter, `penstock.conformance.mutants:<name>`.
        requirement: the id that has to catch it.
        fault: what is wrong with it, in words.
        adapter: its adapter.
    """

    name: str
    requirement: str
    fault: str
    adapter: type[Adapter]


MUTANTS: dict[str, Mutant] = {}
_PROFILE = {
    "native": {Profile.NATIVE, Profile.METRICS},
    "multiprocess": {Profile.MULTIPROCESS},
    "converter": {Profile.CONVERTER},
    "data_bridge": {Profile.DATABRIDGE, Profile.METRICS, Profile.NATIVE},
}


def mutant(requirement: str, part: str, fault: str, **claims: Any) -> Callable[[_Part], _Part]:
    """Register a class as the faulty part of an otherwise right implementation.

    Args:
        requirement: what it breaks.
        part: "native", "multiprocess", "converter" or "data_bridge".
        fault: in words.
        claims: capabilities other than those of the reference.
    """

    def register(factory: _Part) -> _Part:
        made: Any = _converter(factory) if issubclass(factory, PlainConverter) else factory
        body = {part: made, "name": factory.__name__, "capabilities": _claims(part, claims), "__doc__": fault}
        adapter = type(f"{factory.__name__}Adapter", (ReferenceAdapter,), body)
        return registered(requirement, fault, adapter, factory)

    return register


def registered(requirement: str, fault: str, adapter: type[Adapter], factory: _Part) -> _Part:
    """Put a mutant on the list."""
    name = factory.__name__
    if name in MUTANTS:
        raise ValueError(f"two mutants {name}")
    MUTANTS[name] = Mutant(name, requirement, fault, adapter)
    return factory


def _claims(part: str, claims: dict[str, Any]) -> Any:
    return replace(ReferenceAdapter.capabilities, **{"profiles": _PROFILE[part], **claims})


def _converter(plain: type[PlainConverter]) -> type[ReferenceConverter]:
    """The async converter around a faulty plain one."""

    def initialize(self: Any, session_id: str) -> None:
        self.plain = plain(session_id)

    return type(plain.__name__, (ReferenceConverter,), {"__init__": initialize})
