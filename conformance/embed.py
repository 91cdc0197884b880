"""The suite inside somebody's own pytest: one test for each requirement, all of them from one isolated run."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from penstock.conformance.adapter import Adapter
from penstock.conformance.known import Known
from penstock.conformance.library import name_of
from penstock.conformance.requirements import CATALOGUE
from penstock.conformance.runner import Options, run
from penstock.conformance.verdict import Judged, RunVerdict, Verdict, judge

__all__ = ["BridgeConformance"]

_SKIPPED = {Verdict.NOT_CLAIMED, Verdict.NOT_SELECTED, Verdict.DEVIATION}
_OWN = {"adapter", "known", "options"}


class BridgeConformance:
    """Derive from it, name the adapter, and pytest shows a test for each requirement.

        class TestMine(BridgeConformance):
            adapter = "my_bridge.conformance:MyAdapter"
            known = {"R-BP-13": "fair queueing, issue #12"}

    Deviations are stated with `known` alone: a class that overrides a test fails.
    """

    adapter: ClassVar[str | type[Adapter]] = ""
    known: ClassVar[Mapping[str, str]] = {}
    options: ClassVar[Options | None] = None

    @pytest.mark.parametrize("requirement", list(CATALOGUE))
    def test_requirement(self, requirement: str) -> None:
        """What the isolated run said of this requirement."""
        verdict = _verdict(type(self))
        if verdict.run.problem:
            pytest.fail(verdict.run.problem, pytrace=False)
        judged = verdict.by_id(requirement)
        if judged.verdict in _SKIPPED:
            pytest.skip(f"{judged.verdict.value}: {_why(judged)}")
        if judged.verdict is Verdict.KNOWN:
            pytest.xfail(judged.reason)
        if judged.verdict is not Verdict.PASS and (judged.requirement.level.value == "MUST" or judged.verdict.failed):
            pytest.fail(
                f"{requirement} {judged.verdict.value}: {judged.requirement.sentence}\n{_why(judged)}", pytrace=False
            )

    def test_nothing_is_overridden(self) -> None:
        """Only `adapter`, `known` and `options` may be set; known deviations name requirements that fail."""
        mine = {name for kind in type(self).__mro__ if kind not in {BridgeConformance, object} for name in vars(kind)}
        overridden = {name for name in mine - _OWN if not name.startswith("__") and hasattr(BridgeConformance, name)}
        assert not overridden, f"{sorted(overridden)} overridden: state deviations with `known`"
        assert set(self.known) <= set(CATALOGUE), f"unknown: {set(self.known) - set(CATALOGUE)}"
        problems = _verdict(type(self)).known_problems
        assert not problems, "; ".join(problems)


def _why(judged: Judged) -> str:
    if judged.worst is not None and judged.worst.expected:
        causes = "".join(f"\n  - {cause}" for cause in judged.requirement.causes)
        return f"expected {judged.worst.expected}\nactual: {judged.worst.actual}\nusual causes:{causes}"
    return judged.reason or (judged.worst.actual if judged.worst else "")


@functools.cache
def _cached(kind: Any) -> RunVerdict:
    """One run for each class."""
    options = kind.options or Options(path=[entry for entry in sys.path if entry])
    known = [Known(name, reason) for name, reason in kind.known.items()]
    return judge(run(name_of(kind.adapter), options), known)


def _verdict(kind: Any) -> RunVerdict:
    return _cached(kind)
