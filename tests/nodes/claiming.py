"""Nodes that make their outputs in claimed memory, or in one buffer that they use again and again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from penstock.executors.contract import NodeContext, RuntimeData
from penstock.executors.contract.loan import loans

WORDS = 5000
"""40 kB: no such payload stands in a ring."""


def place_of(array: Any) -> list[Any]:
    """Which bytes of which file the memory of an array is, whoever maps it, wherever; nothing if it is no file's."""
    address = np.asarray(array).__array_interface__["data"][0]
    with open("/proc/self/maps") as file:
        for line in file:
            span, _, offset, _, inode, *_ = line.split()
            begin, end = (int(part, 16) for part in span.split("-"))
            if begin <= address < end:
                return [int(inode), address - begin + int(offset, 16)] if int(inode) else []
    return []


class Claiming:
    """A source of numbers in claimed arrays; each datum says where it was made, and how many were copied so far."""

    inputs: ClassVar[dict[str, str]] = {}
    outputs: ClassVar[dict[str, str]] = {"out": "tensor"}

    def __init__(self, count: int = 4, how: str = "plain", tail: int = 0) -> None:
        self.count, self.how, self.tail = count, how, tail

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx

    def datum(self, array: Any, **more: Any) -> RuntimeData:
        copied = loans.copied
        meta = {"place": place_of(array), "pad": "x" * self.tail, **more}
        data = RuntimeData.tensor(array, meta=meta)
        data.meta["copied"] = loans.copied - copied  # type: ignore[index]
        return data

    def produce(self) -> Iterator[RuntimeData]:
        yield from getattr(self, self.how)()

    def plain(self) -> Iterator[RuntimeData]:
        """The array stays in this frame until the next one is claimed."""
        for number in range(self.count):
            array = self.ctx.claim(WORDS, "f8")
            array[:] = number
            yield self.datum(array)

    def sliced(self) -> Iterator[RuntimeData]:
        """Writes through an older slice after each was sent."""
        for number in range(self.count):
            array = self.ctx.claim((50, WORDS // 50), "f8")
            older = array[10:]
            array[:] = number
            yield self.datum(array)
            older[:] = -1

    def part(self) -> Iterator[RuntimeData]:
        """Sends a part of what it claimed."""
        for number in range(self.count):
            array = self.ctx.claim(WORDS * 2, "f8")[WORDS:]
            array[:] = number
            yield self.datum(array)

    def twice(self) -> Iterator[RuntimeData]:
        """Each one two times."""
        for number in range(0, self.count, 2):
            array = self.ctx.claim(WORDS, "f8")
            for add in (0, 1):
                if not add:
                    array[:] = number
                yield self.datum(array, add=add)

    def kept(self) -> Iterator[RuntimeData]:
        """Keeps every array, and finds it as it was."""
        kept = []
        for number in range(self.count):
            kept.append(self.ctx.claim(WORDS, "f8"))
            kept[-1][:] = number
            yield self.datum(kept[-1])
            assert [int(array.max()) for array in kept] == list(range(number + 1))


class Double:
    """Answers in claimed memory."""

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx

    def process(self, data: RuntimeData) -> RuntimeData:
        array = self.ctx.claim(data.shape, data.dtype)
        np.multiply(data.as_tensor(), 2, out=array)
        return RuntimeData.tensor(array, meta={"place": place_of(array)})


class Reuses:
    """A source that writes 0, 1, 2, 3 into one buffer, each after the one before was sent."""

    inputs: ClassVar[dict[str, str]] = {}
    outputs: ClassVar[dict[str, str]] = {"out": "tensor"}

    def __init__(self, how: str = "owned", words: int = WORDS) -> None:
        self.how, self.words = how, words

    def initialize(self, ctx: NodeContext) -> None:
        self.ctx = ctx

    def produce(self) -> Iterator[RuntimeData]:
        give, buffer = getattr(self, self.how)()
        for number in range(4):
            buffer[:] = number
            yield RuntimeData.tensor(give)

    def owned(self) -> tuple[Any, Any]:
        buffer = np.zeros(self.words)
        return buffer, buffer

    def view(self) -> tuple[Any, Any]:
        buffer = np.zeros(self.words)
        return buffer[:], buffer

    def claimed(self) -> tuple[Any, Any]:
        buffer = self.ctx.claim(self.words, "f8")
        return buffer, buffer

    def claimed_view(self) -> tuple[Any, Any]:
        buffer = self.ctx.claim(self.words, "f8")
        return buffer[:], buffer

    def written_through_view(self) -> tuple[Any, Any]:
        buffer = self.ctx.claim(self.words, "f8")
        return buffer, buffer[:]

    def owned_through_view(self) -> tuple[Any, Any]:
        buffer = np.zeros(self.words)
        return buffer, buffer[:]

    def memory(self) -> tuple[Any, Any]:
        buffer = np.zeros(self.words)
        return memoryview(buffer), buffer

    def bytes(self) -> tuple[Any, Any]:
        raw = bytearray(self.words * 8)
        buffer = np.frombuffer(raw, "f8")
        return buffer, buffer

    def dlpack(self) -> tuple[Any, Any]:
        buffer = np.zeros(self.words)

        class Foreign:
            def __dlpack__(self, **more: Any) -> Any:
                return buffer.__dlpack__(**more)

            def __dlpack_device__(self) -> Any:
                return buffer.__dlpack_device__()

        return Foreign(), buffer
