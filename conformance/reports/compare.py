"""Two reports: what got worse, what got better."""

from __future__ import annotations

import json
from typing import Any

from penstock.conformance.reports.json_report import SCHEMA

__all__ = ["compare_files"]

_GOOD, _BAD = {"PASS"}, {"FAIL", "HANG", "CRASH", "ERROR"}


def compare_files(old: str, new: str) -> tuple[list[str], bool]:
    """Lines to show, and whether something got worse. Runs are matched by name; one each are matched whatever they are.

    Raises:
        ValueError: the reports are none, or can not be compared.
    """
    before, after = _load(old), _load(new)
    if before["contract"] != after["contract"]:
        raise ValueError(f"{old} is about contract {before['contract']}, {new} about {after['contract']}")
    lines: list[str] = []
    if before["suite"] != after["suite"]:
        lines.append(f"the suites differ: {before['suite']} and {after['suite']}; new checks may find old faults")
    worse = False
    for one, other in _pairs(before["runs"], after["runs"]):
        title = f"{_name(one)} -> {_name(other)}"
        changes = _changes(one, other)
        lines.append(f"{title}: {len(changes)} changes" if changes else f"{title}: no change")
        for name, was, is_ in changes:
            mark = "worse " if _rank(is_) > _rank(was) else "better" if _rank(is_) < _rank(was) else "      "
            worse = worse or _rank(is_) > _rank(was)
            lines.append(f"  {mark} {name}  {was} -> {is_}")
    return lines, worse


def _load(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        raise ValueError(f"{path} is no report of this suite ({SCHEMA})")
    return report


def _pairs(before: list[Any], after: list[Any]) -> list[tuple[Any, Any]]:
    if len(before) == len(after) == 1:
        return [(before[0], after[0])]
    names = {run["implementation"]["name"]: run for run in before}
    pairs = [(names[run["implementation"]["name"]], run) for run in after if run["implementation"]["name"] in names]
    if not pairs:
        raise ValueError("the reports are of different bridges: compare reports of one bridge each")
    return pairs


def _name(run: dict[str, Any]) -> str:
    return f"{run['implementation']['name']} {run['implementation']['version']}".strip()


def _changes(one: dict[str, Any], other: dict[str, Any]) -> list[tuple[str, str, str]]:
    was = {item["id"]: item["verdict"] for item in one["requirements"]}
    return [
        (item["id"], was.get(item["id"], "-"), item["verdict"])
        for item in other["requirements"]
        if was.get(item["id"], "-") != item["verdict"] and "NOT-SELECTED" not in {was.get(item["id"]), item["verdict"]}
    ]


def _rank(verdict: str) -> int:
    return 0 if verdict in _GOOD else 2 if verdict in _BAD else 1
