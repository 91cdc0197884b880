"""The suite's test of itself: the reference passes, and every mutant dies by the id of what it breaks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import click

from penstock.conformance.mutants import MUTANTS, Mutant
from penstock.conformance.reports.terminal import Terminal
from penstock.conformance.requirements import CATALOGUE, Level
from penstock.conformance.runner import Options, run
from penstock.conformance.verdict import ExitCode, RunVerdict, judge

__all__ = ["Death", "execute", "selftest"]

_REFERENCE = "penstock.conformance.reference.adapter:ReferenceAdapter"


@dataclass(frozen=True)
class Death:
    """How a mutant fared."""

    mutant: Mutant
    verdict: str
    said: str
    seconds: float

    @property
    def caught(self) -> bool:
        return self.verdict in {"FAIL", "HANG", "CRASH"}


def selftest(names: Sequence[str], jobs: int, times: int) -> ExitCode:
    """Run the reference (unless only some mutants are asked for) and the mutants; say the matrix."""
    unknown = [name for name in names if name not in MUTANTS]
    if unknown:
        click.echo(f"there is no mutant {', '.join(unknown)}; there are {', '.join(MUTANTS)}", err=True)
        return ExitCode.USAGE
    code = ExitCode.CONFORMANT if names else _reference()
    chosen = [MUTANTS[name] for name in names or MUTANTS]
    with ThreadPoolExecutor(jobs) as pool:
        deaths = []
        for death in pool.map(execute, itertools.chain.from_iterable([chosen] * times)):
            _say(death)
            deaths.append(death)
    survivors = [death for death in deaths if not death.caught]
    missing = [] if names else _without_mutant()
    click.echo(f"\n{len(deaths) - len(survivors)} of {len(deaths)} mutants caught by the id of what they break")
    if missing:
        click.echo(f"no mutant shows that these are tested: {', '.join(missing)}")
    return ExitCode.SUITE if survivors or missing or code is not ExitCode.CONFORMANT else ExitCode.CONFORMANT


def execute(mutant: Mutant) -> Death:
    """Run one mutant against the one requirement that it breaks."""
    adapter = f"penstock.conformance.mutants:{mutant.name}"
    result = run(adapter, Options(require=[mutant.requirement], time_scale=1.0))
    verdict: RunVerdict = judge(result)
    judged = verdict.by_id(mutant.requirement)
    said = result.problem or (judged.worst.actual if judged.worst else judged.reason)
    return Death(mutant, "ADAPTER" if result.problem else judged.verdict.value, said, result.seconds)


def _reference() -> ExitCode:
    verdict = judge(run(_REFERENCE, Options()))
    Terminal().report(verdict, 1)
    click.echo()
    return verdict.code


def _say(death: Death) -> None:
    sign = "✓" if death.caught else "✗ SURVIVES"
    said = " ".join(death.said.split())
    click.echo(f"{sign} {death.mutant.requirement}  {death.mutant.name:26} {death.verdict:5} {said[:110]}")


def _without_mutant() -> list[str]:
    shown = {mutant.requirement for mutant in MUTANTS.values()}
    return [name for name, item in CATALOGUE.items() if item.level is Level.MUST and name not in shown]
