"""Two nodes of one's own: what a frame of sound is like, and where somebody speaks.

Nothing here knows about threads, processes or shared memory. `pipeline.yaml` says where each node runs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.executors import AudioBuffer, Node, RuntimeData, Validation

Samples = npt.NDArray[np.float64]

SILENCE_DB = -120.0
PITCH_HZ = (60.0, 400.0)
PITCH_WINDOW_S = 0.025

WARM_UP_S = 1.0
LEAD_S = 0.3
VOICED = 0.6  # noise seldom gets there
FLOOR_WINDOW_S = 10.0
STEADY_S = 0.5
STEADY_DB = 8.0
LOWEST_DB = -75.0  # softer than that is silence: a recording may have gaps without any noise


class Features(Node):
    """Describes each frame of `frame_ms`: level, spectral flatness, zero crossings, pitch and voicing.

    It cuts its own frames, so that the size of the data that come in changes nothing. The numbers are rounded:
    they are the same on every executor.
    """

    inputs: ClassVar[Mapping[str, str]] = {"in": "audio"}
    outputs: ClassVar[Mapping[str, str]] = {"out": "json"}

    def __init__(self, *, frame_ms: float = 20.0) -> None:
        if not 5 <= frame_ms <= 100:
            raise Validation(f"frame_ms must be between 5 and 100, not {frame_ms:g}")
        self._frame_s = frame_ms / 1000
        self._rate = 0
        self._session_id = ""
        self._buffer: Samples = np.zeros(0)

    def process(self, data: RuntimeData) -> list[RuntimeData]:
        audio = data.as_audio()
        if not self._rate:
            self._start(audio, data)
        if audio.sample_rate != self._rate:
            raise Validation(f"the sample rate changed from {self._rate} to {audio.sample_rate} Hz in mid-stream")
        self._buffer = np.concatenate([self._buffer, _mono(audio)])
        return list(self._frames())

    def flush(self) -> list[RuntimeData]:
        """The last, short frame, when it is long enough to tell anything."""
        if not self._rate:
            return []
        rest = len(self._buffer) - self._history
        return [self._frame(self._buffer, rest)] if rest > self._hop // 2 else []

    def _start(self, audio: AudioBuffer, data: RuntimeData) -> None:
        rate = audio.sample_rate
        if rate < 8000:
            raise Validation(f"Features needs at least 8000 Hz, not {rate}: put `resample` before it")
        self._rate = rate
        self._origin_ns = data.timestamp_ns
        self._session_id = data.session_id
        self._hop = round(rate * self._frame_s)
        self._shortest_lag, self._longest_lag = int(rate / PITCH_HZ[1]), int(rate / PITCH_HZ[0]) + 1
        # A frame is too short to show two periods of a low voice: what came before it is kept.
        self._history = max(0, round(rate * PITCH_WINDOW_S) - self._hop) + self._longest_lag
        self._buffer = np.zeros(self._history)
        self._position = 0  # of the next frame, in samples since the start

    def _frames(self) -> Iterator[RuntimeData]:
        step = self._history + self._hop
        start = 0
        while start + step <= len(self._buffer):
            yield self._frame(self._buffer[start : start + step], self._hop)
            start += self._hop
        self._buffer = self._buffer[start:].copy()

    def _frame(self, window: Samples, length: int) -> RuntimeData:
        """The frame is the last `length` samples of the window."""
        frame = window[len(window) - length :]
        frame = frame - frame.mean()  # a constant offset is not sound
        pitch_hz, voicing = _pitch(window, self._rate, self._shortest_lag, self._longest_lag)
        begin = self._position
        self._position += length
        features = {
            "t": round(begin / self._rate, 6),
            "duration": round(length / self._rate, 6),
            "level_db": round(_level_db(frame), 2),
            "flatness": round(_flatness(frame, self._rate), 3),
            "zero_crossings": round(float(np.mean(np.signbit(frame[1:]) != np.signbit(frame[:-1]))), 3),
            "pitch_hz": round(pitch_hz, 1) if voicing >= 0.5 else None,
            "voicing": round(voicing, 3),
        }
        return RuntimeData.json(
            features,
            session_id=self._session_id,
            timestamp_ns=self._origin_ns + begin * 1_000_000_000 // self._rate,
        )


def _mono(audio: AudioBuffer) -> Samples:
    """The mean of the channels at full scale 1; what is not a number is silence."""
    samples = audio.samples.astype(np.float64)
    if audio.samples.dtype.kind != "f":
        full = float(2 ** (8 * audio.samples.dtype.itemsize - 1))
        samples = samples / full - (1.0 if audio.samples.dtype == np.uint8 else 0.0)
    samples = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    mono: Samples = samples.reshape(-1, audio.channels).mean(axis=1)
    return mono


def _level_db(frame: Samples) -> float:
    power = float(np.mean(frame * frame))
    return max(SILENCE_DB, 10 * math.log10(power)) if power > 0 else SILENCE_DB


def _flatness(frame: Samples, rate: int) -> float:
    """Geometric over arithmetic mean of the power from 100 to 4000 Hz: near 0 for a tone, above 0.4 for noise."""
    power = np.abs(np.fft.rfft(frame * np.hanning(len(frame)))) ** 2
    hz = np.fft.rfftfreq(len(frame), 1 / rate)
    band = power[(hz >= 100) & (hz <= 4000)] + 1e-12
    return float(np.exp(np.mean(np.log(band))) / np.mean(band))


def _pitch(window: Samples, rate: int, shortest: int, longest: int) -> tuple[float, float]:
    """Pitch in Hz and voicing from 0 to 1: how alike the end of the window is to what precedes it."""
    window = window - window.mean()
    similarity = _similarity(window, longest)[shortest:]
    best = float(similarity.max())
    if best <= 0:
        return 0.0, 0.0
    lag = _first_peak(similarity, 0.9 * best)
    return rate / (shortest + lag + _vertex(similarity, lag)), min(1.0, float(similarity[lag]))


def _similarity(window: Samples, longest: int) -> Samples:
    """For each lag from 0 to `longest` how alike the end of the window is to what came that much earlier, -1 to 1."""
    recent = window[longest:]
    size = 1 << (len(window) - 1).bit_length()
    product = np.fft.irfft(np.fft.rfft(window, size) * np.conj(np.fft.rfft(recent, size)), size)[: longest + 1]
    total = np.concatenate([[0.0], np.cumsum(window * window)])
    energy = total[len(recent) : len(recent) + longest + 1] - total[: longest + 1]
    quiet = (len(recent) * 1e-9) ** 2  # below -90 dBFS there is nothing to compare
    similarity: Samples = product / np.sqrt(np.maximum(energy, 0) * energy[-1] + quiet)
    return similarity[::-1]


def _first_peak(similarity: Samples, least: float) -> int:
    """The shortest lag that is a peak nearly as high as the highest: twice the period is as alike as the period."""
    inner = similarity[1:-1]
    peaks = np.flatnonzero((inner >= similarity[:-2]) & (inner >= similarity[2:]) & (inner >= least))
    return int(peaks[0]) + 1 if len(peaks) else int(similarity.argmax())


def _vertex(similarity: Samples, lag: int) -> float:
    """Where between the lags the peak is: of the parabola through three of them."""
    if not 0 < lag < len(similarity) - 1:
        return 0.0
    left, middle, right = (float(similarity[lag + step]) for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    return 0.5 * (left - right) / bend if bend < 0 else 0.0


class Frame(NamedTuple):
    """What `Phrases` needs of the features of a frame; the pitch is None where it is not voiced."""

    start_s: float
    end_s: float
    level_db: float
    pitch_hz: float | None


def _as_frame(features: Mapping[str, Any]) -> Frame:
    voiced = features["voicing"] >= VOICED
    end_s = features["t"] + features["duration"]
    return Frame(features["t"], end_s, features["level_db"], features["pitch_hz"] if voiced else None)


class Phrases(Node):
    """Turns features into phrases: {"start": s, "end": s, "level_db": mean, "pitch_hz": median or null}.

    A phrase begins where the level is `on_db` above the noise, ends where it has been less than `off_db` above it
    for `min_pause_s`, and counts when it is at least `min_phrase_s` long with `min_voiced_s` of voiced sound in it
    (0 lets whispers pass, and bangs). The first second is heard before it is judged, to know the noise.

    A steady hum or tone from the beginning is background; one that begins later becomes background after 10 s.
    """

    inputs: ClassVar[Mapping[str, str]] = {"in": "json"}
    outputs: ClassVar[Mapping[str, str]] = {"out": "json"}

    def __init__(
        self,
        *,
        on_db: float = 9.0,
        off_db: float = 6.0,
        min_phrase_s: float = 0.15,
        min_pause_s: float = 0.4,
        min_voiced_s: float = 0.1,
    ) -> None:
        if not 0 < off_db <= on_db:
            raise Validation(f"off_db must be above 0 and at most on_db ({on_db:g}), not {off_db:g}")
        for name, value in {
            "min_phrase_s": min_phrase_s,
            "min_pause_s": min_pause_s,
            "min_voiced_s": min_voiced_s,
        }.items():
            if not 0 <= value <= 60:
                raise Validation(f"{name} must be between 0 and 60 seconds, not {value:g}")
        self._on_db, self._off_db = on_db, off_db
        self._min_phrase_s, self._min_pause_s, self._min_voiced_s = min_phrase_s, min_pause_s, min_voiced_s
        self._noise = NoiseFloor()
        self._warming: list[Frame] | None = []
        self._recent: deque[Frame] = deque()  # the last frames before a phrase: its soft beginning
        self._phrase: list[Frame] = []
        self._session_id = ""
        self._origin_ns: int | None = None

    def process(self, data: RuntimeData) -> list[RuntimeData]:
        frame = _as_frame(data.as_json())
        if self._origin_ns is None:
            self._origin_ns = data.timestamp_ns - _ns(frame.start_s)
            self._session_id = data.session_id
        self._noise.hear(frame)
        if self._warming is None:
            return self._judge(frame)
        self._warming.append(frame)
        return self._warmed() if frame.end_s - self._warming[0].start_s >= WARM_UP_S else []

    def flush(self) -> list[RuntimeData]:
        return [*self._warmed(), *self._close()]

    def _warmed(self) -> list[RuntimeData]:
        """Judge what was only heard so far."""
        frames, self._warming = self._warming or [], None
        return [phrase for frame in frames for phrase in self._judge(frame)]

    def _judge(self, frame: Frame) -> list[RuntimeData]:
        if not self._phrase:
            self._listen(frame)
            return []
        self._phrase.append(frame)
        loud_until_s = next((f.end_s for f in reversed(self._phrase) if self._is_loud(f)), self._phrase[0].start_s)
        return self._close() if frame.end_s - loud_until_s >= self._min_pause_s - 1e-6 else []

    def _listen(self, frame: Frame) -> None:
        """Wait for a phrase; it takes the frames along that led up to it."""
        self._recent.append(frame)
        while frame.start_s - self._recent[0].start_s > LEAD_S:
            self._recent.popleft()
        if frame.level_db >= self._noise.level_db + self._on_db:
            self._phrase = [f for f in self._recent if self._is_loud(f)]
            self._recent.clear()

    def _close(self) -> list[RuntimeData]:
        """End the phrase, at the noise level as it is known by now."""
        loud = [f for f in self._phrase if self._is_loud(f)]
        frames = [f for f in self._phrase if loud and loud[0].start_s <= f.start_s <= loud[-1].start_s]
        self._phrase = []
        return [self._describe(frames)] if frames and self._counts(frames) else []

    def _is_loud(self, frame: Frame) -> bool:
        return frame.level_db >= self._noise.level_db + self._off_db

    def _counts(self, frames: list[Frame]) -> bool:
        voiced_s = sum(f.end_s - f.start_s for f in frames if f.pitch_hz is not None)
        long_enough = frames[-1].end_s - frames[0].start_s >= self._min_phrase_s - 1e-6
        return long_enough and voiced_s >= self._min_voiced_s - 1e-6

    def _describe(self, frames: list[Frame]) -> RuntimeData:
        power = sum(10 ** (f.level_db / 10) for f in frames) / len(frames)
        pitches = [f.pitch_hz for f in frames if f.pitch_hz is not None]
        start_s = frames[0].start_s
        phrase = {
            "start": round(start_s, 3),
            "end": round(frames[-1].end_s, 3),
            "level_db": round(10 * math.log10(power), 1),
            "pitch_hz": round(median(pitches), 1) if pitches else None,
        }
        timestamp_ns = (self._origin_ns or 0) + _ns(start_s)
        return RuntimeData.json(phrase, session_id=self._session_id, timestamp_ns=timestamp_ns)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


class NoiseFloor:
    """The level of the background: the least of the last ten seconds, for every speaker pauses now and then.

    Half a second of sound that is neither voiced nor changes is noise at once, however loud: an engine that starts.
    """

    def __init__(self) -> None:
        self.level_db = 0.0
        self._last: deque[Frame] = deque()  # of the last STEADY_S
        self._least: deque[tuple[float, float]] = deque()  # (time, level), both rising: the first is the minimum

    def hear(self, frame: Frame) -> None:
        self._last.append(frame)
        while frame.end_s - self._last[0].start_s > STEADY_S + 1e-6:
            self._last.popleft()
        if self._is_steady():
            self._least.clear()
        self._add(frame.start_s, self._smooth())
        self.level_db = self._least[0][1]

    def _add(self, start_s: float, level_db: float) -> None:
        while self._least and self._least[-1][1] >= level_db:
            self._least.pop()
        self._least.append((start_s, level_db))
        while start_s - self._least[0][0] > FLOOR_WINDOW_S:
            self._least.popleft()

    def _smooth(self) -> float:
        """Over a tenth of a second: single frames of noise vary."""
        levels = self._levels()[-5:]
        return sum(levels) / len(levels)

    def _is_steady(self) -> bool:
        if self._last[-1].end_s - self._last[0].start_s < 0.9 * STEADY_S:
            return False
        levels = self._levels()
        voiced = sum(frame.pitch_hz is not None for frame in self._last)
        return max(levels) - min(levels) < STEADY_DB and voiced <= 0.1 * len(levels)

    def _levels(self) -> list[float]:
        return [max(LOWEST_DB, frame.level_db) for frame in self._last]
