"""How long to spin before sleeping.

A wake-up from the kernel costs 25 to 60 us across cores; an answer that is there sooner is had sooner by looking for it
again and again. But a processor that spins does nothing else, and on the core of the one it waits for it is in the way.
So a side spins for a bounded time at most, and only while that pays, which it learns from its own waits:

* the last wait was short: an idle pipeline sleeps in the kernel and uses no processor;
* spinning has not lately failed: every failure makes it leave out twice as many waits as before, and one success none.
  That covers whatever stands against it: one core for both sides, or more busy processes than cores.

Spinning is looking before arming, so the protocol of the doorbell knows nothing of it.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

__all__ = ["ANSWER_SPIN_NS", "WAIT_MODES", "Patience", "WaitMode"]

WaitMode: TypeAlias = Literal["adaptive", "sleep", "spin"]
"""`adaptive`, as above. `sleep`: never spin. `spin`: spin at every wait, for up to a millisecond, before sleeping."""
WAIT_MODES: Final[tuple[str, ...]] = get_args(WaitMode)

_SPIN_NS: Final = 50_000
"""About what a wake-up costs: spinning for as long as that at most doubles the price of a wait."""
ANSWER_SPIN_NS: Final = 150_000
"""For an answer that is known to be on its way: its maker has to be woken first."""
_ALWAYS_SPIN_NS: Final = 1_000_000
_WAKE_UP_NS: Final = 60_000
"""A sleep longer than a spin by this may still have been for something that came within the time of a spin."""
_LONGEST_PAUSE: Final = 1023


class Patience:
    """What one waiting side has learned."""

    __slots__ = ("_always", "_pause", "_short_ns", "_skip", "_worth_it", "limit_ns")

    def __init__(self, mode: WaitMode = "adaptive", spin_ns: int = _SPIN_NS) -> None:
        """Begin without experience: the first wait sleeps, unless the mode says otherwise.

        Args:
            mode: how to wait.
            spin_ns: the longest adaptive spin.
        """
        self._always = mode == "spin"
        self.limit_ns: int = _ALWAYS_SPIN_NS if self._always else spin_ns
        if mode == "sleep":
            self.limit_ns = 0
        self._short_ns = self.limit_ns + _WAKE_UP_NS if self.limit_ns else 0
        self._worth_it = self._always
        self._pause = self._skip = 0

    def budget_ns(self) -> int:
        """How long to spin before this wait's sleep; 0 for not at all."""
        if not self._worth_it:
            return 0
        if self._skip:
            self._skip -= 1
            return 0
        return self.limit_ns

    def spun(self) -> None:
        """A spin has found what it waited for."""
        self._pause = 0

    def slept(self, waited_ns: int, *, spun: bool) -> None:
        """A wait ended in the kernel.

        Args:
            waited_ns: how long it took in all.
            spun: whether it had begun with a spin.
        """
        if self._always:
            return
        if spun:
            self._skip = self._pause = min(2 * self._pause + 1, _LONGEST_PAUSE)
        self._worth_it = waited_ns < self._short_ns
