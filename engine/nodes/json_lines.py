"""`json_lines`: data as lines of JSON, on the screen or in a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TextIO

from penstock.engine.nodes.files import check_to_write, make_folder
from penstock.executors.contract import DataType, Node, NodeContext, RuntimeData, Validation

__all__ = ["JsonLines"]


class JsonLines(Node):
    """Writes each datum as one line of JSON, at once; text as a JSON string.

    Args:
        path: the file, whose folder is made; `-` is standard output.
        mode: `write` begins a new file, `append` goes on at the end of an old one.
    """

    inputs: ClassVar[Mapping[str, str]] = {"in": "json|text"}
    outputs: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *, path: Path = Path("-"), mode: Literal["write", "append"] = "write") -> None:
        if mode not in {"write", "append"}:
            raise Validation(f"mode must be write or append, not {mode}")
        self._path = Path(path)
        self._mode = mode
        self._file: TextIO | None = None

    @property
    def _on_screen(self) -> bool:
        return self._path.name == "-"  # also when it was made relative to the manifest's folder

    def check(self) -> None:
        if not self._on_screen:
            check_to_write(self._path)

    def initialize(self, ctx: NodeContext) -> None:  # noqa: ARG002
        if self._on_screen:
            return
        make_folder(self._path)
        try:
            self._file = self._path.open("a" if self._mode == "append" else "w", encoding="utf-8")
        except OSError as error:
            raise Validation(f"{self._path} can not be written: {error.strerror or error}") from None

    def process(self, data: RuntimeData) -> None:
        stream = sys.stdout if self._on_screen else self._file
        assert stream is not None, "initialize() comes first"
        stream.write(_line(_value(data), stream.encoding or "utf-8"))
        stream.flush()

    def cleanup(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _value(data: RuntimeData) -> Any:
    if data.data_type is DataType.JSON:
        return data.as_json()
    if data.data_type is DataType.TEXT:
        return data.as_text()
    kind = str(data.data_type).lower()
    remedy = "wav_sink writes audio" if data.data_type is DataType.AUDIO else "put a node before it that makes JSON"
    raise Validation(f"json_lines writes json and text, not {kind}: {remedy}; `log` shows what passes")


def _line(value: Any, encoding: str) -> str:
    """The value in one line that the stream can encode."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:  # a terminal without UTF-8, or half a surrogate pair
        text = json.dumps(value)
    return text + "\n"
