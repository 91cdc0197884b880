"""Time stamps for a node whose output does not line up with its input."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from penstock.executors.contract import AudioBuffer, Validation

__all__ = ["FormatLock", "StreamClock", "frames_to_ns"]

_NS = 1_000_000_000
_SLACK_NS = 1_000_000


def frames_to_ns(frames: int, sample_rate: int) -> int:
    """How long `frames` frames last, in ns, rounded down."""
    return frames * _NS // sample_rate


class StreamClock:
    """Maps time since the first sample to time stamps.

    It holds to the first time stamp, so that rounding never adds up, until the input's own stamps leave it by more
    than 1 ms: then data was lost or paused before, and what follows keeps to the new stamp.
    """

    def __init__(self, offsets: Iterable[Sequence[int]] = ()) -> None:
        """Begin, or go on with the `offsets` of another clock."""
        self._offsets = deque((elapsed_ns, offset) for elapsed_ns, offset in offsets)

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """(valid from this elapsed time, stamp minus elapsed), in ns."""
        return list(self._offsets)

    def observe(self, elapsed_ns: int, timestamp_ns: int) -> None:
        """The sample `elapsed_ns` into the stream carries this stamp."""
        offset = timestamp_ns - elapsed_ns
        if not self._offsets or abs(offset - self._offsets[-1][1]) > _SLACK_NS:
            self._offsets.append((elapsed_ns, offset))

    def at(self, elapsed_ns: int) -> int:
        """The stamp of the sample `elapsed_ns` into the stream; ask in order."""
        while len(self._offsets) > 1 and self._offsets[1][0] <= elapsed_ns:
            self._offsets.popleft()
        return elapsed_ns + (self._offsets[0][1] if self._offsets else 0)


class FormatLock:
    """Holds a node to the sample rate and the channels of the first audio that it gets."""

    def __init__(self) -> None:
        self.sample_rate: int = 0
        self.channels: int = 0

    def check(self, audio: AudioBuffer) -> None:
        """Remember the format, or see that it is still the same.

        Raises:
            Validation: it changed.
        """
        if not self.channels:
            self.sample_rate, self.channels = audio.sample_rate, audio.channels
        elif (audio.sample_rate, audio.channels) != (self.sample_rate, self.channels):
            raise Validation(
                f"the audio changed from {self.sample_rate} Hz x{self.channels} to {audio.sample_rate} Hz "
                f"x{audio.channels} in mid-stream; put `resample` and `mono` before this node"
            )
