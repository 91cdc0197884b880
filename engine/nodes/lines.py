"""`json_source` and `text_source`: the lines of a file as data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from penstock.engine.nodes.files import open_to_read, stat_to_read
from penstock.executors.contract import Node, RuntimeData, Validation

__all__ = ["JsonSource", "TextSource"]


class _Lines(Node):
    stateless = True
    inputs: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *, path: Path) -> None:
        self._path = Path(path)

    def check(self) -> None:
        stat_to_read(self._path)

    def _lines(self) -> Iterator[tuple[int, str]]:
        """The lines without their ends, counted from 1."""
        with open_to_read(self._path) as stream:
            for number, line in enumerate(stream, 1):
                try:
                    text = str(line, "utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError:
                    raise Validation(f"{self._path} line {number} is not UTF-8: convert the file") from None
                yield number, text.removesuffix("\n").removesuffix("\r")


class TextSource(_Lines):
    """Each line of a UTF-8 file as text, empty ones too, without its end."""

    outputs: ClassVar[Mapping[str, str]] = {"out": "text"}

    def produce(self) -> Iterator[RuntimeData]:
        for _, line in self._lines():
            yield RuntimeData.text(line)


class JsonSource(_Lines):
    """Each line of a JSON-lines file as JSON; blank lines are skipped."""

    outputs: ClassVar[Mapping[str, str]] = {"out": "json"}

    def produce(self) -> Iterator[RuntimeData]:
        for number, line in self._lines():
            if line.strip():
                yield RuntimeData.json(self._parse(number, line))

    def _parse(self, number: int, line: str) -> Any:
        try:
            return json.loads(line)
        except ValueError as error:
            raise Validation(f"{self._path} line {number} is not JSON: {error}") from None
