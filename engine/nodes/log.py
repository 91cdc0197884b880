"""`log`: tells what passes."""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np

from penstock.engine.nodes.params import at_least
from penstock.engine.nodes.samples import as_float32
from penstock.executors.contract import DataType, Node, NodeContext, RuntimeData

__all__ = ["Log"]


class Log(Node):
    """Passes everything on unchanged and logs one line about it, under `penstock.node.<node id>`.

    Args:
        level: of the log records.
        every: log the first datum and then every so many.
        max_chars: text and JSON are shown up to this length.
    """

    stateless = True

    def __init__(
        self, *, level: Literal["debug", "info", "warning"] = "info", every: int = 1, max_chars: int = 200
    ) -> None:
        at_least("every", every, 1)
        at_least("max_chars", max_chars, 1)
        self._level = logging.getLevelNamesMapping()[level.upper()]
        self._every = every
        self._max_chars = max_chars
        self._count = 0
        self._log = logging.getLogger("penstock.node")

    def initialize(self, ctx: NodeContext) -> None:
        self._log = logging.getLogger(f"penstock.node.{ctx.node_id}")

    def process(self, data: RuntimeData) -> RuntimeData:
        if self._count % self._every == 0 and self._log.isEnabledFor(self._level):
            self._log.log(self._level, "#%d %.3f s %s", self._count, data.timestamp_ns / 1e9, self._summary(data))
        self._count += 1
        return data

    def _summary(self, data: RuntimeData) -> str:
        if data.data_type is DataType.AUDIO:
            return _audio_summary(data)
        if data.data_type is DataType.TENSOR:
            return f"tensor {data.dtype}{list(data.shape)}"
        text = str(data.payload, "utf-8", "replace")
        more = "..." if len(text) > self._max_chars else ""
        return f"{str(data.data_type).lower()} {text[: self._max_chars]}{more}"


def _audio_summary(data: RuntimeData) -> str:
    audio = data.as_audio()
    peak = float(np.abs(as_float32(audio)).max(initial=0.0))
    level = f"{20 * np.log10(peak):.1f} dBFS" if peak > 0 else "silent"
    return f"audio {audio.frames.shape[0]} frames {audio.sample_rate} Hz x{audio.channels} {audio.format} peak {level}"
