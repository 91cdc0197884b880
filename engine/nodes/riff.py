"""Reads the head of a WAV file (RIFF, RF64, BW64) from a stream, forwards only.

Sources: Microsoft "Multiple Channel Audio Data and WAVE Files" (WAVE_FORMAT_EXTENSIBLE), EBU Tech 3306 (RF64)
and ITU-R BS.2088 (BW64).
"""

from __future__ import annotations

import shlex
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, TypeAlias

from penstock.engine.nodes.sniff import looks_like
from penstock.executors.contract import Validation

__all__ = ["WavFormat", "WavHead", "read_head"]

Kind: TypeAlias = Literal["int", "float"]

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_KINDS: dict[int, Kind] = {_PCM: "int", _FLOAT: "float"}
_WIDTHS: dict[Kind, tuple[int, ...]] = {"int": (1, 2, 3, 4), "float": (4, 8)}
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # of every sub-format that is a plain format tag
_CODECS = {
    0x0002: "Microsoft ADPCM",
    0x0006: "A-law",
    0x0007: "mu-law",
    0x0011: "IMA ADPCM",
    0x0031: "GSM 6.10",
    0x0040: "G.721 ADPCM",
    0x0050: "MPEG layer 1 or 2",
    0x0055: "MP3",
    0x00FF: "AAC",
    0x0161: "Windows Media Audio",
    0x1610: "AAC",
    0x2000: "AC-3",
    0x674F: "Vorbis",
    0xF1AC: "FLAC",
}
_UNKNOWN = 0xFFFFFFFF
_SKIP_BYTES = 1 << 16
_FMT_LIMIT = 1 << 16


@dataclass(frozen=True, slots=True)
class WavFormat:
    """How samples lie in the data chunk: `width` bytes each, little-endian, `channels` of them in a frame."""

    kind: Kind
    width: int
    sample_rate: int
    channels: int

    @property
    def frame_bytes(self) -> int:
        return self.width * self.channels


@dataclass(frozen=True, slots=True)
class WavHead:
    """What stands before the samples.

    Attributes:
        format: of the samples.
        data_bytes: length of the data chunk; None when its writer did not know it: read to the end.
        offset: bytes of the stream before the first sample.
    """

    format: WavFormat
    data_bytes: int | None
    offset: int


class _Reader:
    """A stream that is read forwards and knows how far."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self.name = name
        self.offset = 0

    def read(self, count: int) -> bytes:
        data = self._stream.read(count)
        self.offset += len(data)
        return data

    def need(self, count: int, what: str) -> bytes:
        data = self.read(count)
        if len(data) < count:
            raise Validation(f"{self.name} is truncated: it ends inside its {what}; get a complete copy")
        return data

    def unpack(self, layout: str, what: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self.need(struct.calcsize(layout), what))

    def skip(self, count: int, what: str) -> None:
        while count:
            count -= len(self.need(min(count, _SKIP_BYTES), what))


def read_head(stream: BinaryIO, name: str) -> WavHead:
    """Read up to the first sample; `name` is the file's, for the errors.

    Raises:
        Validation: the file is empty, not a WAV, truncated, compressed, or contradicts itself.
    """
    reader = _Reader(stream, name)
    riff_bytes, is_64 = _riff(reader)
    wide_bytes: int | None = None
    wav_format: WavFormat | None = None
    while True:
        kind, size = _chunk(reader)
        if kind == b"ds64":
            wide_bytes = _ds64(reader, size)
        elif kind == b"fmt ":
            wav_format = _fmt(reader, size)
        elif kind == b"data":
            if wav_format is None:
                raise Validation(f"{name} is not a usable WAV file: its data comes before its fmt chunk")
            declared = wide_bytes if is_64 and size == _UNKNOWN and wide_bytes is not None else size
            return WavHead(wav_format, _known(declared, riff_bytes, reader.offset), reader.offset)
        else:
            reader.skip(size, f"{_printable(kind)} chunk")
        _pad(reader, size)


def _riff(reader: _Reader) -> tuple[int, bool]:
    head = reader.read(12)
    if not head:
        raise Validation(f"{reader.name} is empty (0 bytes): it should be a WAV file")
    if head[:4] not in {b"RIFF", b"RF64", b"BW64"} or (len(head) == 12 and head[8:] != b"WAVE"):
        raise Validation(
            f"{reader.name} is not a WAV file, it looks like {looks_like(head)}; "
            f"convert it: ffmpeg -i {shlex.quote(reader.name)} -c:a pcm_s16le out.wav"
        )
    if len(head) < 12:
        raise Validation(f"{reader.name} is truncated: it ends after {len(head)} bytes; get a complete copy")
    return int.from_bytes(head[4:8], "little"), head[:4] != b"RIFF"


def _chunk(reader: _Reader) -> tuple[bytes, int]:
    """The next chunk's name and size."""
    kind = reader.read(4)
    if not kind:
        raise Validation(f"{reader.name} has no data chunk: it ends after its header; get a complete copy")
    if len(kind) < 4:
        raise Validation(f"{reader.name} is truncated: it ends inside a chunk's header; get a complete copy")
    (size,) = reader.unpack("<I", f"{_printable(kind)} chunk's header")
    return kind, size


def _pad(reader: _Reader, size: int) -> None:
    """A chunk of odd size is followed by one byte of padding."""
    if size % 2:
        reader.read(1)


def _printable(kind: bytes) -> str:
    return repr(kind.decode("latin-1").strip())


def _ds64(reader: _Reader, size: int) -> int:
    """The 64-bit size of the data chunk."""
    if size < 16:
        raise Validation(f"{reader.name}: its ds64 chunk has {size} bytes, it needs 28; rewrite the file")
    _, data_bytes = reader.unpack("<QQ", "ds64 chunk")
    reader.skip(size - 16, "ds64 chunk")
    return int(data_bytes)


def _known(declared: int, riff_bytes: int, offset: int) -> int | None:
    """The length of the data, or None when the writer could not go back and fill it in.

    Such writers leave 0 (and a RIFF size that ends at or before the data), 0xFFFFFFFF (ffmpeg) or a size
    just under 2 GiB (sox 0x7ffff000, arecord 0x80000000).
    """
    if declared == 0 and (riff_bytes == _UNKNOWN or riff_bytes + 8 <= offset):
        return None
    if _UNKNOWN - 0xFF <= declared <= _UNKNOWN or 0x7FFFF000 <= declared <= 0x80000000:
        return None
    return declared


def _fmt(reader: _Reader, size: int) -> WavFormat:
    if not 16 <= size <= _FMT_LIMIT:
        raise Validation(f"{reader.name}: its fmt chunk has {size} bytes, a WAV file's has 16, 18 or 40; rewrite it")
    body = reader.need(size, "fmt chunk")
    tag, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", body)
    kind = _kind(reader.name, _sub_format(reader.name, body) if tag == _EXTENSIBLE else tag)
    width = -(-bits // 8)
    if width not in _WIDTHS[kind]:
        raise Validation(
            f"{reader.name} has {bits}-bit {kind} samples, which nothing here reads; {_convert(reader.name)}"
        )
    if channels < 1 or rate < 1:
        raise Validation(f"{reader.name} declares {channels} channels at {rate} Hz: it is damaged; get another copy")
    if block != width * channels:
        raise Validation(
            f"{reader.name} contradicts itself: {channels} channels of {bits} bits make blocks of {width * channels} "
            f"bytes, but its block align is {block}; {_convert(reader.name)}"
        )
    return WavFormat(kind, width, rate, channels)


def _sub_format(name: str, body: bytes) -> int:
    if len(body) < 40:
        raise Validation(f"{name}: its extensible fmt chunk has {len(body)} bytes, it needs 40; rewrite the file")
    if body[26:40] != _GUID_TAIL:
        raise Validation(f"{name} is not PCM but of the unknown sub-format {body[24:40].hex()}; {_convert(name)}")
    return int.from_bytes(body[24:26], "little")


def _kind(name: str, tag: int) -> Kind:
    if tag not in _KINDS:
        codec = _CODECS.get(tag, f"format 0x{tag:04x}")
        raise Validation(f"{name} is compressed with {codec}, not PCM; {_convert(name)}")
    return _KINDS[tag]


def _convert(name: str) -> str:
    path = shlex.quote(name)
    return f"convert it: sox {path} -e signed -b 16 out.wav, or ffmpeg -i {path} -c:a pcm_s16le out.wav"
