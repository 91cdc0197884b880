"""What the lanes of a run tell each other, as names in a folder: who does what, and what hangs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["Claims"]

_STUCK = "stuck-"


class Claims:
    """A folder that all children of a run share; they may die at any moment, and files stay."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(exist_ok=True)

    def take(self, item: str) -> bool:
        """Whether this process is the first to ask for the item."""
        name = hashlib.sha256(item.encode()).hexdigest()[:32]
        try:
            os.close(os.open(self._folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return False
        return True

    def stuck(self) -> set[str]:
        """The requirements that have hung or crashed so far."""
        return {name.removeprefix(_STUCK) for name in os.listdir(self._folder) if name.startswith(_STUCK)}

    def add_stuck(self, requirement: str) -> None:
        """Say that what stands on this requirement need not be tried."""
        (self._folder / f"{_STUCK}{requirement}").touch()
