"""Async nodes in a worker: a trio loop in a thread of its own, which the worker's loop calls into.

The node's background tasks go on while the worker waits for its next input. Only a worker with an async node imports
this, and trio with it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import trio

__all__ = ["Portal"]


class Portal:
    """A running trio loop, entered from another thread."""

    def __init__(self) -> None:
        started: queue.SimpleQueue[trio.lowlevel.TrioToken] = queue.SimpleQueue()
        self._thread = threading.Thread(target=trio.run, args=(self._main, started), daemon=True, name="async node")
        self._thread.start()
        self._token = started.get()

    def run(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """Call an async function in the loop and wait for what it returns or raises."""
        return trio.from_thread.run(function, trio_token=self._token)

    def close(self) -> None:
        """End the loop."""
        trio.from_thread.run_sync(self._stop.set, trio_token=self._token)
        self._thread.join()

    async def _main(self, started: queue.SimpleQueue[trio.lowlevel.TrioToken]) -> None:
        self._stop = trio.Event()
        started.put(trio.lowlevel.current_trio_token())
        await self._stop.wait()
