"""How a check is marked with its requirement, and to what it applies."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from penstock.conformance.adapter import Capabilities, Profile
from penstock.conformance.lab import Lab
from penstock.conformance.requirements import CATALOGUE, Requirement
from penstock.executors.contract import ExecutorType

__all__ = ["Across", "Check", "applicability", "check", "marking_of"]

Check: TypeAlias = Callable[[Lab], Awaitable[None]]


class Across(enum.Enum):
    """How often a check runs."""

    ONCE = "once"
    EACH_KIND = "for each kind of bridge that is claimed"
    NATIVE = "on the native bridge"
    MULTIPROCESS = "on the multiprocess bridge"


@dataclass(frozen=True, slots=True)
class Marking:
    """What the decorator notes."""

    requirement: Requirement
    across: Across
    budget_s: float

    def kinds(self, claims: Capabilities) -> list[ExecutorType | None]:
        """The kinds of bridge to run on."""
        if self.across is Across.ONCE:
            return [None]
        wanted = list(claims.bridge_kinds)
        if self.across is not Across.EACH_KIND:
            wanted = [kind for kind in wanted if kind is ExecutorType[self.across.name]]
        return [*wanted]


_ACROSS = {"EB": Across.EACH_KIND, "ER": Across.EACH_KIND, "NX": Across.NATIVE, "MX": Across.MULTIPROCESS}


def check(requirement: str, across: Across | None = None, *, budget_s: float = 45.0) -> Callable[[Check], Check]:
    """Mark a function as a check of a requirement.

    Args:
        requirement: its id.
        across: how often it runs; by default what fits the area.
        budget_s: how long it may take in all, on an idle machine.
    """
    found = CATALOGUE[requirement]
    marking = Marking(found, across or _ACROSS.get(found.area, Across.ONCE), budget_s)

    def mark(function: Check) -> Check:
        function.marking = marking  # type: ignore[attr-defined]
        return function

    return mark


def marking_of(function: Any) -> Marking:
    """The marking of a check."""
    marking: Marking = function.marking
    return marking


_PARTS: dict[str, frozenset[Profile]] = {
    "CV": frozenset({Profile.CONVERTER}),
    "DB": frozenset({Profile.DATABRIDGE}),
    "BP": frozenset({Profile.DATABRIDGE}),
    "CL": frozenset({Profile.DATABRIDGE}),
    "MT": frozenset({Profile.METRICS}),
    "ZC": frozenset({Profile.CONVERTER, Profile.MULTIPROCESS}),
    "LT": frozenset({Profile.CONVERTER, Profile.MULTIPROCESS}),
}


def applicability(requirement: Requirement, claims: Capabilities) -> str:
    """Why a requirement is not asked of an implementation with these claims; empty where it is."""
    parts = _PARTS.get(requirement.area)
    if parts is not None and not parts & claims.claimed:
        return f"profile {' or '.join(sorted(part.value for part in parts))} is not claimed"
    if requirement.area in {"EB", "ER", "CC"} and not claims.bridge_kinds:
        return "no executor bridge is claimed"
    for area, kind in (("NX", ExecutorType.NATIVE), ("MX", ExecutorType.MULTIPROCESS)):
        if requirement.area == area and kind not in claims.bridge_kinds:
            return f"profile {kind.value.lower()} is not claimed"
    if requirement.needs and not claims.has(requirement.needs):
        name = requirement.needs.removeprefix("not ")
        return f"capability {name} is {'claimed' if requirement.needs != name else 'not claimed'}"
    return ""
