"""What surrounds the process of a worker: its interpreter, its environment, its working directory."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Surroundings"]

_BOOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot.py")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What surrounds a worker.

    Attributes:
        python: another interpreter, which needs numpy alone; None for that of this program.
        env: variables for it, beside the inherited ones.
        inherits: whether it gets the variables of this program. Withholding them is hygiene and no wall: a process can
            read those of its parent.
        cwd: where it works; None for where this program does.
        folders: where another interpreter finds modules, beside its own packages.
    """

    python: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    inherits: bool = True
    cwd: str | None = None
    folders: tuple[str, ...] = ()

    def worker(self, *arguments: str) -> list[str]:
        """The command of a worker."""
        if self.python is None:
            return [sys.executable, "-P", "-m", "penstock.executors.multiprocess.worker", *arguments]
        return [self.python, _BOOT, "work", *arguments]

    def describer(self, *arguments: str) -> list[str]:
        """The command that describes a node type (see `boot`)."""
        return [self.python or sys.executable, _BOOT, "describe", *arguments]

    def environment(self) -> dict[str, str]:
        """The variables; where this penstock was imported from a checkout, a worker has to find the same one."""
        variables = {**os.environ, **self.env} if self.inherits else dict(self.env)
        if self.python is not None and "PYTHONHOME" not in self.env:
            variables.pop("PYTHONHOME", None)  # it is for the other interpreter
        places = list(sys.modules["penstock"].__path__)
        if len(places) > 1 and self.python is None:
            given = variables.get("PYTHONPATH", "")
            variables["PYTHONPATH"] = os.pathsep.join(filter(None, [os.path.abspath(places[-1]), given]))
        return variables

    def search_path(self) -> tuple[str, ...]:
        """What goes before the interpreter's own `sys.path`: all of this program's, or only the folders of modules."""
        if self.python is not None:
            return self.folders
        return tuple(os.path.abspath(entry) for entry in sys.path if entry)
