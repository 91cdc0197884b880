"""What the kernel says: processes, shared mappings and what is in them, bytes through pipes and files.

Linux: elsewhere nothing is known, and what needs it is NOT-EXERCISED.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import psutil

from penstock.conformance.expect import NotExercised

__all__ = [
    "AVAILABLE",
    "SharedMapping",
    "alive",
    "bytes_moved",
    "descendants",
    "find_in",
    "gone",
    "inode_of",
    "names_in_shm",
    "process_words",
    "require_kernel",
    "shared_mappings",
    "stopped",
    "sysv_segments",
]

AVAILABLE = os.path.exists("/proc/self/maps")
SHM = "/dev/shm"  # noqa: S108
_HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "loky.backend.resource_tracker")
_CHUNK = 1 << 20

Inode = tuple[str, int]
"""Device and inode of a file or segment."""


@dataclass(frozen=True, slots=True)
class SharedMapping:
    """A shared mapping of a process."""

    start: int
    end: int
    inode: Inode
    path: str


def stopped(pid: int) -> bool:
    """Whether SIGSTOP has taken effect."""
    with contextlib.suppress(psutil.Error):
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    return True


def gone(pid: int) -> bool:
    """Whether it has ended and was reaped."""
    return not psutil.pid_exists(pid)


def require_kernel() -> None:
    """Raise `NotExercised` where the kernel does not tell."""
    if not AVAILABLE:
        raise NotExercised("this system has no /proc: evidence from the kernel is to be had on Linux")


def descendants(daemons: Collection[str] = ()) -> dict[tuple[int, float], psutil.Process]:
    """All living children of this process, by pid and time of creation; without helpers of the standard library."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = process_words(process)
            if not any(helper in words for helper in (*_HELPERS, *daemons)):
                found[process.pid, process.create_time()] = process
    return found


def process_words(process: psutil.Process) -> str:
    """Its command line, or what is left of it."""
    try:
        return " ".join(process.cmdline()) or f"{process.name()} ({process.status()})"
    except psutil.Error:
        return "?"


def alive(pid: int) -> bool:
    """Whether it is there, and neither dead nor a zombie."""
    try:
        return psutil.Process(pid).status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.Error:
        return False


def shared_mappings(pid: int) -> list[SharedMapping]:
    """The shared mappings of a process; empty where it has gone or may not be looked at."""
    found = []
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except OSError:
        return []
    for line in lines:
        fields = line.split(None, 5)
        if len(fields) >= 5 and fields[1].endswith("s") and fields[4] != "0":
            start, _, end = fields[0].partition("-")
            path = fields[5].strip() if len(fields) > 5 else ""
            found.append(SharedMapping(int(start, 16), int(end, 16), (fields[3], int(fields[4])), path))
    return found


def find_in(pid: int, mappings: Iterable[SharedMapping], needles: Collection[bytes]) -> dict[bytes, SharedMapping]:
    """Which needles stand in which of these mappings of a process.

    Raises:
        NotExercised: this process may not read that one's memory.
    """
    found: dict[bytes, SharedMapping] = {}
    overlap = max(map(len, needles)) - 1
    try:
        memory = open(f"/proc/{pid}/mem", "rb", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise NotExercised(f"the memory of process {pid} can not be read ({error.strerror})") from None
    with memory:
        for mapping in mappings:
            for block in _blocks(memory.fileno(), mapping, overlap):
                found.update({needle: mapping for needle in needles if needle not in found and needle in block})
            if len(found) == len(needles):
                break
    return found


def _blocks(fd: int, mapping: SharedMapping, overlap: int) -> Iterator[bytes]:
    for at in range(mapping.start, mapping.end, _CHUNK):
        try:
            yield os.pread(fd, min(_CHUNK + overlap, mapping.end - at), at)
        except OSError:
            return  # pages beyond the end of the file


def bytes_moved(pid: int) -> int:
    """Bytes that a process has read and written through the file interface: pipes, files, not sockets.

    Raises:
        NotExercised: it can not be known.
    """
    try:
        counters = psutil.Process(pid).io_counters()
    except (psutil.Error, AttributeError, OSError) as error:
        raise NotExercised(f"the I/O counters of process {pid} can not be read ({type(error).__name__})") from None
    return int(counters.read_chars + counters.write_chars)


def names_in_shm() -> dict[str, Inode]:
    """The segments and semaphores in /dev/shm that belong to this user."""
    found: dict[str, Inode] = {}
    try:
        entries = list(os.scandir(SHM))
    except OSError:
        return {}
    for entry in entries:
        with contextlib.suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            if status.st_uid == os.getuid() and stat.S_ISREG(status.st_mode):
                found[entry.name] = inode_of(status)
    return found


def inode_of(status: os.stat_result) -> Inode:
    """As the kernel writes it in a list of mappings."""
    return (f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}", status.st_ino)


def sysv_segments() -> dict[int, int]:
    """SysV shared memory: id, and the pid that made it."""
    try:
        with open("/proc/sysvipc/shm", encoding="ascii") as file:
            rows = [line.split() for line in file.readlines()[1:]]
    except OSError:
        return {}
    return {int(row[1]): int(row[4]) for row in rows if len(row) > 4}
