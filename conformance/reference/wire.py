"""Frames between host and worker: a line of JSON over a socket, and the payload in a memfd that travels with it."""

from __future__ import annotations

import array
import json
import mmap
import os
import socket
from typing import Any

import numpy as np

from penstock.executors.contract import DataType, RuntimeData

__all__ = ["INLINE_BYTES", "Frames", "describe", "restore", "shared"]

INLINE_BYTES = 64 << 10


def describe(data: RuntimeData) -> dict[str, Any]:
    """Everything about a datum but its payload, as JSON."""
    return {
        "data_type": data.data_type.value,
        "session_id": data.session_id,
        "timestamp_ns": data.timestamp_ns,
        "dtype": None if data.dtype is None else np.lib.format.dtype_to_descr(data.dtype),
        "shape": list(data.shape),
        "sample_rate": data.sample_rate,
        "channels": data.channels,
        "meta": dict(data.meta),
        "nbytes": data.nbytes,
    }


def restore(about: dict[str, Any], payload: bytes | memoryview) -> RuntimeData:
    """The datum of a description and its payload."""
    dtype = about["dtype"]
    return RuntimeData(
        DataType(about["data_type"]),
        payload,
        about["session_id"],
        about["timestamp_ns"],
        None if dtype is None else np.dtype(dtype),
        tuple(about["shape"]),
        about["sample_rate"],
        about["channels"],
        about["meta"],
    )


def shared(payload: bytes | memoryview) -> tuple[int, mmap.mmap]:
    """A memfd with these bytes, and the mapping through which they were written.

    Raises:
        OSError: there is no memory for it; nothing is left behind.
    """
    fd = os.memfd_create("conformance-reference", os.MFD_CLOEXEC)
    try:
        os.posix_fallocate(fd, 0, max(1, len(payload)))
        mapping = mmap.mmap(fd, max(1, len(payload)))
    except BaseException:
        os.close(fd)
        raise
    mapping[: len(payload)] = bytes(payload)
    return fd, mapping


class Frames:
    """Puts frames together from what a socket gives."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._fds: list[int] = []

    @staticmethod
    def encode(message: dict[str, Any]) -> bytes:
        return json.dumps(message).encode() + b"\n"

    @staticmethod
    def ancillary(fd: int | None) -> list[tuple[int, int, array.array[int]]]:
        return [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]

    def feed(self, received: bytes, ancillary: list[tuple[int, int, bytes]]) -> None:
        self._bytes += received
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array.array("i")
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
                self._fds += fds

    def next(self) -> tuple[dict[str, Any], int | None] | None:
        """The next whole frame, and its memfd; None while there is none."""
        line, newline, rest = self._bytes.partition(b"\n")
        if not newline:
            return None
        self._bytes = rest
        message: dict[str, Any] = json.loads(line)
        return message, self._fds.pop(0) if message.get("memfd") else None

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())


SPACE = socket.CMSG_SPACE(8 * 4)
"""Room for the descriptors of several frames."""
