"""The watchdog of a child: a thread that ends the process where its loop does not turn any more.

A check that waits is ended by its own loop. One that blocks the loop can only be ended together with the process, and
what is on disk by then is all that will be known of it.
"""

from __future__ import annotations

import faulthandler
import os
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Self

__all__ = ["EXIT_HUNG", "Watchdog"]

EXIT_HUNG = 70
_LOOK_S = 0.25


class Watchdog:
    """Ends the process when `beat` was not called for `standstill_s`, or the block takes longer than `bound_s`.

    Also when the parent has gone: nobody would read what comes out.
    """

    def __init__(self, bound_s: float, standstill_s: float, last_words: Callable[[str], None]) -> None:
        self._deadline = time.monotonic() + bound_s
        self._standstill_s = standstill_s
        self._last_words = last_words
        self._beat = time.monotonic()
        self._parent = os.getppid()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="conformance watchdog", daemon=True)

    def beat(self) -> None:
        """The loop turns."""
        self._beat = time.monotonic()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_S):
            now = time.monotonic()
            hangs = now > self._deadline or now - self._beat > self._standstill_s
            if hangs or os.getppid() != self._parent:
                self._last_words(_stacks())
                os._exit(EXIT_HUNG)

    def __enter__(self) -> Self:
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()


def _stacks() -> str:
    """Where all threads are."""
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        return file.read()
