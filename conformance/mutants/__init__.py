"""Faulty bridges: each is the reference with one fault, and each is caught by the requirement that it breaks.

`penstock conformance run --bridge penstock.conformance.mutants:EchoesItsInput` shows what a failure looks like.
"""

from __future__ import annotations

from penstock.conformance.mutants import (
    bp,
    cc,
    cl,
    cv,
    db,
    eb,
    er,
    lk,
    lt,
    mt,
    mx,
    nx,
    subtle_bridge,
    subtle_data,
    subtle_flow,
    zc,
)
from penstock.conformance.mutants.model import MUTANTS, Mutant

__all__ = ["MUTANTS", "Mutant"]

_FILES = (bp, cc, cl, cv, db, eb, er, lk, lt, mt, mx, nx, subtle_bridge, subtle_data, subtle_flow, zc)


def __getattr__(name: str) -> object:
    """The adapter of a mutant, by its name."""
    if name in MUTANTS:
        return MUTANTS[name].adapter
    raise AttributeError(f"module 'penstock.conformance.mutants' has no attribute {name!r}")
