"""Where an adapter is found beside what is installed, without its folder's modules standing in for anybody else's."""

from __future__ import annotations

import os
import sys

__all__ = ["added", "make_importable", "own_environment"]

_ADDED: list[str] = []


def make_importable(folders: list[str]) -> None:
    """Let an adapter in the working folder be found, also by its own workers; what we need is imported by now."""
    for folder in reversed(folders):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    inherited = _inherited()
    _ADDED[:] = [folder for folder in folders if folder not in inherited]
    os.environ["PYTHONPATH"] = os.pathsep.join([*inherited, *_ADDED])


def added() -> list[str]:
    """The folders that were made importable here."""
    return list(_ADDED)


def own_environment() -> dict[str, str]:
    """Of a process of the suite's own: a `random.py` beside an adapter must not come before Python's."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in _inherited() if entry not in _ADDED)}


def _inherited() -> list[str]:
    return [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
