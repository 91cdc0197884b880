"""Files that nodes read and write, with errors that say what is wrong before the start where that can be known."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from penstock.executors.contract import Validation

__all__ = ["check_to_write", "is_stream", "make_folder", "open_to_read", "stat_to_read"]


def stat_to_read(path: Path) -> os.stat_result:
    """The status of a file that can be read.

    Raises:
        Validation: it is absent, a directory, or not ours to read.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise _refusal(path, error) from None
    if stat.S_ISDIR(status.st_mode):
        raise Validation(f"{path} is a directory: name a file in it")
    if not os.access(path, os.R_OK):
        raise _refusal(path, PermissionError(errno.EACCES, "Permission denied"))
    return status


def open_to_read(path: Path) -> BinaryIO:
    """The file, buffered.

    Raises:
        Validation: as `stat_to_read`.
    """
    stat_to_read(path)
    try:
        return path.open("rb")
    except OSError as error:
        raise _refusal(path, error) from None


def _refusal(path: Path, error: OSError) -> Validation:
    if isinstance(error, FileNotFoundError):
        return Validation(f"{path} does not exist: check the path")
    if isinstance(error, PermissionError):
        return Validation(f"{path} can not be read, permission denied: chmod u+r it, or run as its owner")
    return Validation(f"{path} can not be read: {error.strerror or error}")


def is_stream(path: Path) -> bool:
    """Whether it is there and is a pipe or a device, which is written in place."""
    return path.exists() and not path.is_file() and not path.is_dir()


def check_to_write(path: Path) -> None:
    """See, without touching anything, that `path` can be written once its folder is made.

    Raises:
        Validation: it is a directory, or its folder is a file or not ours to write.
    """
    if path.is_dir():
        raise Validation(f"{path} is a directory: name a file in it")
    if path.exists() and not os.access(path, os.W_OK):
        raise Validation(f"{path} can not be written, permission denied: remove it, or choose another path")
    folder = _nearest(path.parent)
    if not folder.is_dir():
        raise Validation(f"{path} can not be made: {folder} is a file, not a directory; choose another path")
    if not path.exists() and not os.access(folder, os.W_OK | os.X_OK):
        raise Validation(f"{path} can not be made: {folder} is not yours to write; choose another path")


def _nearest(folder: Path) -> Path:
    """The folder itself, or the closest one above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def make_folder(path: Path) -> None:
    """Make the folder that `path` goes into."""
    check_to_write(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Validation(f"{path.parent} can not be made: {error.strerror or error}") from None
