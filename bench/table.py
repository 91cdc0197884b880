"""Figures as text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from bench.figures import OURS, Figure
from bench.targets import TARGETS, Target

__all__ = ["comparison", "table", "targets"]

Row = tuple[str, ...]


def table(figures: Sequence[Figure]) -> str:
    """A table for each benchmark; the last column is penstock's value divided by the line's, block by block."""
    return "\n".join(_table(bench, list(found)) for bench, found in groupby(figures, lambda figure: figure.bench))


def _table(bench: str, figures: Sequence[Figure]) -> str:
    ours = {figure.case: figure for figure in figures if figure.subject == OURS}
    rows: list[Row] = [("", "", "median", "blocks from .. to", "", "penstock is")]
    rows += [_row(figure, ours.get(figure.case)) for figure in figures]
    return f"{bench}\n{_aligned(rows)}\n"


def _row(figure: Figure, ours: Figure | None) -> Row:
    beside = "" if ours is None or figure is ours else f"{ours.divided_by(figure):.2f} x"
    return figure.case, figure.subject, _number(figure.value), _spread(figure), figure.unit, beside


def comparison(figures: Sequence[Figure], saved: Sequence[Figure]) -> str:
    """This run divided by a saved one, where both have the figure; better or worse only where no blocks overlap."""
    before = {figure.key: figure for figure in saved}
    rows: list[Row] = [("", "", "", "before", "blocks", "now", "blocks", "", "now is", "")]
    rows += [_compared(figure, before[figure.key]) for figure in figures if figure.key in before]
    return _aligned(rows)


def _compared(now: Figure, before: Figure) -> Row:
    medians = (_number(before.value), _spread(before), _number(now.value), _spread(now))
    times = f"{now.value / before.value:.2f} x" if before.value else ""
    if now.overlaps(before):
        verdict = "blocks overlap"
    else:
        verdict = "better" if (now.value < before.value) is now.less_is_better else "worse"
    return *now.key, *medians, now.unit, times, verdict


def targets(figures: Sequence[Figure]) -> str:
    """Each target, what was measured, and whether it is met."""
    found = {figure.key: figure for figure in figures}
    rows: list[Row] = [("target", "", "limit", "measured", "")]
    rows += [_target(target, target.measured(found)) for target in TARGETS]
    return _aligned(rows)


def _target(target: Target, value: float | None) -> Row:
    sign, unit = ("<=" if target.less_is_better else ">="), target.unit
    limit = f"{sign} {_number(target.limit)} {unit}"
    if value is None:
        return target.what, target.case, limit, "", "not measured"
    return target.what, target.case, limit, f"{_number(value)} {unit}", "met" if target.met(value) else "NOT met"


def _spread(figure: Figure) -> str:
    return f"{_number(figure.low)} .. {_number(figure.high)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _aligned(rows: Sequence[Row]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
