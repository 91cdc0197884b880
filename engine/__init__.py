"""The engine: pipelines described, checked, placed, wired, run and reported. Names are imported when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.engine.external import RunEnded as RunEnded
    from penstock.engine.faults import DeadLetter as DeadLetter
    from penstock.engine.manifest import load as load
    from penstock.engine.opening import run as run
    from penstock.engine.options import RunOptions as RunOptions
    from penstock.engine.pipeline import Pipeline as Pipeline
    from penstock.engine.plan import Plan as Plan
    from penstock.engine.problems import PipelineInvalid as PipelineInvalid
    from penstock.engine.report import Report as Report
    from penstock.engine.running import Run as Run

_HOMES = {
    "DeadLetter": "penstock.engine.faults",
    "Pipeline": "penstock.engine.pipeline",
    "Plan": "penstock.engine.plan",
    "PipelineInvalid": "penstock.engine.problems",
    "Report": "penstock.engine.report",
    "Run": "penstock.engine.running",
    "RunEnded": "penstock.engine.external",
    "RunOptions": "penstock.engine.options",
    "load": "penstock.engine.manifest",
    "run": "penstock.engine.opening",
}

__all__ = [
    "DeadLetter",
    "Pipeline",
    "PipelineInvalid",
    "Plan",
    "Report",
    "Run",
    "RunEnded",
    "RunOptions",
    "load",
    "run",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'penstock.engine' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
