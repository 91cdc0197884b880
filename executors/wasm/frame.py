"""The frame: the 64 bytes that say what a datum in guest memory is. Nothing that a guest wrote there is believed.

offset 0 u32 magic 'PSF1' | 4 u8 kind | 5 u8 dtype | 6 u8 ndim | 7 u8 flags | 8 u64 pts_ns | 16 u32 sample_rate |
20 u16 channels | 22 u16 0 | 24 u32 shape[4] | 40 u32 data_ptr | 44 u32 data_len | 48 u32 meta_ptr | 52 u32 meta_len |
56 u64 seq; little endian
"""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple

import numpy as np

from penstock.executors.contract import DataType, RuntimeData

__all__ = ["FRAME", "MAGIC", "FrameError", "Header", "Unsayable", "codes_of", "datum", "pack_frame", "parse_header"]

FRAME = struct.Struct("<IBBBBQIHH4IIIIIQ")
MAGIC = int.from_bytes(b"PSF1", "little")

AUDIO, TEXT, TENSOR, JSON, BYTES = 1, 2, 3, 4, 5
PLANAR = 2
_SHAPED, _TEXTS = frozenset({AUDIO, TENSOR}), frozenset({TEXT, JSON})

_DTYPES = tuple(np.dtype(name) for name in ("u1", "<i2", "<i4", "<i8", "<f4", "<f8"))
_CODES = {dtype: code for code, dtype in enumerate(_DTYPES)}
_NO_AUDIO = 3  # int64: a dtype of tensors alone
_PADDING = ((0, 0, 0, 0), (0, 0, 0), (0, 0), (0,), ())


class FrameError(Exception):
    """What a guest wrote into a frame makes no sense."""


class Unsayable(Exception):
    """A datum that no frame can say."""


class Header(NamedTuple):
    """A frame's fields as the guest left them."""

    magic: int
    kind: int
    dtype: int
    ndim: int
    flags: int
    pts_ns: int
    sample_rate: int
    channels: int
    reserved: int
    shape_0: int
    shape_1: int
    shape_2: int
    shape_3: int
    data_ptr: int
    data_len: int
    meta_ptr: int
    meta_len: int
    seq: int


def codes_of(data: RuntimeData) -> tuple[int, int]:
    """Kind and dtype code of a datum.

    Raises:
        Unsayable: the frame has no code for its dtype, or it has too many dimensions.
    """
    kind = data.data_type
    if kind is DataType.TEXT:
        return TEXT, 0
    if kind is DataType.JSON:
        return JSON, 0
    code = _CODES.get(data.dtype) if data.dtype is not None else None
    if code is None:
        raise Unsayable(f"elements of {data.dtype} can not be said in a frame: convert to {_names()}")
    if len(data.shape) > 4:
        raise Unsayable(f"a tensor of {len(data.shape)} dimensions can not be said in a frame: reshape to at most 4")
    return (AUDIO if kind is DataType.AUDIO else TENSOR), code


def _names() -> str:
    return ", ".join(str(dtype) for dtype in _DTYPES)


def pack_frame(
    memory: memoryview, at: int, data: RuntimeData, size: int, data_ptr: int, meta: tuple[int, int], seq: int
) -> None:
    """Write the frame of a datum whose payload of `size` bytes lies at `data_ptr`.

    Raises:
        Unsayable: a field of the datum does not fit into its field of the frame.
    """
    kind, code = codes_of(data)
    shape = data.shape if kind in _SHAPED else (size,)
    pad = _PADDING[len(shape)]
    try:
        FRAME.pack_into(
            memory, at, MAGIC, kind, code, len(shape), 0, data.timestamp_ns, data.sample_rate, data.channels, 0,
            *shape, *pad, data_ptr, size, *meta, seq,
        )  # fmt: skip
    except struct.error as error:
        raise Unsayable(
            f"shape {shape}, timestamp_ns {data.timestamp_ns}, sample_rate {data.sample_rate} or channels "
            f"{data.channels} does not fit into a frame (u32 each, u64, u32, u16): {error}"
        ) from None


def parse_header(memory: memoryview, at: int) -> Header:
    """The frame at an address that the guest may have chosen.

    Raises:
        FrameError: its magic is gone, or it, its data or its meta are not inside the memory.
    """
    if at + FRAME.size > len(memory):
        raise FrameError(f"a frame at {at:#x} is out of bounds of the guest's {len(memory)} bytes of memory")
    header = Header._make(FRAME.unpack_from(memory, at))
    if header.magic != MAGIC:
        raise FrameError(f"the frame at {at:#x} begins with {header.magic:#010x}, not with the magic 'PSF1'")
    limit = len(memory)
    if header.data_ptr + header.data_len > limit:
        raise FrameError(_outside("data", header.data_ptr, header.data_len, limit))
    if header.meta_ptr + header.meta_len > limit:
        raise FrameError(_outside("meta", header.meta_ptr, header.meta_len, limit))
    return header


def _outside(what: str, pointer: int, length: int, limit: int) -> str:
    return f"{what}_ptr {pointer:#x} + {what}_len {length} is out of bounds of the guest's {limit} bytes of memory"


def datum(header: Header, payload: bytes, session_id: str, timestamp_ns: int, meta: Any) -> RuntimeData:
    """The datum that a frame and its payload are.

    Raises:
        FrameError: kind, dtype, shape and length do not agree, or the text is none.
    """
    kind = header.kind
    if kind == AUDIO:
        return _audio(header, payload, session_id, timestamp_ns, meta)
    if kind == TENSOR:
        shape = _shape(header)
        dtype = _checked_dtype(header, shape, len(payload))
        return RuntimeData(DataType.TENSOR, payload, session_id, timestamp_ns, dtype, shape, meta=meta)
    if kind == BYTES:
        return RuntimeData(DataType.TENSOR, payload, session_id, timestamp_ns, _DTYPES[0], (len(payload),), meta=meta)
    if kind in _TEXTS:
        _check_text(payload, is_json=kind == JSON)
        return RuntimeData(
            DataType.TEXT if kind == TEXT else DataType.JSON, payload, session_id, timestamp_ns, meta=meta
        )
    raise FrameError(f"the frame has the kind {kind}: it is 1 audio, 2 text, 3 tensor, 4 json or 5 bytes")


def _audio(header: Header, payload: bytes, session_id: str, timestamp_ns: int, meta: Any) -> RuntimeData:
    rate, channels = header.sample_rate, header.channels
    if rate < 1 or channels < 1:
        raise FrameError(f"the audio frame has {channels} channels at {rate} Hz")
    shape = (header.shape_0,) if header.ndim == 1 else _shape(header)
    dtype = _checked_dtype(header, shape, len(payload))
    size = len(payload) // dtype.itemsize
    if header.dtype == _NO_AUDIO or not 1 <= len(shape) <= 2 or size % channels:
        raise FrameError(f"{dtype} elements of shape {shape} over {channels} channels are no audio")
    if header.flags & PLANAR:
        payload = np.frombuffer(payload, dtype).reshape(channels, -1).T.tobytes()
    return RuntimeData(DataType.AUDIO, payload, session_id, timestamp_ns, dtype, (size,), rate, channels, meta)


def _shape(header: Header) -> tuple[int, ...]:
    if header.ndim > 4:
        raise FrameError(f"the frame has {header.ndim} dimensions: there are at most 4")
    return header[9 : 9 + header.ndim]


def _checked_dtype(header: Header, shape: tuple[int, ...], length: int) -> np.dtype[Any]:
    if header.dtype >= len(_DTYPES):
        raise FrameError(f"the frame has the dtype {header.dtype}: it is 0 to {len(_DTYPES) - 1}")
    dtype = _DTYPES[header.dtype]
    expected = dtype.itemsize
    for extent in shape:
        expected *= extent
    if expected != length:
        raise FrameError(f"the frame has {length} bytes of data; {dtype} of shape {shape} has {expected}")
    return dtype


def _check_text(payload: bytes, *, is_json: bool) -> None:
    try:
        text = payload.decode("utf-8", "surrogatepass")
        if is_json:
            json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"the {'JSON' if is_json else 'text'} frame is none: {error}") from None
