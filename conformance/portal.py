"""Portals: the suite runs in trio; the implementation runs in trio too, in asyncio, or in plain threads."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any, Protocol

import trio

__all__ = ["AsyncioPortal", "Portal", "SyncPortal", "TrioPortal", "portal_for"]


class Portal(Protocol):
    """Calls a method of the implementation in its own runtime."""

    async def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The result; cancelling the caller cancels the call, where the runtime can."""
        ...

    async def tasks(self) -> int | None:
        """How many tasks of the implementation live in its loop; None where that is not known."""
        ...


class TrioPortal:
    """In the suite's own loop."""

    async def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    async def tasks(self) -> int | None:
        return trio.lowlevel.current_statistics().tasks_living


class _Call:
    """One call in the asyncio loop, and the trio task that waits for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], Any]) -> None:
        self._loop = loop
        self._call = call
        self._waiter = trio.lowlevel.current_task()
        self._token = trio.lowlevel.current_trio_token()
        self._task: asyncio.Task[None] | None = None
        self._raise_cancel: Callable[[], Any] | None = None
        self._result: Any = None
        self._error: BaseException | None = None

    async def run(self) -> Any:
        """Wait for it in trio."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._loop.call_soon_threadsafe(self._start)
        await trio.lowlevel.wait_task_rescheduled(self._abort)
        if self._raise_cancel is not None and isinstance(self._error, asyncio.CancelledError):
            self._raise_cancel()
        if self._error is not None:
            raise self._error
        return self._result

    def _abort(self, raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self._raise_cancel = raise_cancel
        self._loop.call_soon_threadsafe(self._cancel)
        return trio.lowlevel.Abort.FAILED  # the end of the call wakes the waiter

    def _start(self) -> None:
        self._task = self._loop.create_task(self._within())
        self._task.add_done_callback(self._ended)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _within(self) -> None:
        try:
            result = self._call()
            self._result = await result if inspect.isawaitable(result) else result
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # SystemExit, say, would end the loop
            self._error = error

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Wake the waiter; a task that is cancelled before its first step ends here alone."""
        if task.cancelled():
            self._error = asyncio.CancelledError()
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(trio.lowlevel.reschedule, self._waiter)


class AsyncioPortal:
    """In an asyncio loop that runs in a thread of its own, for as long as this process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="conformance asyncio loop", daemon=True).start()

    async def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await _Call(self._loop, functools.partial(method, *args, **kwargs)).run()

    async def tasks(self) -> int | None:
        return len(asyncio.all_tasks(self._loop))


class SyncPortal:
    """In threads of trio's; a call that is cancelled is left alone, its result thrown away."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(500)

    async def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await trio.to_thread.run_sync(
            _plainly, functools.partial(method, *args, **kwargs), abandon_on_cancel=True, limiter=self._limiter
        )

    async def tasks(self) -> int | None:
        return None


def _plainly(call: Callable[[], Any]) -> Any:
    """The result, also of an `async` method that awaits nothing, or only what asyncio can run in this thread."""
    result = call()
    return asyncio.run(_await(result)) if inspect.isawaitable(result) else result


async def _await(result: Any) -> Any:
    return await result


@functools.cache
def _asyncio_portal() -> AsyncioPortal:
    return AsyncioPortal()


def portal_for(runtime: str) -> Portal:
    """The portal to a runtime; that to asyncio is one for the whole process."""
    if runtime == "asyncio":
        return _asyncio_portal()
    return SyncPortal() if runtime == "sync" else TrioPortal()
