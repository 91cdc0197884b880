"""A recording: the data of an edge in a file, bit by bit, and when they came.

    8 bytes "PSTKREC1"   u32 bytes of what follows   JSON: {"edge": ..., "recorded_at_ns": ...}
    then records: header of 128 bytes, payload, tail

A record is what it is in a ring (`shm/record`, `executors/codec`): with its number as its sequence, and the time since
the recording began as the time when it was published. It goes to the kernel in one piece. Whoever is killed leaves a
file whose last record may be cut off, as a disk that is full does; a reader leaves it out.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final, Self

from penstock.engine.nodes.files import open_to_read
from penstock.executors.codec import Codec
from penstock.executors.contract import Json, RuntimeData, Validation
from penstock.shm.record import HEADER, HEADER_BYTES, MAGIC, Field, Kind, Record

__all__ = ["RecordingReader", "RecordingWriter"]

_MAGIC: Final = b"PSTKREC"
_VERSION: Final = b"1"
_LENGTH: Final = struct.Struct("<I")
_LONGEST_HEAD: Final = 1 << 20


class RecordingWriter:
    """Writes a recording; each datum is in the file when `write` returns."""

    def __init__(self, path: Path, edge: str = "") -> None:
        """Begin a new file.

        Raises:
            OSError: it can not be written.
        """
        self._codec = Codec(edge)
        self._count = 0
        self._began_ns = time.monotonic_ns()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            head = json.dumps({"edge": edge, "recorded_at_ns": time.time_ns()}).encode()
            self._write(_MAGIC + _VERSION, _LENGTH.pack(len(head)), head)
        except BaseException:
            self.close()
            raise

    def write(self, data: RuntimeData) -> None:
        """Write a datum.

        Raises:
            OSError: there is no room for it.
            Validation: its meta is nothing that JSON can say.
            ValueError: its time stamp has more than 64 bits.
        """
        message = self._codec.encode(data)
        since_ns = time.monotonic_ns() - self._began_ns
        sizes = (len(message.tail), len(message.payload))
        try:
            header = HEADER.pack(
                *(MAGIC, Kind.DATA, 0, 0, self._count, 0, 0, 0),
                *(*sizes, message.timestamp_ns, since_ns, 0, 0, 0, message.description),
            )
        except struct.error as error:
            raise ValueError(f"its time stamp {message.timestamp_ns} can not be recorded: {error}") from None
        self._write(header, message.payload, message.tail)
        self._count += 1

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, *parts: bytes | memoryview) -> None:
        left = [memoryview(part).cast("B") for part in parts if len(part)]
        while left:
            written = os.writev(self._fd, left)
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if written:
                left[0] = left[0][written:]


class RecordingReader:
    """Reads a recording, from its beginning.

    Attributes:
        edge: that was recorded.
        recorded_at_ns: when, since 1970.
        is_cut_off: whether the last record is not whole; known at the end.
    """

    def __init__(self, path: Path) -> None:
        """Open it and read its head.

        Raises:
            Validation: it can not be read, is no recording, or one of another version.
        """
        self._path = path
        self._file: BinaryIO = open_to_read(path)
        self._codec = Codec(str(path))
        self.is_cut_off: bool = False
        try:
            head = self._read_head()
        except BaseException:
            self._file.close()
            raise
        self.edge: str = str(head.get("edge", ""))
        at = head.get("recorded_at_ns", 0)
        self.recorded_at_ns: int = at if isinstance(at, int) else 0

    def __iter__(self) -> Iterator[tuple[int, RuntimeData]]:
        """(ns since the recording began, datum) for each.

        Raises:
            Validation: a record makes no sense.
            IPCError: likewise.
        """
        number = 0
        while raw := self._file.read(HEADER_BYTES):
            header = HEADER.unpack(raw) if len(raw) == HEADER_BYTES else None
            if header is None:
                self.is_cut_off = True
                return
            if header[Field.MAGIC] != MAGIC or header[Field.SEQUENCE] != number:
                raise Validation(f"{self._path}: record {number} makes no sense: the file is damaged")
            nbytes = header[Field.PAYLOAD_BYTES] + header[Field.TAIL_BYTES]
            try:
                contents = self._file.read(nbytes)
            except (MemoryError, OverflowError):
                raise Validation(f"{self._path}: record {number} says that it has {nbytes:,} bytes") from None
            if len(contents) < nbytes:
                self.is_cut_off = True
                return
            payload, tail = contents[: header[Field.PAYLOAD_BYTES]], contents[header[Field.PAYLOAD_BYTES] :]
            yield header[Field.PUBLISHED_NS], self._codec.decode(Record(header, payload, tail))
            number += 1

    def _read_head(self) -> Mapping[str, Json]:
        magic = self._file.read(len(_MAGIC) + len(_VERSION))
        if magic[: len(_MAGIC)] != _MAGIC:
            raise Validation(f"{self._path} is no recording: `recorder`, or `penstock run --record`, makes them")
        if magic[len(_MAGIC) :] != _VERSION:
            version, ours = magic[len(_MAGIC) :].decode(errors="replace"), _VERSION.decode()
            raise Validation(f"{self._path} is a recording of version {version}, and this penstock reads {ours}")
        try:
            (length,) = _LENGTH.unpack(self._file.read(_LENGTH.size))
            head = json.loads(self._file.read(min(length, _LONGEST_HEAD)))
        except (struct.error, ValueError):
            raise Validation(f"{self._path} is cut off in its head: nothing was recorded") from None
        return head if isinstance(head, dict) else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
