"""Nodes in worker processes. A worker imports `worker` alone; the bridge is imported when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.executors.multiprocess.bridge import MultiprocessExecutorBridge as MultiprocessExecutorBridge
    from penstock.executors.multiprocess.supervisor import WorkerOptions as WorkerOptions

_HOMES = {
    "MultiprocessExecutorBridge": "penstock.executors.multiprocess.bridge",
    "WorkerOptions": "penstock.executors.multiprocess.supervisor",
}

__all__ = ["MultiprocessExecutorBridge", "WorkerOptions"]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'penstock.executors.multiprocess' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
