"""How long the trio loop was not looking: whoever computes in it holds up every other task of the program.

In one *round* the loop runs each task that can run, once, and then looks for I/O and timers. What becomes ready in a
round waits at most for its end, so the longest round is the lag. It is measured where trio tells of it, before and
after the wait for I/O: once a round, not once a task, and never in a program that sleeps.

A task can not be resumed twice in one round. So whatever began in this round has held the loop ever since: that is how
a native node (`LocalTask`) knows its own part of it, exactly, also where it is an async one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter_ns

import trio

__all__ = ["Lag", "measured"]


class Lag:
    """The longest round of the loop while somebody measured it.

    Attributes:
        longest_ns: it.
    """

    def __init__(self, rounds: _Rounds | None = None) -> None:
        self._rounds = rounds
        self.longest_ns: int = 0

    @property
    def round_ns(self) -> int:
        """When this round began; now, where nobody measures."""
        return perf_counter_ns() if self._rounds is None else self._rounds.began_ns


class _Rounds(trio.abc.Instrument):
    """The rounds of one loop, for every run in it."""

    def __init__(self) -> None:
        self.began_ns = perf_counter_ns()
        self.meters: list[Lag] = []
        self._least_ns = 0  # of the longest rounds that the runs know of

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002
        self.began_ns = perf_counter_ns()

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002
        took_ns = perf_counter_ns() - self.began_ns
        if took_ns > self._least_ns:
            for lag in self.meters:
                lag.longest_ns = max(lag.longest_ns, took_ns)
            self.look_again()

    def look_again(self) -> None:
        self._least_ns = min((lag.longest_ns for lag in self.meters), default=0)


_rounds: trio.lowlevel.RunVar[_Rounds | None] = trio.lowlevel.RunVar("penstock rounds", None)


@contextmanager
def measured() -> Iterator[Lag]:
    """Measure the lag of this loop."""
    rounds = _rounds.get()
    if rounds is None:
        rounds = _Rounds()
        _rounds.set(rounds)
        trio.lowlevel.add_instrument(rounds)
    lag = Lag(rounds)
    rounds.meters.append(lag)
    rounds.look_again()
    try:
        yield lag
    finally:
        rounds.meters.remove(lag)
        rounds.look_again()
        if not rounds.meters:
            trio.lowlevel.remove_instrument(rounds)
            _rounds.set(None)
