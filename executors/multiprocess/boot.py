"""Starts a worker, or describes a node type, in an interpreter that does not know penstock: `python boot.py ...`.

That interpreter needs numpy alone. It gets the engine's own penstock, and nothing else of the engine's packages, from a
finder. This file is run by whatever interpreter a user has named, so its syntax is that of Python 3.6, and it says what
does not fit instead of failing somewhere.

    boot.py work LIFELINE CONTROL     as the worker module
    boot.py describe RESULT           a request on standard input, the answer into a descriptor (see `describe`)

The module is safe to import again, which is what children that a node spawns do: then they find penstock, too.
"""

import json
import os
import sys
from typing import Any

__all__ = ["NUMPY", "PYTHON", "main"]

PYTHON = (3, 11)
NUMPY = (1, 26)
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class _Finder:
    """Finds the package penstock, and leaves everything else to others."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        del path, target
        if name != "penstock":
            return None
        from importlib.util import spec_from_file_location

        folder = os.path.join(_ROOT, "penstock")  # of a checkout; else this is the package's own folder
        folder = folder if os.path.exists(os.path.join(folder, "__init__.py")) else _ROOT
        return spec_from_file_location(name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder])


def _misfit() -> str:
    """What is wrong with this interpreter; empty where nothing is."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < PYTHON:
        return f"is Python {version}, and penstock needs {PYTHON[0]}.{PYTHON[1]} or later"
    try:
        import numpy as np
    except ImportError as error:
        return f"(Python {version}) has no numpy, the one package that a worker needs: {error}"
    if tuple(map(int, np.__version__.split(".")[:2])) < NUMPY:
        return f"has numpy {np.__version__}, and penstock needs {NUMPY[0]}.{NUMPY[1]} or later"
    return ""


def _work(lifeline: int, control: int) -> int:
    if sys.version_info[:2] >= PYTHON:
        from penstock.executors.multiprocess.lifeline import arm

        arm(lifeline)
    misfit = _misfit()
    if misfit:
        text = f"its interpreter {sys.executable} {misfit}"
        said = {"type": "failed", "message": text, "kind": "", "location": "", "details": ""}
        os.write(control, json.dumps(said).encode() + b"\n")
        return 1
    from penstock.executors.multiprocess.serve import serve

    return serve(control)


def _describe(result: int) -> int:
    misfit = _misfit()
    answer = {"misfit": misfit}  # type: dict[str, Any]
    if not misfit:
        from penstock.executors.multiprocess.describe import describe

        answer = describe(json.load(sys.stdin))
    with os.fdopen(result, "wb") as file:
        file.write(json.dumps(answer).encode())
    return 0


def main() -> int:
    """Do what the command line says."""
    del sys.path[0]  # the folder of this file, whose modules are none of the top
    if sys.argv[1] == "work":
        return _work(int(sys.argv[2]), int(sys.argv[3]))
    return _describe(int(sys.argv[2]))


if sys.version_info[:2] >= PYTHON:
    sys.meta_path.insert(0, _Finder)

if __name__ == "__main__":
    sys.exit(main())
