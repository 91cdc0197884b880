"""Limits of this process that make allocation fail, without anybody's cooperation."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

__all__ = ["smaller_files"]


@contextlib.contextmanager
def smaller_files(limit_bytes: int) -> Iterator[None]:
    """No file, and so no shared memory segment, may grow beyond this (RLIMIT_FSIZE; Python ignores its signal)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
