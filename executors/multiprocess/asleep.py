"""Whether a worker sleeps, as its kernel sees it."""

from __future__ import annotations

import os
import select

from penstock.shm.doorbell import Doorbell

__all__ = ["is_asleep"]


def is_asleep(pid: int, bell: Doorbell) -> bool:
    """Whether the main thread of a process sleeps, and its doorbell is silent.

    One that was rung and did not get a processor yet does not. Where the system does not say, the doorbell decides.
    """
    rung = select.poll()
    rung.register(bell.fileno(), select.POLLIN)
    if rung.poll(0):
        return False
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] == b"S"
    except OSError:
        return not os.path.isdir("/proc/self")
