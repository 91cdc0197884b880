"""All the files of a report directory."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Sequence
from pathlib import Path

from penstock.conformance.journal import Journal
from penstock.conformance.reports.html import page
from penstock.conformance.reports.json_report import document
from penstock.conformance.reports.junit import junit
from penstock.conformance.reports.short import badge, summary
from penstock.conformance.requirements import CONTRACT
from penstock.conformance.verdict import RunVerdict

__all__ = ["write_reports"]


def write_reports(folder: Path, verdicts: Sequence[RunVerdict], seed: int, argv: Sequence[str]) -> None:
    """Write journal.jsonl, report.json, report.html, junit.xml, badge.json, summary.md and witness/."""
    folder.mkdir(parents=True, exist_ok=True)
    report = document(verdicts, seed)
    _journal(folder / "journal.jsonl", verdicts, seed, argv)
    _write(folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False))
    _write(folder / "report.html", page(verdicts, seed))
    (folder / "junit.xml").write_bytes(junit(verdicts))
    _write(folder / "summary.md", summary(verdicts, seed))
    for number, verdict in enumerate(verdicts):
        name = "badge.json" if len(verdicts) == 1 else f"badge-{_file_name(verdict.run.name)}-{number + 1}.json"
        _write(folder / name, json.dumps(badge(verdict)))
        _witnesses(folder / "witness", verdict, f"-{number + 1}" if len(verdicts) > 1 else "")


def _journal(path: Path, verdicts: Sequence[RunVerdict], seed: int, argv: Sequence[str]) -> None:
    path.unlink(missing_ok=True)
    with Journal(str(path)) as journal:
        journal.write("header", contract=CONTRACT, platform=platform.platform(), seed=seed, argv=list(argv))
        for verdict in verdicts:
            journal.write(
                "run", adapter=verdict.run.adapter, about=dict(verdict.run.about), problem=verdict.run.problem
            )
            for result in verdict.run.results:
                journal.write("result", result=result.as_json())
        journal.write("footer", complete=all(verdict.run.complete for verdict in verdicts))


def _witnesses(folder: Path, verdict: RunVerdict, suffix: str) -> None:
    for item in verdict.requirements:
        worst = item.worst
        if worst is not None and worst.witness:
            folder.mkdir(exist_ok=True)
            head = f"{item.requirement.id} {item.requirement.sentence}\n"
            head += f"expected {worst.expected}\nactual {worst.actual}\n\n"
            _write(folder / f"{item.requirement.id}{suffix}.txt", head + "\n".join(worst.witness) + "\n")


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="replace")
