"""Named segments of POSIX shared memory.

A segment is a stdlib `SharedMemory` with four differences. It is fallocated, so that a full /dev/shm is an error when
it is created and not SIGBUS when it is written. Attaching never registers with the resource tracker, which would unlink
other people's segments. `close()` never invalidates a view: the mapping lives as long as the last one. And it keeps no
descriptor of its own open (the mapping has one).
"""

from __future__ import annotations

import _posixshmem  # type: ignore[import-not-found]
import contextlib
import errno
import mmap
import os
import sys
from multiprocessing.shared_memory import SharedMemory
from typing import Self

from penstock.shm.errors import CorruptSegment, OutOfSharedMemory

__all__ = ["Segment", "available_bytes", "discard"]

_HAS_TRACK = sys.version_info >= (3, 13)
_POPULATE_READ, _POPULATE_WRITE = 22, 23  # of madvise(2); the mmap module does not name them

_SHORTAGES = frozenset({errno.ENOSPC, errno.ENOMEM, errno.EFBIG, errno.EMFILE, errno.ENFILE})


class _Mapping(mmap.mmap):
    """A mapping of a published segment."""

    readonly_views_are_final = True
    """What a reader is shown read-only is not changed while it looks: see `penstock.shm.lease`."""


class Segment(SharedMemory):
    """A mapped segment. Use `create` or `attach`."""

    _fd: int
    _mmap: mmap.mmap | None
    _buf: memoryview | None
    _made = False
    _unlinked = False

    @classmethod
    def create(cls, name: str, size: int, *, what: str, tracked: bool = True, reserve: int = 0) -> Self:
        """A new segment, mode 0600, zeroed, every byte of it really there.

        Args:
            name: at most 30 characters without a slash (macOS).
            size: in bytes, above 0.
            what: what it is for, for the error.
            tracked: let the resource tracker unlink it when this process dies.
            reserve: bytes behind it, of a tracked one, that are not there before they are asked for: see `extend`.

        Raises:
            OutOfSharedMemory: it does not fit into /dev/shm, or the process has no descriptors left.
        """
        try:
            segment = cls._new_tracked(name, size, reserve) if tracked else cls._new_untracked(name, size)
        except OSError as error:
            if error.errno in _SHORTAGES:
                raise OutOfSharedMemory(f"{what} ({error.strerror})", size, available_bytes()) from error
            raise
        segment._drop_descriptor()
        return segment

    @classmethod
    def attach(cls, name: str) -> Self:
        """Map a segment that another process, or this one, has created.

        Raises:
            CorruptSegment: there is none of that name, or it is empty.
        """
        try:
            segment = cls._open(name, os.O_RDWR, 0)
        except (OSError, ValueError) as error:
            raise CorruptSegment(f"segment {name} can not be attached: {error}") from error
        segment._drop_descriptor()
        return segment

    @classmethod
    def _new_tracked(cls, name: str, size: int, reserve: int) -> Self:
        segment = cls(name, create=True, size=size + reserve)
        segment._made = True
        try:
            os.posix_fallocate(segment._fd, 0, size)
        except BaseException:
            segment.close()
            segment.unlink()
            raise
        return segment

    @classmethod
    def _new_untracked(cls, name: str, size: int) -> Self:
        try:
            return cls._open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, size)
        except FileExistsError:
            raise
        except BaseException:
            discard(name)
            raise

    @classmethod
    def _open(cls, name: str, flags: int, size: int) -> Self:
        """Open and map without the resource tracker, which `track=False` leaves out only from 3.13 on."""
        segment = cls.__new__(cls)
        segment._name = "/" + name  # type: ignore[attr-defined]
        segment._track = False  # type: ignore[attr-defined]
        segment._made = True
        segment._fd = _posixshmem.shm_open("/" + name, flags, mode=0o600)
        try:
            if size:
                os.ftruncate(segment._fd, size)
                os.posix_fallocate(segment._fd, 0, size)
            segment._size = size or os.fstat(segment._fd).st_size  # type: ignore[attr-defined]
            segment._mmap = _Mapping(segment._fd, segment._size)  # type: ignore[attr-defined]
            segment._buf = memoryview(segment._mmap)
        except BaseException:
            segment._drop_descriptor()
            raise
        return segment

    def extend(self, begin: int, size: int, *, what: str) -> None:
        """Have a part of the reserve really there from now on. Touched before, it might be SIGBUS.

        Raises:
            OutOfSharedMemory: it does not fit into /dev/shm, or the process has no descriptors left.
        """
        try:
            fd = _posixshmem.shm_open("/" + self.name, os.O_RDWR, mode=0o600)
            try:
                os.posix_fallocate(fd, begin, size)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno in _SHORTAGES:
                raise OutOfSharedMemory(f"{what} ({error.strerror})", size, available_bytes()) from error
            raise

    def populate(self, *, writing: bool) -> None:
        """Map all its pages now, and not one by one when they are first touched. Linux 5.14 or newer, else nothing."""
        if sys.platform == "linux" and self._mmap is not None:
            with contextlib.suppress(OSError):
                self._mmap.madvise(_POPULATE_WRITE if writing else _POPULATE_READ)

    def _drop_descriptor(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def view(self) -> memoryview:
        """The whole segment, writable."""
        assert self._buf is not None, "the segment is closed"
        return self._buf

    def close(self) -> None:
        """Let go of the mapping; it goes when the last view of it has gone. Idempotent."""
        self._buf = None
        self._mmap = None
        self._drop_descriptor()

    def unlink(self) -> None:
        """Remove the name, and the tracker's note of it where there is one. Idempotent."""
        if self._unlinked:
            return
        self._unlinked = True
        if not self._made:  # called by the constructor that failed: the tracker was never told
            discard(self.name)
            return
        if getattr(self, "_track", not _HAS_TRACK):
            try:
                super().unlink()
            except FileNotFoundError:
                from multiprocessing import resource_tracker

                resource_tracker.unregister(self._name, "shared_memory")  # type: ignore[attr-defined]
        else:
            discard(self.name)


def discard(name: str) -> bool:
    """Remove a segment's name; whether there was one."""
    try:
        _posixshmem.shm_unlink("/" + name)
    except FileNotFoundError:
        return False
    return True


def available_bytes() -> int | None:
    """Free bytes in /dev/shm, or None where there is no such place."""
    try:
        stat = os.statvfs("/dev/shm")  # noqa: S108
    except OSError:
        return None
    return stat.f_bavail * stat.f_frsize
