"""The lifeline: when the engine is gone, by whatever means, so is the worker's whole process group.

The engine holds the write end of a pipe, the worker arms the read end so that the *kernel* sends SIGKILL to its group
when that write end closes. It needs no thread and no GIL: it works while native code holds both. Not covered: children
that left the group (`setsid`), and the some 10 ms of interpreter start before `arm`.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import threading

__all__ = ["arm"]


def arm(fd: int) -> None:
    """Tie this process group to the other end of a pipe; the first statement of a worker.

    Args:
        fd: the read end. Nobody ever writes to the pipe: it only ever closes.
    """
    if sys.platform == "linux":
        fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    else:
        threading.Thread(target=_watch, args=(fd,), daemon=True).start()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if poll.poll(0):  # it closed before the kernel was told to watch
        _end_group()


def _watch(fd: int) -> None:
    os.read(fd, 1)
    _end_group()


def _end_group() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)
