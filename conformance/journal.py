"""The journal: one JSON line for each event, on disk before the next thing happens.

What a child was doing when it died is the last line; a journal without a footer is of a child that did not end well.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Self

from penstock.conformance.results import Result

__all__ = ["Journal", "Record", "read"]


class Journal:
    """Writes events."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def write(self, event: str, **fields: Any) -> None:
        os.write(self._fd, json.dumps({"event": event, **fields}, default=str).encode() + b"\n")
        os.fsync(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)


class Record:
    """What a journal says.

    Attributes:
        running: the item that had begun and not ended: (name, requirement, check, kind, turn).
        smoke: what the smoke gate found wrong; None when it did not get that far, empty when all is well.
        adapter: name, version and claims, once the adapter was made.
        stacks: of all threads, where the child's own watchdog ended it.
    """

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.done: set[str] = set()
        self.running: dict[str, Any] | None = None
        self.smoke: str | None = None
        self.adapter: dict[str, Any] | None = None
        self.stage = "starting the child process"
        self.stacks = ""
        self.complete = False

    def take(self, event: dict[str, Any]) -> None:
        kind = event.pop("event")
        if kind == "stage":
            self.stage = event["stage"]
        elif kind == "adapter":
            self.adapter = event
        elif kind == "smoke":
            self.smoke = event["problem"]
        elif kind == "begin":
            self.running = event
        elif kind == "end":
            self.running = None
            self.done.add(event["item"])
            self.results.append(Result.from_json(event["result"]))
        elif kind == "watchdog":
            self.stacks = event["stacks"]
        elif kind == "footer":
            self.complete = True


def read(path: Path) -> Record:
    """Read a journal; a last line that was not written whole is left out."""
    record = Record()
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    except OSError:
        return record
    for line in lines:
        record.take(json.loads(line))
    return record
