"""The suite as plain functions: `await check_data_bridge(MyAdapter)` in a program or a test of your own."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from penstock.conformance.adapter import Adapter
from penstock.conformance.requirements import select
from penstock.conformance.runner import Options, run
from penstock.conformance.verdict import ExitCode, RunVerdict, judge

__all__ = [
    "ConformanceFailure",
    "check_bridge",
    "check_converter",
    "check_data_bridge",
    "check_everything",
    "check_metrics",
    "verdict_of",
]


class ConformanceFailure(AssertionError):
    """The implementation is not conformant, or that could not be told.

    Attributes:
        verdict: everything that came out.
    """

    def __init__(self, verdict: RunVerdict) -> None:
        self.verdict = verdict
        super().__init__("\n".join(_lines(verdict)))


def _lines(verdict: RunVerdict) -> list[str]:
    lines = [f"{verdict.run.name}: {verdict.code.name.lower()}"]
    if verdict.run.problem:
        lines.append(verdict.run.problem)
    for item in verdict.failures:
        worst = item.worst
        detail = f": expected {worst.expected}; actual: {worst.actual}" if worst else ""
        lines.append(f"{item.requirement.id} {item.verdict.value} {item.requirement.sentence}{detail}")
    lines += [
        f"{item.requirement.id} {item.verdict.value}: {item.reason}"
        for item in verdict.requirements
        if item.verdict.open and item.requirement.level.value == "MUST"
    ]
    return lines


def name_of(adapter: type[Adapter] | Adapter | str) -> str:
    """The `package.module:Class` under which the suite's own process finds an adapter.

    Raises:
        ValueError: it can not be found by another process.
    """
    if isinstance(adapter, str):
        return adapter
    kind = adapter if isinstance(adapter, type) else type(adapter)
    if "<" in kind.__qualname__ or kind.__module__ == "__main__":
        raise ValueError(f"{kind.__qualname__} can not be found by another process: define it at the top of a module")
    return f"{kind.__module__}:{kind.__qualname__}"


async def verdict_of(adapter: type[Adapter] | Adapter | str, areas: Iterable[str] = ()) -> RunVerdict:
    """Run the checks of these areas (all, where there are none) in a process of their own."""
    ids = [requirement.id for requirement in select(areas)]
    import sys

    options = Options(require=ids, path=[entry for entry in sys.path if entry])
    return judge(await trio.to_thread.run_sync(run, name_of(adapter), options))


async def _checked(adapter: type[Adapter] | Adapter | str, *areas: str) -> RunVerdict:
    verdict = await verdict_of(adapter, areas)
    if verdict.code is not ExitCode.CONFORMANT:
        raise ConformanceFailure(verdict)
    return verdict


async def check_bridge(adapter: type[Adapter] | Adapter | str) -> RunVerdict:
    """The executor bridges: areas EB, NX, MX and ER.

    Raises:
        ConformanceFailure: they do not keep the contract; the text says in what.
    """
    return await _checked(adapter, "EB", "NX", "MX", "ER")


async def check_converter(adapter: type[Adapter] | Adapter | str) -> RunVerdict:
    """The converter: area CV.

    Raises:
        ConformanceFailure: as above.
    """
    return await _checked(adapter, "CV")


async def check_data_bridge(adapter: type[Adapter] | Adapter | str) -> RunVerdict:
    """The DataBridge: areas DB, BP and CL.

    Raises:
        ConformanceFailure: as above.
    """
    return await _checked(adapter, "DB", "BP", "CL")


async def check_metrics(adapter: type[Adapter] | Adapter | str) -> RunVerdict:
    """The metrics: area MT.

    Raises:
        ConformanceFailure: as above.
    """
    return await _checked(adapter, "MT")


async def check_everything(adapter: type[Adapter] | Adapter | str) -> RunVerdict:
    """All that the adapter claims.

    Raises:
        ConformanceFailure: as above.
    """
    return await _checked(adapter)
