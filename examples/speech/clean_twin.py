"""The twin of clean.c: the same high-pass and gain in numpy, for the same graph without a sandbox."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from penstock.executors.contract import Node, RuntimeData, Validation

__all__ = ["Clean"]

Array = npt.NDArray[np.float64]

_BLOCK = 64


class Clean(Node):
    """A Butterworth high-pass of 2nd order and a gain; float32 audio of any rate, 1 to 32 channels.

    Args:
        cutoff_hz: the corner, above 0 and below half the sample rate.
        gain_db: -120 to 60.
    """

    inputs = {"in": "audio"}  # noqa: RUF012 - the base class says ClassVar
    outputs = {"out": "audio"}  # noqa: RUF012

    def __init__(self, cutoff_hz: float = 80.0, gain_db: float = 0.0) -> None:
        if not 0 < cutoff_hz < 1e9:
            raise Validation(f"cutoff_hz is {cutoff_hz}: it is above 0")
        if not -120 <= gain_db <= 60:
            raise Validation(f"gain_db is {gain_db}: it is from -120 to 60")
        self.cutoff_hz = cutoff_hz
        self.gain_db = gain_db
        self._layout = (0, 0)
        self._filter = _Filter(0.1, 1.0, 1)

    def process(self, data: RuntimeData) -> RuntimeData:
        audio = data.as_audio()
        if audio.samples.dtype != np.float32:
            raise ValueError(
                f"clean takes audio of 32-bit floats, not {audio.samples.dtype}: convert the samples first"
            )
        if audio.channels > 32:
            raise ValueError(f"clean takes 1 to 32 channels, not {audio.channels}")
        if self.cutoff_hz >= audio.sample_rate / 2:
            raise ValueError(f"cutoff_hz {self.cutoff_hz:g} is not below half the sample rate {audio.sample_rate}")
        self._follow((audio.sample_rate, audio.channels))
        return RuntimeData.audio(
            self._filter(audio.frames.astype(np.float64)).astype(np.float32),
            sample_rate=audio.sample_rate,
            session_id=data.session_id,
            timestamp_ns=data.timestamp_ns,
            meta=data.meta,
        )

    def _follow(self, layout: tuple[int, int]) -> None:
        """Another rate or number of channels is another stream: the filter starts afresh, as in the guest."""
        if layout != self._layout:
            rate, channels = self._layout = layout
            self._filter = _Filter(self.cutoff_hz / rate, 10 ** (self.gain_db / 20), channels)


class _Filter:
    """The biquad, a block of samples at a time: outputs are linear in the block's inputs and the state before it."""

    def __init__(self, cutoff: float, gain: float, channels: int) -> None:
        b, a = _design(cutoff, gain)
        step = np.array([[-a[0], 1.0], [-a[1], 0.0]])  # transposed direct form II: y = b0 x + s0
        feed = np.array([b[1] - a[0] * b[0], b[2] - a[1] * b[0]])
        self._of_state = np.array([np.linalg.matrix_power(step, n)[0] for n in range(_BLOCK)])
        impulse = np.array([b[0], *(self._of_state[n] @ feed for n in range(_BLOCK - 1))])
        lag = np.subtract.outer(np.arange(_BLOCK), np.arange(_BLOCK))
        self._of_input = np.where(lag >= 0, impulse[lag], 0.0)
        self._carry = np.array([np.linalg.matrix_power(step, n) @ feed for n in range(_BLOCK)]).T
        self._powers = [np.linalg.matrix_power(step, n) for n in range(_BLOCK + 1)]
        self._state = np.zeros((2, channels))

    def __call__(self, frames: Array) -> Array:
        """Filter frames of shape (frames, channels)."""
        out = np.empty_like(frames)
        for start in range(0, len(frames), _BLOCK):
            block = frames[start : start + _BLOCK]
            out[start : start + _BLOCK] = self._advance(block)
        return out

    def _advance(self, block: Array) -> Array:
        size = len(block)
        out: Array = self._of_input[:size, :size] @ block + self._of_state[:size] @ self._state
        self._state = self._powers[size] @ self._state + self._carry[:, size - 1 :: -1][:, :size] @ block
        return out


def _design(cutoff: float, gain: float) -> tuple[tuple[float, float, float], tuple[float, float]]:
    """Zeros and poles at `cutoff` cycles a sample: the bilinear transform of the Butterworth high-pass."""
    k, root = math.tan(math.pi * cutoff), math.sqrt(2)
    norm = 1 / (1 + root * k + k * k)
    return (norm * gain, -2 * norm * gain, norm * gain), (2 * (k * k - 1) * norm, (1 - root * k + k * k) * norm)
