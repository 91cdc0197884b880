"""`gain`: louder or softer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from penstock.engine.nodes.params import finite
from penstock.engine.nodes.samples import as_float32, float_audio
from penstock.executors.contract import Node, RuntimeData, Validation

__all__ = ["Gain"]

_MOST_DB = 200.0


class Gain(Node):
    """Multiplies by `gain_db` decibels, as float32; nothing is clipped (`wav_sink` clips where it must)."""

    stateless = True
    inputs: ClassVar[Mapping[str, str]] = {"in": "audio"}
    outputs: ClassVar[Mapping[str, str]] = {"out": "audio"}

    def __init__(self, *, gain_db: float) -> None:
        if abs(finite("gain_db", gain_db)) > _MOST_DB:
            raise Validation(f"gain_db must be between -{_MOST_DB:g} and {_MOST_DB:g}, not {gain_db:g}")
        self._factor = np.float32(10 ** (gain_db / 20))

    def process(self, data: RuntimeData) -> RuntimeData:
        audio = data.as_audio()
        return float_audio(data, as_float32(audio) * self._factor, audio.channels)
