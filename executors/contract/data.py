"""The datum: one typed piece of a stream (executor-bridge-api.md L502-515, errata D-07, D-09, D-43, D-46)."""

from __future__ import annotations

import enum
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from penstock.executors.contract.errors import TypeMismatch, Validation
from penstock.executors.contract.loan import loans

__all__ = ["AudioBuffer", "AudioFormat", "DataType", "Json", "RuntimeData"]

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
Array: TypeAlias = npt.NDArray[Any]


class DataType(enum.Enum):
    """The four types of a stream."""

    AUDIO = "Audio"
    TEXT = "Text"
    TENSOR = "Tensor"
    JSON = "Json"

    __hash__ = object.__hash__  # members are singletons; Enum's own hash is a Python call for every datum

    def __str__(self) -> str:
        return self.value


class AudioFormat(enum.Enum):
    """The sample formats of audio; the value is the contract's name."""

    U8 = "U8"
    I16 = "I16"
    I32 = "I32"
    F32 = "F32"
    F64 = "F64"

    def __str__(self) -> str:
        return self.value


_FORMAT_OF_DTYPE = {
    np.dtype("u1"): AudioFormat.U8,
    np.dtype("<i2"): AudioFormat.I16,
    np.dtype("<i4"): AudioFormat.I32,
    np.dtype("<f4"): AudioFormat.F32,
    np.dtype("<f8"): AudioFormat.F64,
}


@dataclass(frozen=True, slots=True)
class AudioBuffer:
    """Audio as a node reads it.

    Attributes:
        samples: read-only, interleaved, shape (num_samples,).
        sample_rate: in Hz.
        channels: at least 1.
    """

    samples: Array
    sample_rate: int
    channels: int

    @property
    def num_samples(self) -> int:
        """Samples over all channels together."""
        return self.samples.size

    @property
    def format(self) -> AudioFormat:
        return _FORMAT_OF_DTYPE[self.samples.dtype]

    @property
    def frames(self) -> Array:
        """The samples as shape (frames, channels), without a copy."""
        return self.samples.reshape(-1, self.channels)

    @property
    def duration_s(self) -> float:
        return self.samples.size / self.channels / self.sample_rate


@dataclass(slots=True, eq=False)
class RuntimeData:
    """One datum. Build it with `audio`, `text`, `tensor` or `json`; treat it as immutable.

    Attributes:
        data_type: what the payload is.
        payload: the bytes, read-only: UTF-8 for text and JSON, little- or native-endian elements else.
        session_id: the session that it belongs to; kept over every crossing.
        timestamp_ns: when it was made, in ns since 1970 unless the source says otherwise; kept over every crossing.
        dtype: of the elements (audio and tensor).
        shape: of the array; audio has (samples over all channels,).
        sample_rate: in Hz (audio), else 0.
        channels: (audio), else 0.
        meta: small fields of the user's own; anything that JSON can say.
    """

    data_type: DataType
    payload: bytes | memoryview
    session_id: str = ""
    timestamp_ns: int = 0
    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] = ()
    sample_rate: int = 0
    channels: int = 0
    meta: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def audio(
        cls,
        samples: npt.ArrayLike,
        *,
        sample_rate: int,
        channels: int | None = None,
        session_id: str = "",
        timestamp_ns: int | None = None,
        meta: Mapping[str, Json] | None = None,
    ) -> RuntimeData:
        """Audio from interleaved samples of shape (n,), or from frames of shape (frames, channels).

        An array that owns its memory is frozen and used in place, every other one is copied.

        Raises:
            Validation: no such sample format (u1, i2, i4, f4, f8), a rate or channel count below 1, or a number of
                samples that the channels do not divide.
        """
        array = _as_array(samples)
        if array.ndim == 2:
            if channels not in {None, array.shape[1]}:
                raise Validation(f"audio of shape {array.shape} has {array.shape[1]} channels, not {channels}")
            channels = array.shape[1]
        elif array.ndim != 1:
            raise Validation(f"audio samples have 1 or 2 dimensions, not {array.ndim}")
        channels = 1 if channels is None else channels
        if array.dtype not in _FORMAT_OF_DTYPE:
            raise Validation(f"audio samples are uint8, int16, int32, float32 or float64, not {array.dtype}")
        for name, number in (("sample_rate", sample_rate), ("channels", channels)):
            if not isinstance(number, int | np.integer) or not 1 <= number < 1 << 32:
                raise Validation(f"{name} is a whole number above 0, not {number!r}")
        if array.size % channels:
            raise Validation(f"{array.size} samples over {channels} channels at {sample_rate} Hz are no audio")
        settled = _settle(array)
        return cls(
            DataType.AUDIO,
            _bytes_of(settled),
            session_id,
            time.time_ns() if timestamp_ns is None else timestamp_ns,
            settled.dtype,
            (settled.size,),
            int(sample_rate),
            int(channels),
            {} if meta is None else meta,
        )

    @classmethod
    def tensor(
        cls,
        array: Any,
        *,
        session_id: str = "",
        timestamp_ns: int | None = None,
        meta: Mapping[str, Json] | None = None,
    ) -> RuntimeData:
        """A tensor from anything with the buffer protocol, `__array__` or DLPack (host memory).

        An array that owns its memory is *frozen* and used in place, so that nobody can change what was sent by mistake;
        every other one is copied. Views of it that were made before are not frozen: do not write through them.

        Raises:
            Validation: the elements are Python objects.
        """
        settled = _settle(_as_array(array))
        return cls(
            DataType.TENSOR,
            _bytes_of(settled),
            session_id,
            time.time_ns() if timestamp_ns is None else timestamp_ns,
            settled.dtype,
            settled.shape,
            0,
            0,
            {} if meta is None else meta,
        )

    @classmethod
    def text(
        cls,
        text: str,
        *,
        session_id: str = "",
        timestamp_ns: int | None = None,
        meta: Mapping[str, Json] | None = None,
    ) -> RuntimeData:
        """Text, kept as UTF-8.

        Raises:
            Validation: it is no `str`.
        """
        if not isinstance(text, str):
            raise Validation(f"text is a str, not {type(text).__name__}")
        return cls._encoded(DataType.TEXT, text, session_id, timestamp_ns, meta)

    @classmethod
    def json(
        cls,
        value: Json,
        *,
        session_id: str = "",
        timestamp_ns: int | None = None,
        meta: Mapping[str, Json] | None = None,
    ) -> RuntimeData:
        """A JSON value, kept as compact UTF-8 in the order of its keys.

        Raises:
            Validation: JSON can not say it.
        """
        try:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise Validation(f"not JSON: {error}") from None
        return cls._encoded(DataType.JSON, text, session_id, timestamp_ns, meta)

    @classmethod
    def _encoded(
        cls,
        data_type: DataType,
        text: str,
        session_id: str,
        timestamp_ns: int | None,
        meta: Mapping[str, Json] | None,
    ) -> RuntimeData:
        return cls(
            data_type,
            text.encode("utf-8", "surrogatepass"),
            session_id,
            time.time_ns() if timestamp_ns is None else timestamp_ns,
            meta={} if meta is None else meta,
        )

    def as_audio(self) -> AudioBuffer:
        """The audio, read in place.

        Raises:
            TypeMismatch: it is not audio, or the payload is not what the metadata says.
        """
        self._expect(DataType.AUDIO)
        if self.dtype not in _FORMAT_OF_DTYPE or self.sample_rate < 1 or self.channels < 1:
            raise TypeMismatch(DataType.AUDIO, f"{self.data_type} without format, rate or channels")
        samples = self._array(DataType.AUDIO)
        if samples.size % self.channels:
            raise TypeMismatch(DataType.AUDIO, f"{samples.size} samples over {self.channels} channels")
        return AudioBuffer(samples, self.sample_rate, self.channels)

    def as_tensor(self, *, copy: bool = False) -> Array:
        """The tensor as a read-only view in place, or as a writable array of its own with `copy=True`.

        Raises:
            TypeMismatch: it is not a tensor, or the payload is not what the metadata says.
        """
        self._expect(DataType.TENSOR)
        array = self._array(DataType.TENSOR)
        return array.copy() if copy else array

    def as_text(self) -> str:
        """The text.

        Raises:
            TypeMismatch: it is not text.
        """
        self._expect(DataType.TEXT)
        return self._decode(DataType.TEXT)

    def as_json(self) -> Any:
        """The JSON value, parsed anew at each call.

        Raises:
            TypeMismatch: it is not JSON.
        """
        self._expect(DataType.JSON)
        try:
            return json.loads(self._decode(DataType.JSON))
        except ValueError:
            raise TypeMismatch(DataType.JSON, "bytes that are not JSON") from None

    @property
    def nbytes(self) -> int:
        """Length of the payload in bytes."""
        return len(self.payload)

    def _expect(self, expected: DataType) -> None:
        if self.data_type is not expected:
            raise TypeMismatch(expected, self.data_type)

    def _array(self, expected: DataType) -> Array:
        if self.dtype is None:
            raise TypeMismatch(expected, "a payload without dtype")
        try:
            array = (
                np.frombuffer(self.payload, self.dtype)
                if self.payload
                else np.frombuffer(b"", np.uint8).view(self.dtype)
            )
            return array if array.shape == self.shape else array.reshape(self.shape)
        except (TypeError, ValueError):
            raise TypeMismatch(expected, f"{len(self.payload)} bytes for {self.dtype} {self.shape}") from None

    def _decode(self, expected: DataType) -> str:
        try:
            return str(self.payload, "utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise TypeMismatch(expected, "bytes that are not UTF-8") from None

    def _identity(self) -> tuple[object, ...]:
        return (
            self.data_type,
            self.session_id,
            self.timestamp_ns,
            self.dtype,
            self.shape,
            self.sample_rate,
            self.channels,
            bytes(self.payload),
            self.meta,
        )

    def __eq__(self, other: object) -> bool:
        """Equal in type, bytes, dtype, shape, rate, channels, session, timestamp and meta: NaN equals its own bits."""
        return self._identity() == other._identity() if isinstance(other, RuntimeData) else NotImplemented

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        what = f" {self.dtype}{list(self.shape)}" if self.dtype is not None else ""
        rate = f" {self.sample_rate} Hz x{self.channels}" if self.data_type is DataType.AUDIO else ""
        return f"<RuntimeData {self.data_type}{what}{rate} {len(self.payload)} bytes session={self.session_id!r}>"


def _as_array(value: Any) -> Array:
    if not isinstance(value, np.ndarray) and not hasattr(value, "__array__") and hasattr(value, "__dlpack__"):
        value = np.from_dlpack(value)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise Validation(f"this is no array: {error}") from None
    if array.dtype.hasobject:
        raise Validation(f"an array of Python objects ({array.dtype}) can not be sent: give it a numeric dtype")
    return array


def _settle(array: Array) -> Array:
    """An array with the same contents that nobody can change any more: the same one where that can be had."""
    flags = array.flags
    if not flags.c_contiguous:
        return _owned(array)
    if flags.owndata:
        if flags.writeable:
            flags.writeable = False
        return array
    return array if _is_immutable(array) or loans.freeze(array) else _owned(array)


def _owned(array: Array) -> Array:
    copy = np.array(array, order="C", copy=True, subok=False)
    copy.flags.writeable = False
    return copy


def _is_immutable(owner: object) -> bool:
    """Whether the chain of owners ends in memory that can not be written through any of its links.

    Of shared memory only our own says that: a published slab is not written again while a view of it lives.
    """
    while True:
        if isinstance(owner, np.ndarray):
            if owner.flags.writeable:
                return False
            if owner.base is None:
                return bool(owner.flags.owndata)
            owner = owner.base
        elif isinstance(owner, memoryview):
            if not owner.readonly:
                return False
            owner = owner.obj
        else:
            return isinstance(owner, bytes) or getattr(owner, "readonly_views_are_final", False)


def _bytes_of(array: Array) -> memoryview:
    try:
        return array.data.cast("B").toreadonly()
    except (TypeError, ValueError):  # an empty array, or a dtype whose format `cast` does not know
        return array.reshape(-1).view(np.uint8).data.toreadonly()
