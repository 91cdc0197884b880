"""Which segments this process has opened or mapped, as Python tells it: on a shared machine others make some, too."""

from __future__ import annotations

import contextlib
import functools
import os
import sys

from penstock.conformance.evidence import SHM, Inode, inode_of

__all__ = ["begin", "is_ours"]

_INODES: set[Inode] = set()
_NAMES: set[str] = set()


@functools.cache
def begin() -> None:
    """Listen from now on, for as long as the process lives: an audit hook can not be taken away."""
    sys.addaudithook(_heard)


def is_ours(name: str, inode: Inode) -> bool:
    """Whether this process has opened the segment by its name, or mapped it."""
    return inode in _INODES or name in _NAMES


def _heard(event: str, args: tuple[object, ...]) -> None:
    """What is raised here would come out of the call that is watched."""
    with contextlib.suppress(Exception):
        if event == "mmap.__new__" and isinstance(args[0], int) and args[0] >= 0:
            _INODES.add(inode_of(os.fstat(args[0])))
        elif event == "open" and isinstance(args[0], str) and args[0].startswith(f"{SHM}/"):
            _NAMES.add(os.path.basename(args[0]))
