"""Who owns which segments, and the sweep of those whose owner is gone.

All segments of a run carry its token in their name. The run holds `flock` on an owner file beside them; the kernel lets
go of it at once when the run's process dies, however it dies. So whoever can take the lock may sweep. A pid would not
do: it means nothing in another pid namespace that shares /dev/shm, and it is reused.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import re
import secrets
import sys
import tempfile
import time
import weakref
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from penstock.shm.segment import Segment, discard

__all__ = ["Orphan", "Owner", "family_name", "owner_file", "sweep"]

_PREFIX = "pstk-"
_NAME = re.compile(r"pstk-([0-9a-f]{16})-(.+)")
_OWNER = "owner"
_FOLDER = "/dev/shm" if sys.platform == "linux" else tempfile.gettempdir()  # noqa: S108


class Owner:
    """The segments of one run. `close` removes every one of them, also those that its workers created."""

    def __init__(self, what: str = "") -> None:
        """Claim a fresh token.

        Args:
            what: what the run is, for people who find its leftovers.
        """
        while True:
            self.token: str = secrets.token_hex(8)
            self._fd = _claim(self.token)
            if self._fd is not None:
                break
        note = {"pid": os.getpid(), "started": time.time(), "what": what}
        with contextlib.suppress(OSError):  # a full /dev/shm: the note is a courtesy, the lock is what counts
            os.write(self._fd, json.dumps(note).encode())
        self._segments: list[Segment] = []
        self._growing: set[str] = set()
        _never_inherited(self)

    def name(self, suffix: str) -> str:
        """The full name of a segment of this run."""
        return family_name(self.token, suffix)

    @property
    def descriptor(self) -> int | None:
        """The owner file; None after `close`, and in a forked child, to which nothing here belongs."""
        return self._fd

    def create(self, suffix: str, size: int, *, what: str, reserve: int = 0) -> Segment:
        """A new segment of this run (see `Segment.create`)."""
        segment = Segment.create(self.name(suffix), size, what=what, reserve=reserve)
        self._segments.append(segment)
        return segment

    def family(self, suffix: str) -> str:
        """A name under which a worker may create segments by itself, numbered from 0 without a gap."""
        name = self.name(suffix)
        self._growing.add(name)
        return name

    def release(self, segment: Segment) -> None:
        """Remove one segment before the others."""
        self._segments.remove(segment)
        segment.unlink()
        segment.close()

    def release_family(self, family: str) -> None:
        """Remove what a worker that is gone has created."""
        self._growing.discard(family)
        _discard_family(family)

    def close(self) -> None:
        """Unlink everything and let go of the lock. Views that are still held stay valid. Idempotent."""
        if self._fd is None:
            return
        for segment in self._segments:
            segment.unlink()
            segment.close()
        for family in self._growing:
            _discard_family(family)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(owner_file(self.token))
        os.close(self._fd)
        self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _forget(self) -> None:
        """In a forked child: the lock belongs to the parent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


@dataclass(frozen=True, slots=True)
class Orphan:
    """What a run that is gone has left."""

    token: str
    pid: int | None
    started: float | None
    """When the run began, in seconds since 1970."""
    what: str
    segments: tuple[str, ...]
    size_bytes: int


def sweep(*, dry_run: bool = False) -> list[Orphan]:
    """Remove the segments of runs that are gone, and say what they were.

    Touches nothing of a live run (its lock is held, also from another container that shares /dev/shm), nothing of
    another user, and nothing that is not named as ours.
    """
    names: dict[str, list[str]] = {}
    for entry in _listing():
        if match := _NAME.fullmatch(entry):
            names.setdefault(match[1], [])
            if match[2] != _OWNER:
                names[match[1]].append(entry)
    return [orphan for token, entries in sorted(names.items()) if (orphan := _reap(token, entries, dry_run=dry_run))]


def _reap(token: str, entries: list[str], *, dry_run: bool) -> Orphan | None:
    try:
        fd = os.open(owner_file(token), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        fd = -1  # its own clean-up, or another sweep, got as far as the owner file: what is left belongs to nobody
    except OSError:
        return None
    try:
        if fd >= 0 and not _lock(fd):
            return None
        mine = [entry for entry in entries if _is_mine(entry)]
        if fd < 0 and not mine:
            return None
        note = _note(fd)
        orphan = Orphan(
            token, note.get("pid"), note.get("started"), note.get("what", ""), tuple(mine), sum(map(_bytes, mine))
        )
        if not dry_run:
            for entry in mine:
                discard(entry)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(owner_file(token))
        return orphan
    finally:
        if fd >= 0:
            os.close(fd)


def _discard_family(family: str) -> None:
    number = 0
    while discard(f"{family}.{number}"):
        number += 1


def _claim(token: str) -> int | None:
    """Create and lock the owner file, or None when a sweep was faster between the two."""
    fd = os.open(owner_file(token), os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    if _lock(fd) and os.fstat(fd).st_nlink:
        return fd
    os.close(fd)
    return None


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def family_name(token: str, suffix: str) -> str:
    """The full name of a segment, or of a family of them, of the run with this token."""
    return f"{_PREFIX}{token}-{suffix}"


def owner_file(token: str) -> str:
    """Where the owner file of the run with this token stands."""
    return os.path.join(_FOLDER, f"{_PREFIX}{token}-{_OWNER}")


def _listing() -> list[str]:
    try:
        return os.listdir(_FOLDER)
    except OSError:
        return []


def _is_mine(entry: str) -> bool:
    try:
        return os.stat(os.path.join(_FOLDER, entry)).st_uid == os.geteuid()
    except OSError:
        return False


def _bytes(entry: str) -> int:
    try:
        return os.stat(os.path.join(_FOLDER, entry)).st_blocks * 512  # what is there: a ring may have a reserve
    except OSError:
        return 0


def _note(fd: int) -> dict[str, Any]:
    try:
        note = json.loads(os.pread(fd, 4096, 0))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


_owners: weakref.WeakSet[Owner] = weakref.WeakSet()


def _never_inherited(owner: Owner) -> None:
    """A lock survives in a forked child as long as its descriptor does: close it there."""
    _forget_after_fork()
    _owners.add(owner)


@functools.cache
def _forget_after_fork() -> None:
    os.register_at_fork(after_in_child=_forget_all)


def _forget_all() -> None:
    for owner in list(_owners):
        owner._forget()
