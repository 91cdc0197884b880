"""What `penstock conformance explain` says."""

from __future__ import annotations

import inspect
import textwrap

from penstock.conformance.collection import checks
from penstock.conformance.contract_text import quoted
from penstock.conformance.requirements import Requirement

__all__ = ["explanation"]


def explanation(requirement: Requirement) -> str:
    """Everything about a requirement."""
    from penstock.conformance.mutants import MUTANTS

    mine = [function for function in checks() if function.marking.requirement.id == requirement.id]
    parts = [
        f"{requirement.id}  {requirement.level.value}",
        f"  {requirement.sentence}",
        "",
        f"basis         {requirement.basis}",
        *(f"              {line}" for line in quoted(requirement)),
        f"kind          {requirement.kind.value}",
    ]
    if requirement.how:
        parts.append(f"tested by     {requirement.how}")
    parts += [f"  check       {_name(function)}" for function in mine]
    if requirement.needs:
        parts.append(f"needs         capability {requirement.needs}")
    if requirement.after:
        parts.append(f"look first at {', '.join(requirement.after)}")
    parts += ["usual causes"] + [f"  · {cause}" for cause in requirement.causes]
    for name, mutant in MUTANTS.items():
        if requirement.id == mutant.requirement:
            parts.append(f"mutant        {name}: {textwrap.shorten(mutant.fault, 90)}")
    return "\n".join(parts)


def _name(function: object) -> str:
    code = inspect.unwrap(function).__code__  # type: ignore[arg-type]
    folder = code.co_filename.rpartition("conformance/")[2]
    return f"{code.co_name}, conformance/{folder}:{code.co_firstlineno}"
