"""`tone` and `noise`: audio out of nothing, the same at every run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from penstock.engine.nodes.clock import frames_to_ns
from penstock.engine.nodes.params import above_zero, at_least, finite
from penstock.executors.contract import Node, RuntimeData, Validation

__all__ = ["Noise", "Tone"]

Frames: TypeAlias = npt.NDArray[np.float64]

_PINK_ROWS = 16


class _Generator(Node):
    """A source of `duration_s` seconds; a subclass makes the frames. It runs as fast as its readers let it."""

    stateless = True
    inputs: ClassVar[Mapping[str, str]] = {}
    outputs: ClassVar[Mapping[str, str]] = {"out": "audio"}

    def __init__(self, duration_s: float, rate: int, level_db: float, chunk_ms: float, channels: int) -> None:
        if finite("duration_s", duration_s) < 0:
            raise Validation(f"duration_s must be at least 0, not {duration_s:g}")
        at_least("rate", rate, 1)
        at_least("channels", channels, 1)
        self._rate = rate
        self._channels = channels
        self._total = round(duration_s * rate)
        self._chunk = max(1, round(above_zero("chunk_ms", chunk_ms) * rate / 1000))
        self._amplitude = 10 ** (finite("level_db", level_db) / 20)

    def produce(self) -> Iterator[RuntimeData]:
        for start in range(0, self._total, self._chunk):
            frames = self._frames(start, min(self._chunk, self._total - start))
            yield RuntimeData.audio(
                (frames * self._amplitude).astype(np.float32),
                sample_rate=self._rate,
                timestamp_ns=frames_to_ns(start, self._rate),
            )

    def _frames(self, start: int, count: int) -> Frames:
        """Frames `start` to `start + count` of shape (count, channels); asked for in order."""
        raise NotImplementedError


class Tone(_Generator):
    """A sine whose peak is at `level_db` dBFS, the same on all channels."""

    def __init__(
        self,
        *,
        frequency_hz: float,
        duration_s: float,
        rate: int = 16000,
        level_db: float = -12.0,
        chunk_ms: float = 20.0,
        channels: int = 1,
    ) -> None:
        super().__init__(duration_s, rate, level_db, chunk_ms, channels)
        self._frequency_hz = above_zero("frequency_hz", frequency_hz)
        if 2 * frequency_hz > rate:
            raise Validation(f"frequency_hz must be at most half of rate ({rate / 2:g}), not {frequency_hz:g}")

    def _frames(self, start: int, count: int) -> Frames:
        turns = np.arange(start, start + count) * self._frequency_hz / self._rate
        wave = np.sin(2 * math.pi * (turns % 1.0))
        return np.repeat(wave[:, None], self._channels, axis=1)


class Noise(_Generator):
    """Gaussian noise whose RMS is at `level_db` dBFS, independent on each channel, the same for the same `seed`.

    `pink` falls by 3 dB an octave (Voss and McCartney: 16 rows, each held twice as long as the one before).
    """

    def __init__(
        self,
        *,
        duration_s: float,
        color: Literal["white", "pink"] = "white",
        seed: int = 0,
        rate: int = 16000,
        level_db: float = -20.0,
        chunk_ms: float = 20.0,
        channels: int = 1,
    ) -> None:
        super().__init__(duration_s, rate, level_db, chunk_ms, channels)
        if color not in {"white", "pink"}:
            raise Validation(f"color must be white or pink, not {color}")
        at_least("seed", seed, 0)
        self._seed = seed
        self._row_count = 1 if color == "white" else _PINK_ROWS

    def produce(self) -> Iterator[RuntimeData]:
        self._rows = [_Row(self._seed, row, self._channels) for row in range(self._row_count)]
        yield from super().produce()

    def _frames(self, start: int, count: int) -> Frames:
        total: Any = sum(row.frames(start, count) for row in self._rows)
        return np.asarray(total) / math.sqrt(self._row_count)


class _Row:
    """White noise that keeps each value for 2**row frames."""

    def __init__(self, seed: int, row: int, channels: int) -> None:
        self._random = np.random.default_rng((seed, row))
        self._shift = row
        self._drawn = 0
        self._last = np.zeros((0, channels))  # the value in use

    def frames(self, start: int, count: int) -> Frames:
        index = np.arange(start, start + count) >> self._shift
        first = self._drawn - len(self._last)
        fresh = self._random.standard_normal((max(0, int(index[-1]) + 1 - self._drawn), self._last.shape[1]))
        values = np.concatenate([self._last, fresh])
        self._drawn += len(fresh)
        self._last = values[-1:]
        held: Frames = values[index - first]
        return held
