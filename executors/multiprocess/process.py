"""What the kernel and psutil say of a worker's process, and descriptors that no forked child keeps."""

from __future__ import annotations

import contextlib
import functools
import os
import signal

import psutil
import trio

__all__ = ["descendants", "describe", "exited", "lifelines", "never_inherited"]


lifelines: set[int] = set()


def never_inherited(fd: int) -> None:
    """A child that a native node forks must not keep workers alive when the engine is gone."""
    _close_after_fork()
    lifelines.add(fd)


@functools.cache
def _close_after_fork() -> None:
    os.register_at_fork(after_in_child=_let_go_of_lifelines)


def _let_go_of_lifelines() -> None:
    while lifelines:
        with contextlib.suppress(OSError):
            os.close(lifelines.pop())


async def exited(process: trio.Process) -> None:
    """Wait until a process has exited, without reaping it."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # not Linux, an old kernel, or no descriptors left
        await process.wait()
        return
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)


def descendants(pid: int) -> list[psutil.Process]:
    """Also those that left the group, which killing the group does not reach; none once the process has exited."""
    found: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        found += psutil.Process(pid).children(recursive=True)
    return found


def describe(status: int) -> str:
    if status >= 0:
        return f"exited with code {status} before its work was done"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
