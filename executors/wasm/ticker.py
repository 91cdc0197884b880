"""The clock of the guests' deadlines: one thread a process, there only while guests run."""

from __future__ import annotations

import os
import threading

import wasmtime

from penstock.executors.wasm.limits import TICK_S

__all__ = ["TICKER", "Ticker"]

LINGER_TICKS = 50
"""Ticks without a running guest after which the thread ends (250 ms): the calls of a stream find it still there, and an
idle pipeline does not pay for it."""


class Ticker:
    """Advances the epoch of the engines in use every 5 ms while a guest runs.

    `begin` and `end` stand around each call and only count: they start the thread when there is none and never wake it.
    An owner of guests holds a share of the clock (`retain`, `release`); with the last share the thread ends at once.
    """

    def __init__(self) -> None:
        self._shares: dict[wasmtime.Engine, int] = {}
        self._hooked = False
        self._forget()

    def _forget(self) -> None:
        """Start over; a forked child has the parent's state and not its thread."""
        self._lock = threading.Lock()
        self._running = 0
        self._idle_ticks = 0
        self._ticking = False
        self._thread: threading.Thread | None = None
        self._stop = threading.Lock()

    @property
    def ticking(self) -> bool:
        """Whether the thread runs now."""
        return self._ticking

    def retain(self, engine: wasmtime.Engine) -> None:
        """Advance the epoch of `engine` too, until `release`."""
        with self._lock:
            self._shares[engine] = self._shares.get(engine, 0) + 1

    def release(self, engine: wasmtime.Engine) -> None:
        """Give back one share; after the last one the thread has ended."""
        with self._lock:
            self._shares[engine] -= 1
            if not self._shares[engine]:
                del self._shares[engine]
            if self._shares:
                return
            thread, self._thread = self._thread, None
            if self._ticking:
                self._ticking = False  # a `begin` from now on starts a thread of its own
                self._stop.release()
        if thread is not None:
            thread.join()

    def begin(self) -> None:
        """A guest is about to run."""
        with self._lock:
            if not self._ticking:
                self._start()
            self._running += 1

    def end(self) -> None:
        """It has returned."""
        with self._lock:
            self._running -= 1

    def _start(self) -> None:
        if not self._hooked:
            self._hooked = True
            os.register_at_fork(after_in_child=self._forget)
        self._idle_ticks = 0
        self._ticking = True
        self._stop = threading.Lock()
        self._stop.acquire()
        self._thread = threading.Thread(target=self._run, args=(self._stop,), name="penstock-wasm-ticker", daemon=True)
        self._thread.start()

    def _run(self, stop: threading.Lock) -> None:
        while not stop.acquire(timeout=TICK_S):
            engines = self._due(stop)
            if engines is None:
                return
            for engine in engines:
                engine.increment_epoch()

    def _due(self, stop: threading.Lock) -> tuple[wasmtime.Engine, ...] | None:
        """The engines to advance now; None when this thread is to end."""
        with self._lock:
            if stop is not self._stop or not self._ticking:
                return None
            if self._running:
                self._idle_ticks = 0
                return tuple(self._shares)
            self._idle_ticks += 1
            if self._idle_ticks < LINGER_TICKS:
                return ()
            self._ticking = False
            return None


TICKER = Ticker()
