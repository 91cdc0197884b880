"""Where options come from: the command line, then the environment, then `[tool.penstock-conformance]`."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

__all__ = ["PREFIX", "bridges_of_environment", "from_project"]

PREFIX = "BRIDGE_CONFORMANCE"
"""`BRIDGE_CONFORMANCE_RUN_BRIDGE` is `run --bridge`; of `--bridge` the short `BRIDGE_CONFORMANCE_BRIDGE` as well."""


def from_project(folder: Path | None = None) -> dict[str, Any]:
    """The table of the pyproject.toml in this folder; empty where there is none.

    Raises:
        ValueError: it can not be read; the text says why.
    """
    path = (folder or Path.cwd()) / "pyproject.toml"
    if not path.is_file():
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    table: Any = content.get("tool", {}).get("penstock-conformance", {})
    if not isinstance(table, dict):
        raise ValueError(f"{path}: [tool.penstock-conformance] is no table")  # noqa: TRY004  it is what the file says
    return {name.replace("-", "_"): value for name, value in table.items()}


def bridges_of_environment() -> tuple[str, ...]:
    """What `BRIDGE_CONFORMANCE_BRIDGE` names, separated by white space."""
    return tuple(os.environ.get(f"{PREFIX}_BRIDGE", "").split())
