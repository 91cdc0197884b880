"""Calls that run beside the check: how far they are, how they ended, and cancelling them at a chosen step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import trio

from penstock.conformance.expect import Failure, described
from penstock.executors.contract import EndOfStream, ServiceError

__all__ = ["Pending", "cancelled_at", "cancelled_at_each_step"]

T = TypeVar("T")


class Pending(Generic[T]):
    """A call in a task of its own. Errors of the contract are kept, everything else ends the check."""

    def __init__(self, nursery: trio.Nursery, call: Callable[[], Awaitable[T]]) -> None:
        self._call = call
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self.value: T | None = None
        self.error: BaseException | None = None
        self.cancelled = False
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        try:
            with self._scope:
                self.value = await self._call()
        except (ServiceError, EndOfStream) as error:
            self.error = error
        finally:
            self.cancelled = self._scope.cancelled_caught
            self._ended.set()

    @property
    def done(self) -> bool:
        """Returned, raised or cancelled."""
        return self._ended.is_set()

    @property
    def returned(self) -> bool:
        return self.done and self.error is None and not self.cancelled

    def words(self) -> str:
        """Where it stands."""
        if not self.done:
            return "it still waits"
        if self.cancelled:
            return "it was cancelled"
        return f"it raised {described(self.error)}" if self.error else f"it returned {described(self.value)}"

    async def ended(self) -> None:
        """Wait for its end, however it comes; the bound is that of the call itself."""
        await self._ended.wait()

    async def cancel(self) -> None:
        """Cancel it and wait until it has ended."""
        self._scope.cancel()
        with trio.move_on_after(10):
            await self._ended.wait()
            return
        raise Failure("a cancelled call ends", "it has not ended 10 s later")


async def cancelled_at_each_step(
    call: Callable[[], Awaitable[Any]], after: Callable[[bool], Awaitable[None]], most: int = 16
) -> int:
    """Cancel a call at its first step, at its second and so on, until it gets to its end unharmed.

    Args:
        call: makes a fresh call each time.
        after: run after each; told whether the call came to its end.
        most: of the steps.

    Returns:
        At how many steps it was cancelled.
    """
    for step in range(1, most + 1):
        ended = await cancelled_at(call, step)
        await after(ended)
        if ended:
            return step - 1
    return most


async def cancelled_at(call: Callable[[], Awaitable[Any]], step: int) -> bool:
    """Whether it came to its end although it was to be cancelled at this step."""
    ended = False
    scope = trio.CancelScope()

    async def run() -> None:
        nonlocal ended
        counter = _Steps(trio.lowlevel.current_task(), step, scope)
        trio.lowlevel.add_instrument(counter)
        try:
            with scope:
                await call()
            ended = not scope.cancelled_caught
        finally:
            trio.lowlevel.remove_instrument(counter)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
    return ended


class _Steps(trio.abc.Instrument):
    """Cancels a scope after its task has run for so many steps."""

    def __init__(self, task: trio.lowlevel.Task, steps: int, scope: trio.CancelScope) -> None:
        self._task = task
        self._left = steps
        self._scope = scope

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._left -= 1
            if self._left == 0:
                self._scope.cancel()
