"""The verdict: one function that everything shown to people and to machines is made from."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.conformance.adapter import Profile
from penstock.conformance.known import Known
from penstock.conformance.requirements import CATALOGUE, Level, Requirement, in_profile
from penstock.conformance.results import Outcome, Result

__all__ = ["ExitCode", "Judged", "ProfileVerdict", "Run", "RunVerdict", "Verdict", "exit_code", "judge"]


class Verdict(enum.Enum):
    """What is said of a requirement."""

    PASS = "PASS"  # noqa: S105  a verdict
    FAIL = "FAIL"
    HANG = "HANG"
    CRASH = "CRASH"
    ERROR = "ERROR"
    DEVIATION = "DEVIATION"
    KNOWN = "KNOWN"
    NOT_EXERCISED = "NOT-EXERCISED"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_CLAIMED = "NOT-CLAIMED"
    NOT_SELECTED = "NOT-SELECTED"

    @property
    def failed(self) -> bool:
        return self in {Verdict.FAIL, Verdict.HANG, Verdict.CRASH, Verdict.ERROR}

    @property
    def open(self) -> bool:
        """Neither shown to hold nor shown to fail."""
        return self in {Verdict.NOT_EXERCISED, Verdict.INCONCLUSIVE}


class ExitCode(enum.IntEnum):
    """What the command returns."""

    CONFORMANT = 0
    VIOLATED = 1
    USAGE = 2
    ADAPTER = 3
    OPEN = 4
    SUITE = 5


@dataclass(frozen=True)
class Run:
    """Everything that came out of running the checks on one adapter.

    Attributes:
        adapter: `package.module:Class`.
        about: name, version, url and claims; empty where the adapter could not be made.
        problem: what the smoke gate or the machine said; empty where all went well.
        selected: ids that were to be checked.
        not_claimed: why a requirement is not asked of this implementation, by id.
        results: of the checks.
        complete: every selected check has ended, or its end is accounted for.
    """

    adapter: str
    about: Mapping[str, Any]
    selected: Sequence[str]
    not_claimed: Mapping[str, str]
    results: Sequence[Result]
    problem: str = ""
    complete: bool = True
    host: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return str(self.about.get("name") or self.adapter)

    @property
    def profiles(self) -> list[Profile]:
        return [Profile(name) for name in self.about.get("claims", {}).get("profiles", [])]


@dataclass(frozen=True)
class Judged:
    """A requirement and what is said of it.

    Attributes:
        results: of its checks, the heaviest first.
        reason: why it could not be tried or is not asked; what is known of it.
        follows: a failed requirement that explains this failure.
    """

    requirement: Requirement
    verdict: Verdict
    results: Sequence[Result] = ()
    reason: str = ""
    follows: str = ""

    @property
    def worst(self) -> Result | None:
        return self.results[0] if self.results else None

    @property
    def counts(self) -> bool:
        """Whether the conformance of a profile depends on it."""
        asked = self.verdict not in {Verdict.NOT_CLAIMED, Verdict.NOT_SELECTED}
        return asked and self.requirement.level is Level.MUST


@dataclass(frozen=True)
class ProfileVerdict:
    """How far an implementation keeps one of the profiles that it claims."""

    profile: Profile
    must_total: int
    must_pass: int
    tally: Mapping[str, int]
    whole: bool
    """All of the profile's requirements were selected."""
    not_claimed: tuple[str, ...] = ()
    """The MUSTs among them that are not asked, since what they stand on is not claimed."""

    @property
    def conformant(self) -> bool:
        return self.whole and self.must_total > 0 and self.must_pass == self.must_total


@dataclass(frozen=True)
class RunVerdict:
    """The verdict of a run."""

    run: Run
    requirements: Sequence[Judged]
    profiles: Sequence[ProfileVerdict]
    conformant: bool
    code: ExitCode
    known_problems: Sequence[str] = ()

    def by_id(self, requirement: str) -> Judged:
        return next(item for item in self.requirements if item.requirement.id == requirement)

    @property
    def failures(self) -> list[Judged]:
        """What failed, root causes first."""
        failed = [item for item in self.requirements if item.verdict.failed]
        return sorted(failed, key=lambda item: bool(item.follows))


def judge(run: Run, known: Sequence[Known] = (), *, strict: bool = False) -> RunVerdict:
    """The one function: from what happened to what is said of it."""
    mine = {entry.id: entry for entry in known if entry.applies_to(run.name)}
    judged = _with_causes([_of(requirement, run, mine.get(requirement.id)) for requirement in CATALOGUE.values()])
    profiles = [_profile(profile, judged) for profile in run.profiles]
    problems = _known_problems(judged, mine)
    conformant = not run.problem and bool(profiles) and all(profile.conformant for profile in profiles)
    code = _code(run, judged, problems, strict=strict)
    return RunVerdict(run, judged, profiles, conformant, code, problems)


def exit_code(verdicts: Sequence[RunVerdict]) -> ExitCode:
    """Of several runs: what matters most."""
    order = [ExitCode.SUITE, ExitCode.ADAPTER, ExitCode.VIOLATED, ExitCode.OPEN, ExitCode.USAGE]
    codes = {verdict.code for verdict in verdicts}
    if not verdicts:
        return ExitCode.OPEN
    return next((code for code in order if code in codes), ExitCode.CONFORMANT)


def _of(requirement: Requirement, run: Run, known: Known | None) -> Judged:
    if requirement.id in run.not_claimed:
        return Judged(requirement, Verdict.NOT_CLAIMED, reason=run.not_claimed[requirement.id])
    if requirement.id not in run.selected:
        return Judged(requirement, Verdict.NOT_SELECTED)
    results = sorted(
        (result for result in run.results if result.requirement == requirement.id),
        key=lambda result: -result.outcome.weight,
    )
    if not results:
        return Judged(requirement, Verdict.NOT_EXERCISED, reason="no check of it has run")
    outcome = results[0].outcome
    if outcome is Outcome.NOT_APPLICABLE:
        return Judged(requirement, Verdict.NOT_CLAIMED, results, reason=results[0].actual)
    verdict = Verdict(outcome.value)
    if known is not None and (verdict.failed or verdict.open) and verdict is not Verdict.ERROR:
        return Judged(requirement, Verdict.KNOWN, results, reason=known.words())
    if outcome.failed and requirement.level is not Level.MUST:
        verdict = Verdict.DEVIATION
    reason = results[0].actual if verdict.open else ""
    return Judged(requirement, verdict, results, reason)


def _with_causes(judged: list[Judged]) -> list[Judged]:
    failed = {item.requirement.id for item in judged if item.verdict.failed}
    return [
        Judged(item.requirement, item.verdict, item.results, item.reason, _root(item.requirement, failed))
        if item.verdict.failed
        else item
        for item in judged
    ]


def _root(requirement: Requirement, failed: set[str]) -> str:
    for name in requirement.after:
        if name in failed:
            return _root(CATALOGUE[name], failed) or name
        if root := _root(CATALOGUE[name], failed):
            return root
    return ""


def _profile(profile: Profile, judged: list[Judged]) -> ProfileVerdict:
    ids = {requirement.id for requirement in in_profile(profile)}
    mine = [item for item in judged if item.requirement.id in ids]
    must = [item for item in mine if item.counts]
    tally: dict[str, int] = {}
    for item in mine:
        if item.requirement.level is Level.MUST or item.verdict in {Verdict.DEVIATION, Verdict.KNOWN}:
            tally[item.verdict.value] = tally.get(item.verdict.value, 0) + 1
    whole = not any(item.verdict is Verdict.NOT_SELECTED for item in mine)
    passed = sum(item.verdict is Verdict.PASS for item in must)
    not_claimed = tuple(
        item.requirement.id
        for item in mine
        if item.verdict is Verdict.NOT_CLAIMED and item.requirement.level is Level.MUST
    )
    return ProfileVerdict(profile, len(must), passed, tally, whole, not_claimed)


def _known_problems(judged: list[Judged], known: Mapping[str, Known]) -> list[str]:
    problems = []
    for item in judged:
        entry = known.get(item.requirement.id)
        if entry is None or item.verdict is Verdict.NOT_SELECTED:
            continue
        if entry.expired:
            problems.append(f"{entry.id}: the known deviation has expired on {entry.expires}")
        if item.verdict is Verdict.PASS:
            problems.append(f"{entry.id} is listed as known, and passes: take it off the list")
        elif item.verdict is Verdict.NOT_CLAIMED:
            problems.append(f"{entry.id} is listed as known, and is not asked of {entry.bridge or 'this bridge'}")
        elif item.verdict is Verdict.KNOWN and not entry.covers(item.results[0].outcome.value):
            problems.append(f"{entry.id}: known as {entry.verdict}, but it is {item.results[0].outcome.value}")
    return problems


def _code(run: Run, judged: list[Judged], known_problems: list[str], *, strict: bool) -> ExitCode:
    must = [item for item in judged if item.requirement.level is Level.MUST]
    if any(item.verdict is Verdict.ERROR for item in judged):
        return ExitCode.SUITE
    if run.problem:
        return ExitCode.ADAPTER
    if any(item.verdict.failed for item in judged) or known_problems:
        return ExitCode.VIOLATED
    if strict and any(item.verdict is Verdict.DEVIATION for item in judged):
        return ExitCode.VIOLATED
    ran = [result for result in run.results if result.outcome is not Outcome.NOT_APPLICABLE]
    if not ran or not run.complete or any(item.verdict.open for item in must):
        return ExitCode.OPEN
    return ExitCode.CONFORMANT
