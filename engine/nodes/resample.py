"""`resample`: another sample rate, by soxr."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from penstock.engine.nodes.clock import FormatLock, StreamClock, frames_to_ns
from penstock.engine.nodes.params import at_least
from penstock.engine.nodes.samples import Float32, as_float32, float_audio
from penstock.executors.contract import AudioBuffer, Node, NodeContext, RuntimeData, Validation

__all__ = ["Resample"]


class Resample(Node):
    """Resamples to `rate` Hz as float32, without delay in the time stamps; audio of that rate passes through.

    soxr holds back some tens of milliseconds, which come with the data that follow and at the end.
    """

    inputs: ClassVar[Mapping[str, str]] = {"in": "audio"}
    outputs: ClassVar[Mapping[str, str]] = {"out": "audio"}

    def __init__(self, *, rate: int) -> None:
        at_least("rate", rate, 1)
        self._rate = rate
        self._lock = FormatLock()
        self._clock = StreamClock()
        self._stream: Any = None
        self._session_id = ""
        self._taken = 0
        self._given = 0

    def check(self) -> None:
        if find_spec("soxr") is None:
            raise Validation("resample needs soxr: pip install 'penstock[audio]'")

    def initialize(self, ctx: NodeContext) -> None:  # noqa: ARG002
        self.check()

    def process(self, data: RuntimeData) -> RuntimeData | None:
        audio = data.as_audio()
        self._lock.check(audio)
        samples = as_float32(audio)
        if audio.sample_rate == self._rate:
            return data if samples is audio.samples else float_audio(data, samples, audio.channels)
        if self._stream is None:
            self._stream = self._open(audio)
        self._session_id = data.session_id
        self._clock.observe(frames_to_ns(self._taken, audio.sample_rate), data.timestamp_ns)
        self._taken += samples.size // audio.channels
        return self._resampled(_finite(samples), last=False)

    def flush(self) -> RuntimeData | None:
        return None if self._stream is None else self._resampled(np.zeros(0, np.float32), last=True)

    def interrupt(self) -> None:
        """What the filter holds back is stale."""
        self._stream, self._clock = None, StreamClock()
        self._taken = self._given = 0

    def _open(self, audio: AudioBuffer) -> Any:
        import soxr

        try:
            return soxr.ResampleStream(audio.sample_rate, self._rate, audio.channels, dtype="float32")
        except (ValueError, RuntimeError) as error:
            raise Validation(f"soxr can not resample {audio.sample_rate} Hz to {self._rate} Hz: {error}") from None

    def _resampled(self, samples: Float32, *, last: bool) -> RuntimeData | None:
        channels = self._lock.channels
        shaped = samples if channels == 1 else samples.reshape(-1, channels)
        output = self._stream.resample_chunk(shaped, last=last)
        if not output.size:
            return None
        timestamp_ns = self._clock.at(frames_to_ns(self._given, self._rate))
        self._given += len(output)
        return RuntimeData.audio(
            output.reshape(-1),
            sample_rate=self._rate,
            channels=channels,
            session_id=self._session_id,
            timestamp_ns=timestamp_ns,
        )


def _finite(samples: Float32) -> Float32:
    """One NaN in a filter would spoil all that follows; infinity likewise."""
    if np.isfinite(samples).all():
        return samples
    return np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
