"""The report for a terminal: failures explain themselves, then the verdict of each profile."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TextIO

from penstock.conformance.reports.words import basis, profile_line, repeat_command, spans, turns
from penstock.conformance.verdict import Judged, RunVerdict, Verdict

__all__ = ["Terminal"]

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}


class Terminal:
    """Writes to a stream, in colour where that is a terminal and NO_COLOR is not set."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._colour = self._stream.isatty() and "NO_COLOR" not in os.environ

    def report(self, verdict: RunVerdict, seed: int) -> None:
        """Everything about one run."""
        run = verdict.run
        version = f" {run.about['version']}" if run.about.get("version") else ""
        self._line()
        self._line(self._paint("bold", f"{run.name}{version}") + self._paint("dim", f"  {run.adapter}"))
        if run.problem:
            self._problem(verdict)
            return
        followers: dict[str, list[str]] = {}
        for judged in verdict.failures:
            if judged.follows:
                followers.setdefault(judged.follows, []).append(judged.requirement.id)
            else:
                self._failure(verdict, judged, seed)
        for root, ids in followers.items():
            self._follow(root, ids)
        self._others(verdict)
        self._closing(verdict)

    def _problem(self, verdict: RunVerdict) -> None:
        self._line(self._paint("red", "✗ the adapter could not be tested"))
        for line in verdict.run.problem.splitlines():
            self._line(f"    {line}")
        self._line("  Nothing was judged. Once this works: penstock conformance smoke --bridge " + verdict.run.adapter)

    def _failure(self, verdict: RunVerdict, judged: Judged, seed: int) -> None:
        requirement, worst = judged.requirement, judged.worst
        self._line()
        head = self._paint("red", f"✗ {requirement.id}") + f"  {requirement.sentence}"
        self._line(
            f"{head}  " + self._paint("dim", f"{judged.verdict.value}  {requirement.level.value}  {basis(judged)}")
        )
        if worst is not None:
            kind = f" on the {worst.kind} bridge" if worst.kind else ""
            self._field("check", f"{worst.check.removeprefix('check_').replace('_', ' ')}{kind}")
            self._field("expected", worst.expected)
            self._field("actual", worst.actual)
            self._field("repeated", turns(judged.results))
        self._field("usual causes", "\n".join(f"· {cause}" for cause in requirement.causes))
        self._field("repeat", repeat_command(verdict, requirement.id, seed))

    def _follow(self, root: str, ids: list[str]) -> None:
        fail = "fails" if len(ids) == 1 else "fail"
        self._line(self._paint("dim", f"✗ {spans(ids, fold=False)}  {fail} as well; look at {root} first"))

    def _others(self, verdict: RunVerdict) -> None:
        self._section(
            verdict, Verdict.DEVIATION, "deviations (SHOULD)", lambda item: item.worst.actual if item.worst else ""
        )
        self._section(verdict, Verdict.KNOWN, "known", lambda item: item.reason)
        for kind in (Verdict.NOT_EXERCISED, Verdict.INCONCLUSIVE):
            self._section(verdict, kind, kind.value.lower(), lambda item: item.reason)
        reasons: dict[str, list[str]] = {}
        for item in verdict.requirements:
            if item.verdict is Verdict.NOT_CLAIMED:
                reasons.setdefault(item.reason, []).append(item.requirement.id)
        for reason, ids in reasons.items():
            self._line(self._paint("dim", f"  not asked: {spans(ids)}: {reason}"))
        for problem in verdict.known_problems:
            self._line(self._paint("red", f"  known: {problem}"))

    def _section(self, verdict: RunVerdict, kind: Verdict, title: str, said: Callable[[Judged], str]) -> None:
        items = [item for item in verdict.requirements if item.verdict is kind]
        if not items:
            return
        self._line()
        self._line(self._paint("yellow", f"  {title}"))
        reasons: dict[str, list[Judged]] = {}
        for item in items:
            reasons.setdefault(said(item), []).append(item)
        for reason, same in reasons.items():
            if len(same) == 1:
                self._line(f"  {same[0].requirement.id}  {same[0].requirement.sentence}: {reason}")
            else:
                self._line(f"  {', '.join(item.requirement.id for item in same)}: {reason}")

    def _closing(self, verdict: RunVerdict) -> None:
        run = verdict.run
        self._line()
        for profile in verdict.profiles:
            if not profile.must_total and not profile.whole:
                continue
            colour = "green" if profile.conformant else "yellow"
            self._line(f"  {profile.profile.value.upper():13}" + self._paint(colour, profile_line(profile)))
        checks = len(run.results)
        scale = f", time scale {run.host.get('scale')}" if run.host.get("scale", 1.0) != 1.0 else ""
        ended = "" if run.complete else "; the run is incomplete"
        self._line(
            self._paint("dim", f"  {checks} checks in {run.seconds:.1f} s{scale}{ended}; exit code {int(verdict.code)}")
        )

    def _field(self, name: str, text: str) -> None:
        if text:
            first, *rest = text.splitlines()
            self._line(f"    {name:13} {first}")
            for line in rest:
                self._line(f"    {'':13} {line}")

    def _line(self, text: str = "") -> None:
        self._stream.write(f"{text}\n")

    def _paint(self, colour: str, text: str) -> str:
        return f"\033[{_COLOURS[colour]}m{text}\033[0m" if self._colour else text
