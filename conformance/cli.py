"""`penstock conformance ...`, and what it says where the extra is not installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

__all__ = ["main", "missing"]

_NEEDED = ("pytest", "trio", "psutil", "click")


def missing() -> str:
    """One line that says what to install; empty where all is there."""
    lacking = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    return f"penstock conformance needs {', '.join(lacking)}: pip install 'penstock[conformance]'" if lacking else ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; ends the process with the code of docs/conformance.md."""
    if said := missing():
        print(said, file=sys.stderr)
        sys.exit(2)
    from penstock.conformance.commands import conformance

    conformance.main(args=None if arguments is None else list(arguments), prog_name="penstock conformance")
