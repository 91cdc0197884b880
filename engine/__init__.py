"""The engine: pipelines described, checked, placed, wired, run and reported. Names are imported when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.engine.external import RunEnded as RunEnded
    from penstock.engine.faults import DeadLetter as DeadLetter
    from penstock.engine.manifest import load as load
    from penstock.engine.pipeline import Pipeline as Pipeline
    from penstock.engine.problems import PipelineInvalid as PipelineInvalid
    from penstock.engine.report import Report as Report
    from penstock.engine.running import Run as Run
    from penstock.engine.running import RunOptions as RunOptions
    from penstock.engine.running import run as run

_HOMES = {
    "DeadLetter": "penstock.engine.faults",
    "Pipeline": "penstock.engine.pipeline",
    "PipelineInvalid": "penstock.engine.problems",
    "Report": "penstock.engine.report",
    "Run": "penstock.engine.running",
    "RunEnded": "penstock.engine.external",
    "RunOptions": "penstock.engine.running",
    "load": "penstock.engine.manifest",
    "run": "penstock.engine.running",
}

__all__ = ["DeadLetter", "Pipeline", "PipelineInvalid", "Report", "Run", "RunEnded", "RunOptions", "load", "run"]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'penstock.engine' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
