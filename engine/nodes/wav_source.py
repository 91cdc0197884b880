"""`wav_source`: a WAV file as a stream of audio."""

from __future__ import annotations

import logging
import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, ClassVar

from penstock.engine.nodes.clock import frames_to_ns
from penstock.engine.nodes.files import open_to_read, stat_to_read
from penstock.engine.nodes.params import above_zero
from penstock.engine.nodes.riff import WavFormat, WavHead, read_head
from penstock.engine.nodes.samples import decode
from penstock.executors.contract import Node, RuntimeData, Validation

__all__ = ["WavSource"]

_READ_BYTES = 1 << 20
_LOG = logging.getLogger(__name__)


class WavSource(Node):
    """Reads a WAV file forwards, a chunk at a time: float32 in [-1, 1), stamped with its position from 0 ns.

    PCM of 8, 16, 24 and 32 bits and float of 32 and 64; any rate and channels; RIFF, RF64 and BW64; files and pipes.

    Args:
        path: the file.
        chunk_ms: length of a datum; the last may be shorter.
    """

    stateless = True
    inputs: ClassVar[Mapping[str, str]] = {}
    outputs: ClassVar[Mapping[str, str]] = {"out": "audio"}

    def __init__(self, *, path: Path, chunk_ms: float = 20.0) -> None:
        self._path = Path(path)
        self._chunk_s = above_zero("chunk_ms", chunk_ms) / 1000

    def check(self) -> None:
        """Read the head of the file, unless it is a pipe, whose head can be read only once."""
        if not stat.S_ISREG(stat_to_read(self._path).st_mode):
            return
        with open_to_read(self._path) as stream:
            self._head(stream)

    def produce(self) -> Iterator[RuntimeData]:
        with open_to_read(self._path) as stream:
            head = self._head(stream)
            yield from self._chunks(stream, head)

    def _head(self, stream: BinaryIO) -> WavHead:
        head = read_head(stream, str(self._path))
        status = os.fstat(stream.fileno())
        if head.data_bytes is not None and stat.S_ISREG(status.st_mode):
            self._refuse_truncated(head.data_bytes, status.st_size - head.offset, "the file")
        return head

    def _refuse_truncated(self, declared: int, present: int, whole: str) -> None:
        if present < declared:
            path = shlex.quote(str(self._path))
            raise Validation(
                f"{self._path} is truncated: its data chunk declares {declared} bytes, {whole} has {present}; "
                f"get a complete copy, or keep what is there: sox --ignore-length {path} out.wav"
            )

    def _chunks(self, stream: BinaryIO, head: WavHead) -> Iterator[RuntimeData]:
        wav = head.format
        chunk_frames = max(1, round(self._chunk_s * wav.sample_rate))
        position = 0
        for data in self._blocks(stream, head, chunk_frames * wav.frame_bytes):
            whole = len(data) - len(data) % wav.frame_bytes
            if whole < len(data):
                _LOG.warning("%s ends with %d bytes of an incomplete frame: ignored", self._path, len(data) - whole)
            if whole:
                yield _datum(data[:whole], wav, position)
            position += whole // wav.frame_bytes

    def _blocks(self, stream: BinaryIO, head: WavHead, block_bytes: int) -> Iterator[bytes]:
        """The data chunk in blocks, of which the last may be short."""
        if head.data_bytes is None:
            while data := _read(stream, block_bytes):
                yield data
            return
        got = 0
        while got < head.data_bytes:
            data = _read(stream, min(block_bytes, head.data_bytes - got))
            got += len(data)
            if not data:
                self._refuse_truncated(head.data_bytes, got, "the stream")
            yield data


def _read(stream: BinaryIO, count: int) -> bytes:
    """Up to `count` bytes, in pieces: what a damaged header asks for may be more than there is memory."""
    if count <= _READ_BYTES:
        return stream.read(count)
    pieces: list[bytes] = []
    while count and (piece := stream.read(min(count, _READ_BYTES))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _datum(data: bytes, wav: WavFormat, position: int) -> RuntimeData:
    return RuntimeData.audio(
        decode(data, wav.kind, wav.width),
        sample_rate=wav.sample_rate,
        channels=wav.channels,
        timestamp_ns=frames_to_ns(position, wav.sample_rate),
    )
