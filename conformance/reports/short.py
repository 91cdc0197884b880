"""badge.json (a shields.io endpoint) and summary.md (for $GITHUB_STEP_SUMMARY)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.conformance.adapter import Profile
from penstock.conformance.reports.words import basis, profile_line, repeat_command
from penstock.conformance.requirements import CONTRACT
from penstock.conformance.verdict import RunVerdict, Verdict

__all__ = ["badge", "summary"]


def badge(verdict: RunVerdict) -> dict[str, Any]:
    """As "databridge 40/41 multiprocess 45/48"."""
    shown = [profile for profile in verdict.profiles if profile.profile is not Profile.CORE] or list(verdict.profiles)
    full = [profile for profile in shown if profile.profile is Profile.FULL and profile.conformant]
    words = [f"{item.profile.value} {item.must_pass}/{item.must_total}" for item in full or shown]
    failed = any(item.verdict.failed for item in verdict.requirements) or bool(verdict.run.problem)
    return {
        "schemaVersion": 1,
        "label": f"executor-bridge {CONTRACT.partition('+')[0]}",
        "message": " ".join(words) or "not tested",
        "color": "brightgreen" if verdict.conformant else "red" if failed else "yellow",
    }


def summary(verdicts: Sequence[RunVerdict], seed: int) -> str:
    """Markdown: a table of profiles, then what failed."""
    lines = [f"## Executor bridge conformance (contract {CONTRACT})", ""]
    for verdict in verdicts:
        lines += [f"### {_text(verdict.run.name)} {_text(str(verdict.run.about.get('version', '')))}", ""]
        if verdict.run.problem:
            lines += ["The adapter could not be tested:", "", "```", verdict.run.problem, "```", ""]
            continue
        lines += ["| profile | verdict |", "|---|---|"]
        lines += [f"| {profile.profile.value} | {profile_line(profile)} |" for profile in verdict.profiles]
        lines.append("")
        for item in verdict.failures:
            worst = item.worst
            follows = f" (look at {item.follows} first)" if item.follows else ""
            lines.append(
                f"* **{item.requirement.id} {item.verdict.value}** {item.requirement.sentence}{follows}. {basis(item)}"
            )
            if worst is not None and not item.follows:
                lines += [f"  * expected: {_text(worst.expected)}", f"  * actual: {_text(worst.actual)}"]
                lines.append(f"  * repeat: `{repeat_command(verdict, item.requirement.id, seed)}`")
        for kind in (Verdict.DEVIATION, Verdict.KNOWN, Verdict.NOT_EXERCISED, Verdict.INCONCLUSIVE):
            named = [item.requirement.id for item in verdict.requirements if item.verdict is kind]
            if named:
                lines.append(f"* {kind.value}: {', '.join(named)}")
        lines.append("")
    return "\n".join(lines)


def _text(text: str) -> str:
    """Text that Markdown leaves alone."""
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in " ".join(text.split()))
