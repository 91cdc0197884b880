"""`mono`: one channel out of many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from penstock.engine.nodes.samples import as_float32, float_audio
from penstock.executors.contract import Node, RuntimeData

__all__ = ["Mono"]


class Mono(Node):
    """The mean of the channels, as float32; mono float32 passes unchanged."""

    stateless = True
    inputs: ClassVar[Mapping[str, str]] = {"in": "audio"}
    outputs: ClassVar[Mapping[str, str]] = {"out": "audio"}

    def process(self, data: RuntimeData) -> RuntimeData:
        audio = data.as_audio()
        samples = as_float32(audio)
        if audio.channels == 1:
            return data if samples is audio.samples else float_audio(data, samples, 1)
        return float_audio(data, samples.reshape(-1, audio.channels).mean(axis=1), 1)
