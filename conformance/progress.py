"""One line that says how far a run is; only on a terminal."""

from __future__ import annotations

import sys
import threading
from typing import Self

from penstock.conformance.results import Outcome, Result

__all__ = ["Progress"]


class Progress:
    """Counts results as they come, from whatever thread."""

    def __init__(self, name: str, *, quiet: bool) -> None:
        self._name = name
        self._shown = not quiet and sys.stderr.isatty()
        self._done = 0
        self._failed = 0
        self._lock = threading.Lock()

    def __call__(self, result: Result) -> None:
        with self._lock:
            self._count(result)

    def _count(self, result: Result) -> None:
        self._done += 1
        self._failed += result.outcome.failed or result.outcome is Outcome.ERROR
        if self._shown:
            failed = f", {self._failed} failed" if self._failed else ""
            sys.stderr.write(f"\r\033[K{self._name}: {self._done} checks{failed}, {result.requirement}")
            sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
