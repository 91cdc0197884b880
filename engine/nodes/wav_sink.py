"""`wav_sink`: a stream of audio into a WAV file."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, ClassVar

from penstock.engine.nodes.clock import FormatLock
from penstock.engine.nodes.files import check_to_write, is_stream, make_folder
from penstock.engine.nodes.samples import SinkFormat, encode, sample_bytes
from penstock.executors.contract import Node, NodeContext, RuntimeData, Validation

__all__ = ["WavSink"]

_UNKNOWN = 0xFFFFFFFF  # what streaming writers leave where they can not come back: readers go on to the end
_EMPTY_RATE_HZ = 16000


class WavSink(Node):
    """Writes a WAV file with the rate and channels of the first datum; rounds and clips, NaN becomes 0.

    It writes `<path>.part` and renames that when the stream ends or the run stops, early or in error: what stands
    at `path` is always a complete file, the old one or the new one. A `.part` that stays behind (kill -9) is a WAV
    file too, of unknown length. A pipe or a device is written in place.

    Args:
        path: the file; its folder is made.
        format: of the samples.
    """

    inputs: ClassVar[Mapping[str, str]] = {"in": "audio"}
    outputs: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *, path: Path, format: SinkFormat = "i16") -> None:
        if format not in {"i16", "i24", "i32", "f32"}:
            raise Validation(f"format must be i16, i24, i32 or f32, not {format}")
        self._path = Path(path)
        self._format: SinkFormat = format
        self._lock = FormatLock()
        self._file: BinaryIO | None = None
        self._written = 0
        self._frames = 0

    def check(self) -> None:
        check_to_write(self._path)

    def initialize(self, ctx: NodeContext) -> None:  # noqa: ARG002
        make_folder(self._path)
        self._in_place = is_stream(self._path)
        self._part = self._path if self._in_place else self._path.with_name(self._path.name + ".part")

    def process(self, data: RuntimeData) -> None:
        audio = data.as_audio()
        self._lock.check(audio)
        file = self._file or self._open(audio.sample_rate, audio.channels)
        self._written += file.write(encode(audio, self._format))
        self._frames += audio.num_samples // audio.channels

    def flush(self) -> None:
        """End the file; a stream without any audio leaves an empty one (16 kHz, mono)."""
        if self._file is None:
            self._lock.sample_rate, self._lock.channels = _EMPTY_RATE_HZ, 1
            self._open(_EMPTY_RATE_HZ, 1)
        self._finish()

    def cleanup(self) -> None:
        """End the file when the run did not come to its end; without any audio `path` stays as it was."""
        self._finish()

    def _open(self, rate: int, channels: int) -> BinaryIO:
        try:
            self._file = self._part.open("wb")
        except OSError as error:
            raise Validation(f"{self._part} can not be written: {error.strerror or error}") from None
        self._file.write(_header(self._format, rate, channels, None))
        return self._file

    def _finish(self) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        with file:
            if self._written % 2:
                file.write(b"\0")
            if not self._in_place:
                file.seek(0)
                file.write(_header(self._format, self._lock.sample_rate, self._lock.channels, self._frames))
        if not self._in_place:
            self._part.replace(self._path)


def _header(target: SinkFormat, rate: int, channels: int, frames: int | None) -> bytes:
    """All that comes before the samples; without `frames`, or above 4 GiB, the sizes say "unknown"."""
    width = sample_bytes(target)
    block = width * channels
    tag, rest = (3, b"\0\0") if target == "f32" else (1, b"")  # other than PCM: the size of an extension, none
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, 8 * width) + rest
    chunks = b"WAVE" + struct.pack("<4sI", b"fmt ", len(fmt)) + fmt
    if target == "f32":  # and its frames counted in a chunk of their own
        chunks += struct.pack("<4sII", b"fact", 4, min(frames or 0, _UNKNOWN))
    data_bytes = _UNKNOWN if frames is None else frames * block
    riff_bytes = len(chunks) + 8 + data_bytes + data_bytes % 2
    if riff_bytes >= _UNKNOWN:
        data_bytes = riff_bytes = _UNKNOWN
    return struct.pack("<4sI", b"RIFF", riff_bytes) + chunks + struct.pack("<4sI", b"data", data_bytes)
