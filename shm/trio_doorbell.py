"""The doorbell of a trio program. Beside `trio_channel` the one room of this layer that imports trio."""

from __future__ import annotations

import sys
from collections.abc import Callable
from os import sched_yield
from time import perf_counter_ns
from typing import Final

import trio

from penstock.shm.doorbell import Doorbell
from penstock.shm.patience import Patience

__all__ = ["Breath", "TrioDoorbell"]

_TURN_NS: Final = 10_000
"""How long a spin looks before it lets the other tasks run."""
_BUSY_NS: Final = 20_000
"""A schedule point that takes longer than this ran somebody else: there is better to do than to spin."""
_BURST: Final = 32
_BURST_NS: Final = 100_000


class Breath:
    """Lets others run once in 32 calls, or 100 us, of what succeeds again and again without waiting."""

    def __init__(self) -> None:
        self._burst = 0
        self._due_ns = 0

    def is_due(self) -> bool:
        """Count a call that did not wait; whether others should run now."""
        self._burst += 1
        return self._burst >= _BURST or perf_counter_ns() > self._due_ns

    async def take(self) -> None:
        """Let them. It can not be cancelled: what was done before has been done."""
        await trio.lowlevel.cancel_shielded_checkpoint()
        self.begin_anew(perf_counter_ns())

    def begin_anew(self, now_ns: int) -> None:
        """Others have just run."""
        self._burst, self._due_ns = 0, now_ns + _BURST_NS


class TrioDoorbell(Doorbell):
    """Any number of tasks can wait for one descriptor.

    Trio allows one task in `wait_readable`, and a task that pumps for the others costs 3.9 us a message. So the first
    to wait *leads*: it waits on the descriptor and wakes those whose condition has come true; when it is done, or
    cancelled, it hands over to another. One task at a time may spin before it sleeps.
    """

    def __init__(self, read_fd: int, write_fd: int) -> None:
        super().__init__(read_fd, write_fd)
        self._led = False
        self._followers: dict[trio.lowlevel.Task, Callable[[], bool]] = {}
        self._spinning = False
        self._mocked: bool | None = None  # known once a task waits
        self.breath = Breath()

    async def until(
        self,
        ready: Callable[[], bool],
        patience: Patience | None = None,
        before_sleep: Callable[[], object] | None = None,
    ) -> None:
        """Wait until `ready()`, which must not raise; it is asked again after each ring. Not always a schedule point.

        Args:
            ready: the condition.
            patience: of this waiter; without one it sleeps at once.
            before_sleep: called before the wait goes to the kernel: to arm what will ring. It must not raise.
        """
        if ready():
            return
        start_ns = perf_counter_ns()
        if self._mocked is None:
            self._mocked = _is_mocked()
        budget_ns = 0 if patience is None or self._spinning or self._mocked else patience.budget_ns()
        if patience is not None and budget_ns and await self._spin(ready, start_ns + budget_ns):
            patience.spun()
            return
        if before_sleep is not None:
            before_sleep()
        try:
            while not ready():
                await (self._follow(ready) if self._led else self._lead(ready))
        finally:
            # Also on behalf of a follower that was woken to lead and found that it had no more to wait for.
            if not self._led and self._followers:
                self._wake(list(self._followers)[:1])
            now_ns = perf_counter_ns()
            if patience is not None:
                patience.slept(now_ns - start_ns, spun=budget_ns > 0)
            self.breath.begin_anew(now_ns)

    async def _spin(self, ready: Callable[[], bool], end_ns: int) -> bool:
        """Look again and again, a turn at a time, unless others have work to do."""
        self._spinning = True
        try:
            now_ns = perf_counter_ns()
            while now_ns < end_ns:
                turn_end_ns = now_ns + _TURN_NS
                while now_ns < turn_end_ns:
                    sched_yield()
                    if ready():
                        return True
                    now_ns = perf_counter_ns()
                await trio.lowlevel.checkpoint()
                before_ns, now_ns = now_ns, perf_counter_ns()
                if now_ns - before_ns > _BUSY_NS:
                    break
            return ready()
        finally:
            self._spinning = False

    async def _lead(self, ready: Callable[[], bool]) -> None:
        self._led = True
        try:
            while True:
                await trio.lowlevel.wait_readable(self._read_fd)
                self.drain()
                if self._followers:
                    self._wake([task for task, condition in self._followers.items() if condition()])
                if ready():
                    return
        finally:
            self._led = False

    async def _follow(self, ready: Callable[[], bool]) -> None:
        task = trio.lowlevel.current_task()
        self._followers[task] = ready

        def abort(_: object) -> trio.lowlevel.Abort:
            del self._followers[task]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _wake(self, tasks: list[trio.lowlevel.Task]) -> None:
        for task in tasks:
            del self._followers[task]
            trio.lowlevel.reschedule(task)


def _is_mocked() -> bool:
    """Whether this run's time is a test's: an autojumping clock moves on only when nothing runs, and a spin runs."""
    testing = sys.modules.get("trio.testing")
    return testing is not None and isinstance(trio.lowlevel.current_clock(), testing.MockClock)
