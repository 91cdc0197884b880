"""report.json."""

from __future__ import annotations

import datetime as dt
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from penstock.conformance.reports.words import repeat_command
from penstock.conformance.requirements import CONTRACT
from penstock.conformance.results import Result
from penstock.conformance.verdict import Judged, ProfileVerdict, RunVerdict, exit_code

__all__ = ["SCHEMA", "document"]

SCHEMA = "bridge-conformance/report-1"


def document(verdicts: Sequence[RunVerdict], seed: int) -> dict[str, Any]:
    """The whole report as JSON."""
    return {
        "schema": SCHEMA,
        "contract": CONTRACT,
        "suite": metadata.version("penstock"),
        "written": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "host": {"system": platform.system(), "python": platform.python_version(), "cpus": os.cpu_count()},
        "exit_code": int(exit_code(verdicts)),
        "runs": [_run(verdict, seed) for verdict in verdicts],
    }


def _run(verdict: RunVerdict, seed: int) -> dict[str, Any]:
    run = verdict.run
    return {
        "implementation": {
            "adapter": run.adapter,
            "name": run.name,
            "version": run.about.get("version", ""),
            "url": run.about.get("url", ""),
            "capabilities": run.about.get("claims", {}),
        },
        "problem": run.problem,
        "complete": run.complete,
        "seconds": run.seconds,
        "time_scale": run.host.get("scale", 1.0),
        "noise_p99_ms": run.host.get("noise_p99_ms", 0.0),
        "conformant": verdict.conformant,
        "exit_code": int(verdict.code),
        "known_problems": list(verdict.known_problems),
        "profiles": [_profile(profile) for profile in verdict.profiles],
        "requirements": [_requirement(verdict, judged, seed) for judged in verdict.requirements],
    }


def _profile(profile: ProfileVerdict) -> dict[str, Any]:
    return {
        "name": profile.profile.value,
        "conformant": profile.conformant,
        "whole": profile.whole,
        "must": {"pass": profile.must_pass, "total": profile.must_total},
        "verdicts": dict(profile.tally),
    }


def _requirement(verdict: RunVerdict, judged: Judged, seed: int) -> dict[str, Any]:
    requirement = judged.requirement
    found: dict[str, Any] = {
        "id": requirement.id,
        "level": requirement.level.value,
        "verdict": judged.verdict.value,
        "sentence": requirement.sentence,
        "basis": requirement.basis,
        "checks": [_check(result) for result in judged.results],
    }
    if judged.reason:
        found["reason"] = judged.reason
    if judged.verdict.failed:
        found["follows"] = judged.follows
        found["causes"] = list(requirement.causes)
        found["repeat"] = repeat_command(verdict, requirement.id, seed)
    return found


def _check(result: Result) -> dict[str, Any]:
    return {
        "name": result.check,
        "kind": result.kind,
        "turn": result.turn,
        "outcome": result.outcome.value,
        "expected": result.expected,
        "actual": result.actual,
        "ms": result.ms,
        "measured": result.measured,
    }
