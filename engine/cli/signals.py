"""Ctrl-C and SIGTERM, also while a native node does not let the loop run."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress

import trio

__all__ = ["receive_signals"]

_PROMPT_S = 0.05
"""A loop that runs hears a signal within this; two that arrive together are not yet a loop that is stuck."""
_NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def receive_signals(
    patience_s: float, note: Callable[[signal.Signals], None]
) -> Iterator[AsyncIterator[signal.Signals]]:
    """Iterate over SIGINT and SIGTERM.

    Trio's own receiver waits until the loop runs again, for ever if a node's synchronous code never returns. Here a
    second signal that finds the first one unheard, or a loop that does not run for `patience_s` after a signal, raises
    KeyboardInterrupt in that code; `note` is told of every signal at once.
    """
    sender, receiver = trio.open_memory_channel[signal.Signals](16)
    token = trio.lowlevel.current_trio_token()
    unheard: list[signal.Signals] = []
    asked = [0.0]

    def hear() -> None:
        while unheard:
            number = unheard.pop(0)
            with suppress(trio.ClosedResourceError, trio.BrokenResourceError, trio.WouldBlock):  # it is ending anyway
                if number != signal.SIGALRM:
                    sender.send_nowait(number)

    def handle(number: int, _: object) -> None:
        if number != signal.SIGALRM:
            note(signal.Signals(number))
        if unheard and time.monotonic() - asked[0] > _PROMPT_S:
            unheard.clear()
            raise KeyboardInterrupt
        if not unheard:
            asked[0] = time.monotonic()
        # From the first signal on an alarm asks again and again whether the loop still runs.
        unheard.append(signal.Signals(number))
        signal.setitimer(signal.ITIMER_REAL, max(patience_s, 0.1))
        token.run_sync_soon(hear)

    previous = {number: signal.signal(number, handle) for number in (*_NUMBERS, signal.SIGALRM)}
    try:
        with sender:
            yield receiver
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in previous.items():
            signal.signal(number, handler)
