"""Figures as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.figures import OURS, Figure

__all__ = ["comparison", "table"]


def table(figures: Sequence[Figure]) -> str:
    """One line a figure; the last column is penstock's value divided by the line's, block by block."""
    ours = {(figure.bench, figure.case): figure for figure in figures if figure.subject == OURS}
    rows: list[tuple[str, ...]] = [("", "", "median", "blocks from .. to", "", "penstock is")]
    rows += [_row(figure, ours.get((figure.bench, figure.case))) for figure in figures]
    return f"{figures[0].bench}\n{_aligned(rows)}\n"


def comparison(figures: Sequence[Figure], saved: Sequence[Mapping[str, Any]]) -> str:
    """This run divided by a saved one, where both have the figure."""
    before = {(old["bench"], old["case"], old["subject"]): float(old["value"]) for old in saved}
    rows: list[tuple[str, ...]] = [("", "", "", "before", "now", "", "now is")]
    rows += [_compared(figure, before[figure.key]) for figure in figures if figure.key in before]
    return _aligned(rows)


def _compared(figure: Figure, before: float) -> tuple[str, ...]:
    return *figure.key, _number(before), _number(figure.value), figure.unit, _times(figure.value, before)


def _row(figure: Figure, ours: Figure | None) -> tuple[str, ...]:
    beside = "" if ours is None or figure is ours else f"{ours.divided_by(figure):.2f} x"
    spread = f"{_number(figure.low)} .. {_number(figure.high)}"
    return figure.case, figure.subject, _number(figure.value), spread, figure.unit, beside


def _times(value: float, reference: float) -> str:
    return f"{value / reference:.2f} x" if reference else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
