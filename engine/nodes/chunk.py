"""`chunk`: audio in pieces of equal length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from penstock.engine.nodes.clock import FormatLock, StreamClock, frames_to_ns
from penstock.engine.nodes.params import above_zero, at_least
from penstock.executors.contract import AudioBuffer, Node, RuntimeData, Validation

__all__ = ["Chunk"]

_DEFAULT_MS = 20.0


class Chunk(Node):
    """Cuts the stream anew into pieces of exactly `ms` or `samples`; the last may be shorter. Samples stay as they are.

    Args:
        ms: length in milliseconds, rounded to whole frames (220 at 11025 Hz and 20 ms); 20 unless `samples` is given.
        samples: length in frames (samples of one channel).
    """

    inputs: ClassVar[Mapping[str, str]] = {"in": "audio"}
    outputs: ClassVar[Mapping[str, str]] = {"out": "audio"}

    def __init__(self, *, ms: float | None = None, samples: int | None = None) -> None:
        if ms is not None and samples is not None:
            raise Validation("chunk takes ms or samples, not both: remove one")
        if samples is not None:
            at_least("samples", samples, 1)
        self._samples = samples
        self._ms = above_zero("ms", _DEFAULT_MS if ms is None else ms)
        self._lock = FormatLock()
        self._clock = StreamClock()
        self._parts: list[npt.NDArray[Any]] = []  # what waits for the rest of its piece
        self._waiting = 0  # samples in them, over all channels
        self._given = 0  # frames
        self._session_id = ""

    def process(self, data: RuntimeData) -> list[RuntimeData]:
        audio = data.as_audio()
        self._lock.check(audio)
        self._check_dtype(audio)
        self._session_id = data.session_id
        taken = self._given + self._waiting // audio.channels
        self._clock.observe(frames_to_ns(taken, audio.sample_rate), data.timestamp_ns)
        return list(self._cut(audio.samples, self._length(audio.sample_rate) * audio.channels))

    def flush(self) -> RuntimeData | None:
        if not self._waiting:
            return None
        rest = self._join(self._parts)
        self._parts, self._waiting = [], 0
        return self._piece(rest)

    def snapshot(self) -> dict[str, Any]:
        """What it holds back, and where it is."""
        return {
            "parts": list(self._parts),
            "given": self._given,
            "session_id": self._session_id,
            "format": [self._lock.sample_rate, self._lock.channels],
            "clock": self._clock.offsets,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._parts, self._given, self._session_id = state["parts"], state["given"], state["session_id"]
        self._waiting = sum(part.size for part in self._parts)
        self._lock.sample_rate, self._lock.channels = state["format"]
        self._clock = StreamClock(state["clock"])

    def _length(self, sample_rate: int) -> int:
        return self._samples or max(1, round(self._ms * sample_rate / 1000))

    def _check_dtype(self, audio: AudioBuffer) -> None:
        if self._parts and self._parts[0].dtype != audio.samples.dtype:
            was = self._parts[0].dtype
            raise Validation(f"the audio changed from {was} to {audio.samples.dtype} samples in mid-stream")

    def _cut(self, new: npt.NDArray[Any], length: int) -> Iterator[RuntimeData]:
        if self._waiting + new.size < length:
            self._keep(new)
            return
        joined = self._join([*self._parts, new])
        whole = joined.size - joined.size % length
        for start in range(0, whole, length):
            yield self._piece(joined[start : start + length])
        self._parts, self._waiting = [], 0
        self._keep(joined[whole:])

    def _keep(self, samples: npt.NDArray[Any]) -> None:
        """A copy: a view would hold on to the shared memory of the whole datum."""
        if samples.size:
            self._parts.append(samples.copy())
            self._waiting += samples.size

    @staticmethod
    def _join(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Read-only, so that the pieces cut out of it need no copy."""
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
        joined.flags.writeable = False
        return joined

    def _piece(self, samples: npt.NDArray[Any]) -> RuntimeData:
        rate, channels = self._lock.sample_rate, self._lock.channels
        timestamp_ns = self._clock.at(frames_to_ns(self._given, rate))
        self._given += samples.size // channels
        return RuntimeData.audio(
            samples, sample_rate=rate, channels=channels, session_id=self._session_id, timestamp_ns=timestamp_ns
        )
