"""Data for the checks: patterned, seeded, and with the corners in which conversions go wrong."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.executors.contract import DataType, Json, RuntimeData

__all__ = ["AGES_AGO_NS", "Vectors"]

AGES_AGO_NS = 1_234_567_890_123_456_789
"""A timestamp that no clock shows today."""
_ODD_FLOATS = np.array([0x7FC00001, 0xFFC12345, 0x80000000, 0x00000001, 0x7F800000, 0xFF800000], "<u4").view("<f4")


class Vectors:
    """Makes data of one session; the same seed makes the same data."""

    def __init__(self, seed: object, session_id: str) -> None:
        self.random = random.Random(str(seed))  # noqa: S311
        self.session_id = session_id
        self._count = 0

    @property
    def about(self) -> dict[str, Any]:
        return {"session_id": self.session_id, "timestamp_ns": AGES_AGO_NS}

    def nonce(self) -> str:
        """A word that comes once."""
        self._count += 1
        return f"n{self._count}-{self.random.getrandbits(48):012x}"

    def text(self, text: str | None = None) -> RuntimeData:
        return RuntimeData.text(self.nonce() if text is None else text, **self.about)

    def json(self, value: Any = None) -> RuntimeData:
        return RuntimeData.json({"nonce": self.nonce()} if value is None else value, **self.about)

    def floats(self, count: int) -> npt.NDArray[np.float32]:
        """Depends on the position, never zero, finite."""
        start = self.random.randrange(1, 1000)
        return ((np.arange(start, start + count) % 9973 + 1) / 97).astype("<f4")

    def audio(self, count: int = 1024, *, rate: int = 48000, channels: int = 1, samples: Any = None) -> RuntimeData:
        samples = self.floats(count) if samples is None else samples
        return RuntimeData.audio(samples, sample_rate=rate, channels=channels, **self.about)

    def tensor(self, array: Any = None) -> RuntimeData:
        return RuntimeData.tensor(self.floats(600).reshape(3, 200) if array is None else array, **self.about)

    def raw(self, size: int) -> bytes:
        return self.random.randbytes(size)

    def one(self, name: str) -> RuntimeData:
        """A datum of the type "audio", "text", "tensor" or "json"."""
        made: RuntimeData = getattr(self, name)()
        made.meta = {"of": "the suite", "more": [1, None, {"ä": 2.5}]}
        return made

    def of_each_kind(self, names: Collection[str]) -> Iterator[tuple[str, RuntimeData]]:
        """All the corners below, of these types."""
        corners = {"audio": self.odd_audio, "text": self.texts, "tensor": self.tensors, "json": self.jsons}
        for name in names:
            for what, datum in corners[name]():
                yield f"{name}, {what}", datum

    def odd_audio(self) -> Iterator[tuple[str, RuntimeData]]:
        """NaN payloads, minus zero, denormals, infinities; patterns; and the contract's own fixture of zeros."""
        yield "NaN payloads, -0.0 and denormals", self.audio(samples=np.tile(_ODD_FLOATS, 50))
        yield "a seeded pattern", self.audio(samples=np.frombuffer(self.raw(4096), "<f4"))
        yield "the fixture of 1024 zeros", self.audio(samples=np.zeros(1024, "<f4"))
        yield "1 MiB", self.audio(1 << 18)
        for channels, name in ((2, "<i2"), (3, "<f8"), (6, "<f4"), (8, "<i4")):
            yield (
                f"{channels} channels of {name}",
                self.audio(channels=channels, samples=np.arange(1, 481).astype(name)),
            )

    def tensors(self) -> Iterator[tuple[str, RuntimeData]]:
        for name in ("u1", "i1", "<u2", "<i4", "<u8", "<f2", "<f4", "<f8", "<c16", "?", ">i4", ">f8"):
            dtype = np.dtype(name)
            count = 24
            array = np.arange(count) % 2 == 0 if name == "?" else np.arange(1, count + 1).astype(dtype)
            yield f"dtype {name}", self.tensor(array.reshape(2, 3, 4))
        yield "NaN payloads, -0.0 and denormals", self.tensor(np.tile(_ODD_FLOATS, (5, 1)))
        yield "0 dimensions", self.tensor(np.array(3.5))
        yield "5 dimensions", self.tensor(np.arange(32, dtype="<i2").reshape(2, 2, 2, 2, 2))
        yield "shape (0, 3)", self.tensor(np.zeros((0, 3), "<f4"))
        yield "a column of an array", self.tensor(np.arange(40, dtype="<i4").reshape(8, 5)[:, 1])
        yield "a transposed array", self.tensor(np.arange(12, dtype="<f8").reshape(3, 4).T)

    def texts(self) -> Iterator[tuple[str, RuntimeData]]:
        for size in (0, 1, 63, 64, 65):
            yield f"{size} bytes", self.text("abcdefghij"[: min(size, 10)] * (size // 10) + "x" * (size % 10))
        yield "1 MiB", self.text("0123456789abcdef" * (1 << 16))
        yield "several scripts", self.text("aé漢字🎧\u0000\n" * 9)
        yield "what editors change", self.text("\ufeffe\u0301\r\n\ta\r  \u00a0\u2028 ")

    def jsons(self) -> Iterator[tuple[str, RuntimeData]]:
        yield "order of keys", self.json({"z": 1, "a": 2, "m": [1, {"k": None}]})
        yield "2**53 + 1", self.json({"n": (1 << 53) + 1, "f": 0.1, "e": 1e300})
        yield "control characters", self.json({"s": '\u0000\u001f\\"é🎧'})
        raw = self.json(None)
        raw.payload = b'{ "spaced" : [ 1 , 2.50 , 1e2 ] , "u" : "\\u00e9" }'
        yield "white space and escapes as they were written", raw
        values: tuple[Json, ...] = ([], {}, None, True, 0, "x")
        for value in values:
            made = RuntimeData.json(value, **self.about)
            yield f"the value {value!r}", made

    def mislabelled(self) -> Iterator[tuple[str, RuntimeData]]:
        """Data whose payload is not what their type says."""
        text = self.text("this is text")
        yield "type Audio, payload of a text", _retyped(text, DataType.AUDIO)
        yield "type Tensor, payload of a text", _retyped(text, DataType.TENSOR)
        short = self.tensor(np.arange(10, dtype="<f4"))
        short.shape = (11,)
        yield "type Tensor, shape of 11 elements over 10", short


def _retyped(data: RuntimeData, data_type: DataType) -> RuntimeData:
    return RuntimeData(data_type, data.payload, data.session_id, data.timestamp_ns)
