"""The interpreter, environment and working directory of a node's worker: from what a graph says to what it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from penstock.engine.declarations import NodeDecl, SurroundingsDecl
from penstock.executors.multiprocess.surroundings import Surroundings

__all__ = ["surroundings_of"]

_INHERIT = "inherit"


def surroundings_of(decl: NodeDecl, folder: str) -> tuple[Surroundings, list[str]]:
    """What surrounds the worker of a node, and what is wrong with what was said.

    Args:
        decl: the node.
        folder: of its manifest, where relative paths start; empty: where this program runs.
    """
    said = decl.surroundings
    python = None if said.python is None else _found(said.python, folder)
    cwd = None if said.cwd is None else os.path.abspath(os.path.join(folder, said.cwd))
    problems = list(_problems(said, python, cwd))
    if problems:
        return Surroundings(), problems
    env = {name: str(value) for name, value in said.env.items() if name != _INHERIT}
    modules = folder or os.path.dirname(os.path.abspath(decl.where.file))
    return Surroundings(python, env, bool(said.env.get(_INHERIT, True)), cwd, (modules,)), []


def _found(python: str, folder: str) -> str | None:
    """An interpreter by its path, or by a name that is searched as a shell does. A link stays one: a venv is a link."""
    if os.sep not in python:
        return shutil.which(python)
    path = os.path.abspath(os.path.join(folder, os.path.expanduser(python)))
    return path if os.access(path, os.X_OK) and os.path.isfile(path) else None


def _problems(said: SurroundingsDecl, python: str | None, cwd: str | None) -> Iterator[str]:
    if said.python is not None and python is None:
        yield f"there is no interpreter {said.python!r}: `python` is a path from the manifest, or a name on PATH"
    if cwd is not None and not os.path.isdir(cwd):
        yield f"there is no folder {said.cwd!r} (`cwd`)"
    for name, value in said.env.items():
        if name == _INHERIT:
            if not isinstance(value, bool):
                yield f"`inherit` of env is true or false, not {value!r}"
        elif not isinstance(value, str | int | float) or isinstance(value, bool):
            yield f"variable {name!r} of env is a text or a number, not {value!r}"
        elif not name or "=" in name or "\0" in f"{name}{value}":
            yield f"{name!r} can be no variable of env"
