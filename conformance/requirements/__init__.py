"""The catalogue: every numbered requirement of the contract, and the profiles that they make up."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.conformance.adapter import Profile
from penstock.conformance.requirements import bp, cc, cl, cv, db, eb, er, lk, lt, mt, mx, nx, zc
from penstock.conformance.requirements.model import Kind, Level, Requirement

__all__ = ["AREAS", "CATALOGUE", "CONTRACT", "PROFILE_AREAS", "Kind", "Level", "Requirement", "in_profile", "select"]

CONTRACT = "1.0+errata.1"
"""The version of the contract that these requirements number."""

AREAS: dict[str, str] = {
    "EB": "Every executor bridge",
    "NX": "Native",
    "MX": "Multiprocess",
    "ER": "Errors",
    "CV": "Conversion",
    "DB": "DataBridge",
    "BP": "Backpressure",
    "CL": "Close",
    "MT": "Metrics",
    "ZC": "Zero copy",
    "LT": "Latency",
    "CC": "Concurrent bridges",
    "LK": "Nothing left behind",
}

CATALOGUE: dict[str, Requirement] = {
    requirement.id: requirement
    for module in (eb, nx, mx, er, cv, db, bp, cl, mt, zc, lt, cc, lk)
    for requirement in module.REQUIREMENTS
}

_CORE = frozenset({"EB", "ER"})
PROFILE_AREAS: dict[Profile, frozenset[str]] = {
    Profile.CORE: _CORE,
    Profile.NATIVE: _CORE | {"NX"},
    Profile.MULTIPROCESS: _CORE | {"MX", "ZC", "LK"},
    Profile.WASM: _CORE,
    Profile.CONVERTER: frozenset({"CV", "ZC", "LK"}),
    Profile.DATABRIDGE: frozenset({"DB", "BP", "CL", "LK"}),
    Profile.METRICS: frozenset({"MT"}),
    Profile.FULL: frozenset(AREAS),
}


def in_profile(profile: Profile) -> list[Requirement]:
    """The requirements of a profile, in the order of the catalogue."""
    return [requirement for requirement in CATALOGUE.values() if requirement.area in PROFILE_AREAS[profile]]


def select(prefixes: Iterable[str]) -> list[Requirement]:
    """The requirements whose id is, or begins with, one of these: "R-BP-02", "R-BP" or "BP".

    Raises:
        ValueError: one of them fits nothing; the text names it.
    """
    chosen: set[str] = set()
    for prefix in prefixes:
        wanted = prefix.upper() if prefix.upper().startswith("R-") else f"R-{prefix.upper()}"
        found = {name for name in CATALOGUE if name == wanted or name.startswith(f"{wanted}-")}
        if not found:
            raise ValueError(f"there is no requirement {prefix}: `penstock conformance list` shows them all")
        chosen |= found
    return [requirement for name, requirement in CATALOGUE.items() if name in chosen]
