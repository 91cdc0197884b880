"""Sample formats: bytes of a WAV file and integer audio to floating point, and back."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from penstock.executors.contract import AudioBuffer, RuntimeData

__all__ = ["Float32", "SinkFormat", "as_float32", "decode", "encode", "float_audio", "sample_bytes"]

Float32: TypeAlias = npt.NDArray[np.float32]
SinkFormat: TypeAlias = Literal["i16", "i24", "i32", "f32"]

_BITS = {"i16": 16, "i24": 24, "i32": 32, "f32": 32}
_BELOW_ONE = np.float32(1 - 2**-24)  # the largest float32 under 1: where 32-bit integers would round up to 1


def decode(data: bytes, kind: Literal["int", "float"], width: int) -> Float32:
    """Samples of a WAV file, `width` bytes each, as float32; integers in [-1, 1), floats as they are."""
    if kind == "float":
        return np.frombuffer(data, f"<f{width}").astype(np.float32, copy=False)
    if width == 1:
        return _scaled(np.frombuffer(data, np.uint8))
    if width == 3:
        return _scaled(_widen(data))
    return _scaled(np.frombuffer(data, f"<i{width}"))


def _widen(data: bytes) -> npt.NDArray[np.int32]:
    """24-bit samples in the upper bytes of 32-bit ones."""
    wide = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return wide.view("<i4").reshape(-1)


def _scaled(samples: npt.NDArray[Any]) -> Float32:
    """Integers of full scale to float32 in [-1, 1); 8 bits are unsigned around 128."""
    if samples.dtype.itemsize == 1:
        return (samples.astype(np.float32) - np.float32(128)) * np.float32(2**-7)
    if samples.dtype.itemsize == 2:
        return samples.astype(np.float32) * np.float32(2**-15)
    scaled: Float32 = np.minimum(samples.astype(np.float32) * np.float32(2**-31), _BELOW_ONE)
    return scaled


def as_float32(audio: AudioBuffer) -> Float32:
    """Interleaved float32, in place where the audio is that already."""
    if audio.samples.dtype.kind == "f":
        return audio.samples.astype(np.float32, copy=False)
    return _scaled(audio.samples)


def float_audio(data: RuntimeData, samples: npt.NDArray[Any], channels: int) -> RuntimeData:
    """Audio that takes the place of `data`: the same moment, session, rate and meta."""
    return RuntimeData.audio(
        samples,
        sample_rate=data.sample_rate,
        channels=channels,
        session_id=data.session_id,
        timestamp_ns=data.timestamp_ns,
        meta=data.meta,
    )


def sample_bytes(target: SinkFormat) -> int:
    return _BITS[target] // 8


def encode(audio: AudioBuffer, target: SinkFormat) -> bytes:
    """Samples for a WAV file: rounded to nearest and clipped, never wrapped; NaN is 0."""
    if target == "f32":
        return np.nan_to_num(as_float32(audio), nan=0.0, posinf=1.0, neginf=-1.0).astype("<f4").tobytes()
    full = float(2 ** (_BITS[target] - 1))
    scaled = np.nan_to_num(_as_float64(audio), nan=0.0, posinf=1.0, neginf=-1.0) * full
    rounded = np.clip(np.rint(scaled), -full, full - 1)
    if target == "i24":
        return rounded.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return rounded.astype(f"<i{_BITS[target] // 8}").tobytes()


def _as_float64(audio: AudioBuffer) -> npt.NDArray[np.float64]:
    """Not by way of float32, which has too few bits for 32-bit integers."""
    samples = audio.samples
    if samples.dtype.kind == "f":
        return samples.astype(np.float64)
    if samples.dtype.itemsize == 1:
        return (samples.astype(np.float64) - 128) / 2**7
    return samples.astype(np.float64) / float(2 ** (8 * samples.dtype.itemsize - 1))
