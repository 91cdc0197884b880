"""penstock: a dataflow engine for streams of audio, text, tensors and JSON.

The names below are imported when they are first used (PEP 562), so that a worker process, which
needs none of them, does not pay for trio and the engine.
"""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING

if os.path.exists(os.path.join(__path__[0], "..", "shm", "segment.py")):
    # Imported from a checkout, where engine/ and its neighbours stand beside this folder and not in it: a program that
    # is started in the root of the repository finds this folder before the installed package.
    __path__.append(os.path.dirname(__path__[0]))

if TYPE_CHECKING:
    from penstock.engine import Pipeline as Pipeline
    from penstock.engine import Report as Report
    from penstock.engine import Run as Run
    from penstock.engine import RunEnded as RunEnded
    from penstock.engine import RunOptions as RunOptions
    from penstock.engine import load as load
    from penstock.engine import run as run
    from penstock.executors import AudioBuffer as AudioBuffer
    from penstock.executors import DataType as DataType
    from penstock.executors import EndOfStream as EndOfStream
    from penstock.executors import ExecutorType as ExecutorType
    from penstock.executors import Node as Node
    from penstock.executors import NodeContext as NodeContext
    from penstock.executors import RuntimeData as RuntimeData
    from penstock.executors import ServiceError as ServiceError

__version__ = "0.1.0"

_HOMES = {
    "Pipeline": "penstock.engine",
    "Report": "penstock.engine",
    "Run": "penstock.engine",
    "RunEnded": "penstock.engine",
    "RunOptions": "penstock.engine",
    "load": "penstock.engine",
    "run": "penstock.engine",
    "AudioBuffer": "penstock.executors",
    "DataType": "penstock.executors",
    "EndOfStream": "penstock.executors",
    "ExecutorType": "penstock.executors",
    "Node": "penstock.executors",
    "NodeContext": "penstock.executors",
    "RuntimeData": "penstock.executors",
    "ServiceError": "penstock.executors",
}

__all__ = [
    "AudioBuffer",
    "DataType",
    "EndOfStream",
    "ExecutorType",
    "Node",
    "NodeContext",
    "Pipeline",
    "Report",
    "Run",
    "RunEnded",
    "RunOptions",
    "RuntimeData",
    "ServiceError",
    "__version__",
    "load",
    "run",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'penstock' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__
