"""Checks of parameter values: each returns the value or says what it must be."""

from __future__ import annotations

import math

from penstock.executors.contract import Validation

__all__ = ["above_zero", "at_least", "finite"]


def finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise Validation(f"{name} must be a finite number, not {value:g}")
    return float(value)


def above_zero(name: str, value: float) -> float:
    if finite(name, value) <= 0:
        raise Validation(f"{name} must be above 0, not {value:g}")
    return float(value)


def at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise Validation(f"{name} must be at least {least:g}, not {value:g}")
