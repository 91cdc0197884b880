"""Wake-ups between processes: one doorbell for each process that waits.

Whoever has news for a process, data or space, rings its bell. Rings that find one pending coalesce. The bell is
non-blocking on both ends: a saturated bell is a rung bell, and one bad peer must not freeze the others.
"""

from __future__ import annotations

import os
import select
from types import TracebackType
from typing import Self

from penstock.shm.errors import Interrupted

__all__ = ["Doorbell"]

_HAS_EVENTFD = hasattr(os, "eventfd")
_ONE = (1).to_bytes(8, "little")


class Doorbell:
    """An eventfd, or a pipe where there is none.

    Attributes:
        waited_ns: how long this process has waited at it for room on its edges.
    """

    def __init__(self, read_fd: int, write_fd: int) -> None:
        """Take over the descriptors (for an eventfd they are the same)."""
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._poll: select.poll | None = None
        self._interrupted = False
        self.waited_ns: int = 0

    @classmethod
    def create(cls, *, eventfd: bool = _HAS_EVENTFD) -> Self:
        if eventfd:
            fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            return cls(fd, fd)
        read_fd, write_fd = os.pipe()
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)
        return cls(read_fd, write_fd)

    @property
    def fds(self) -> tuple[int, int]:
        """(to wait on, to ring): what another process needs to take part."""
        return self._read_fd, self._write_fd

    def fileno(self) -> int:
        return self._read_fd

    def ring(self) -> None:
        """Wake the process that waits on this bell, now or when it next tries to wait. Never blocks."""
        try:
            os.write(self._write_fd, _ONE)
        except BlockingIOError:
            pass  # full of rings that nobody has heard yet
        except OSError:
            if self._write_fd >= 0:
                raise

    def drain(self) -> None:
        """Forget the rings so far. Look at the shared words only afterwards."""
        try:
            if self._read_fd == self._write_fd:
                os.read(self._read_fd, 8)
            else:
                while len(os.read(self._read_fd, 4096)) == 4096:
                    pass  # the pipe may hold more
        except BlockingIOError:
            pass

    def wait(self, timeout_s: float | None = None) -> bool:
        """Sleep in the kernel until the bell is rung, then drain it; whether it was rung in time.

        Raises:
            Interrupted: `interrupt` was called, before or during the wait.
        """
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._read_fd, select.POLLIN)
        if self._interrupted:
            raise Interrupted
        rung = bool(self._poll.poll(None if timeout_s is None else max(0.0, timeout_s * 1000)))
        if rung:
            self.drain()
        if self._interrupted:
            raise Interrupted
        return rung

    @property
    def interrupted(self) -> bool:
        """Whether `interrupt` was called."""
        return self._interrupted

    def interrupt(self) -> None:
        """End every wait of this process, now and from now on; safe in a signal handler."""
        self._interrupted = True
        self.ring()

    def close(self) -> None:
        """Idempotent."""
        fds, self._read_fd, self._write_fd = {self._read_fd, self._write_fd}, -1, -1
        for fd in fds - {-1}:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
