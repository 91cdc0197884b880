"""`replay`: the data of a recording again, bit by bit."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

from penstock.engine.nodes.files import stat_to_read
from penstock.engine.recording import RecordingReader
from penstock.executors.contract import Node, RuntimeData, Validation

__all__ = ["Replay"]


class Replay(Node):
    """Gives the data of a recording as they were: payload, type, shape, session, time stamp and `meta`.

    Args:
        path: a file of `recorder`, or of `penstock run --record`.
        speed: `original` keeps the times between them, `max` gives them as fast as they are taken.
    """

    inputs: ClassVar[Mapping[str, str]] = {}
    outputs: ClassVar[Mapping[str, str]] = {"out": "any"}

    def __init__(self, *, path: Path, speed: Literal["original", "max"] = "original") -> None:
        if speed not in {"original", "max"}:
            raise Validation(f"speed must be original or max, not {speed}")
        self._path = Path(path)
        self._speed = speed

    def check(self) -> None:
        stat_to_read(self._path)
        if self._path.is_file():
            with RecordingReader(self._path):
                pass

    def produce(self) -> Iterator[RuntimeData] | AsyncIterator[RuntimeData]:
        return self._at_their_times() if self._speed == "original" else self._all()

    def _all(self) -> Iterator[RuntimeData]:
        for _, data in self._records():
            yield data

    async def _at_their_times(self) -> AsyncIterator[RuntimeData]:
        import trio  # in a worker this is the first that needs it

        start: float | None = None
        for since_ns, data in self._records():
            due = since_ns / 1e9
            start = trio.current_time() - due if start is None else start
            await trio.sleep_until(start + due)
            yield data

    def _records(self) -> Iterator[tuple[int, RuntimeData]]:
        with RecordingReader(self._path) as recording:
            yield from recording
            if recording.is_cut_off:
                logging.getLogger("penstock.node.replay").warning(
                    "%s: its last record is cut off, and left out", self._path
                )
