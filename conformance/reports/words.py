"""Phrases that the reports share."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from penstock.conformance.results import Result
from penstock.conformance.verdict import Judged, ProfileVerdict, RunVerdict, Verdict

__all__ = ["basis", "profile_line", "repeat_command", "spans", "turns"]


def repeat_command(verdict: RunVerdict, requirement: str, seed: int) -> str:
    """What to type to see it again."""
    adapter = shlex.quote(verdict.run.adapter)
    return f"penstock conformance run --bridge {adapter} --require {requirement} --seed {seed}"


def basis(judged: Judged) -> str:
    """Where a requirement comes from: "contract L356, errata D-27 D-29"."""
    requirement = judged.requirement
    words = requirement.basis.replace("(", "").replace(")", "").split()
    lines = [word for word in words if word.startswith("L")]
    rest = [word for word in words if not word.startswith(("L", "D-")) and word != "—"]
    parts = [f"contract {' '.join(lines)}"] if lines else []
    parts += [f"errata {' '.join(requirement.errata)}"] if requirement.errata else []
    return ", ".join([*parts, *rest])


def turns(results: Sequence[Result]) -> str:
    """As "3 of 20 runs failed", where there was more than one."""
    count = len({result.turn for result in results})
    failed = len({result.turn for result in results if result.outcome.failed})
    return f"{failed} of {count} runs failed" if count > 1 else ""


def profile_line(profile: ProfileVerdict) -> str:
    """As "45/48 MUST pass, 2 FAIL, 1 NOT-CLAIMED (R-EB-14): not conformant"."""
    named = {Verdict.NOT_CLAIMED.value: f" ({spans(profile.not_claimed, fold=False)})"}
    tally = [
        f"{count} {name}{named.get(name, '')}"
        for name, count in profile.tally.items()
        if name not in {"PASS", "NOT-SELECTED"}
    ]
    if profile.conformant:
        said = "conformant"
    else:
        said = "not conformant" if profile.whole else "not judged: only a part was selected"
    return f"{', '.join([f'{profile.must_pass}/{profile.must_total} MUST pass', *tally])}: {said}"


def spans(ids: Sequence[str], *, fold: bool = True) -> str:
    """Ids, those of one area together; with `fold`, many of one area are a star."""
    areas: dict[str, list[str]] = {}
    for name in ids:
        areas.setdefault(name[:4], []).append(name[5:])
    return ", ".join(
        f"{area}-{'/'.join(numbers)}" if len(numbers) < 4 or not fold else f"{area}-*"
        for area, numbers in areas.items()
    )
