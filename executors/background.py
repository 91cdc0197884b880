"""A task that belongs to an object, not to a nursery: for bridges, which are opened and closed in any order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

__all__ = ["Background"]


class Background:
    """Runs a function beside its owner until it returns or `aclose` ends it.

    It is a trio system task, so its function must not raise: what goes wrong is the owner's to note and to tell.
    Trio cancels it when the main task of the program has ended without closing its owner.
    """

    def __init__(self, function: Callable[[], Awaitable[None]], name: str) -> None:
        self._function: Callable[[], Awaitable[None]] | None = function
        self._scope = trio.CancelScope()
        self._done = trio.Event()
        trio.lowlevel.spawn_system_task(self._run, name=name)

    async def _run(self) -> None:
        function, self._function = self._function, None  # it is of the owner, who has us: no cycle outlives the task
        assert function is not None
        try:
            with self._scope:
                await function()
        finally:
            self._done.set()

    async def aclose(self) -> None:
        """Cancel the task and wait until it has ended, also when the caller is cancelled. Idempotent."""
        self._scope.cancel()
        with trio.CancelScope(shield=True):
            await self._done.wait()
