"""`recorder`: the data of an edge into a file, bit by bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from penstock.engine.nodes.files import check_to_write, make_folder
from penstock.engine.recording import RecordingWriter
from penstock.executors.contract import Node, NodeContext, RuntimeData, Validation

__all__ = ["Recorder"]


class Recorder(Node):
    """Writes each datum, of any type, to a file that `replay` gives again. It is in the file before the next one comes.

    Args:
        path: the file, whose folder is made; an old one is overwritten.
        edge: what is recorded, for whoever reads the file.
    """

    inputs: ClassVar[Mapping[str, str]] = {"in": "any"}
    outputs: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *, path: Path, edge: str = "") -> None:
        self._path = Path(path)
        self._edge = edge
        self._writer: RecordingWriter | None = None

    def check(self) -> None:
        check_to_write(self._path)

    def initialize(self, ctx: NodeContext) -> None:  # noqa: ARG002
        make_folder(self._path)
        try:
            self._writer = RecordingWriter(self._path, self._edge)
        except OSError as error:
            raise Validation(f"{self._path} can not be written: {error.strerror or error}") from None

    def process(self, data: RuntimeData) -> None:
        assert self._writer is not None, "initialize() comes first"
        try:
            self._writer.write(data)
        except OSError as error:
            raise Validation(f"{self._path} can not be written: {error.strerror or error}") from None

    def cleanup(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
