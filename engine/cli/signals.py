"""Ctrl-C and SIGTERM, also while a native node does not let the loop run."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import trio

__all__ = ["receive_signals"]

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def receive_signals(patience_s: float) -> Iterator[AsyncIterator[signal.Signals]]:
    """Iterate over SIGINT and SIGTERM.

    Trio's own receiver waits until the loop runs again, for ever if a node's synchronous code never returns. Here a
    second signal that finds the first one unheard, or `patience_s` without being heard, raises KeyboardInterrupt in
    that code.
    """
    sender, receiver = trio.open_memory_channel[signal.Signals](16)
    token = trio.lowlevel.current_trio_token()
    unheard: list[signal.Signals] = []

    def hear() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        while unheard:
            sender.send_nowait(unheard.pop(0))

    def handle(number: int, _: object) -> None:
        if unheard:
            unheard.clear()
            raise KeyboardInterrupt
        if number != signal.SIGALRM:
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
