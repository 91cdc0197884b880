"""Faults against R-CV."""

from __future__ import annotations

import itertools
import json
import mmap
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from penstock.conformance.mutants.model import mutant
from penstock.conformance.reference.converter import PlainConverter
from penstock.conformance.reference.wire import describe, restore
from penstock.executors.contract import (
    AllocationFailed,
    DataType,
    Inline,
    IPCError,
    IPCMessage,
    RuntimeData,
    SharedMemoryRef,
)

__all__: list[str] = []


class _InlinesArrays(PlainConverter):
    """Arrays of one type travel in the message."""

    inlined: DataType

    def to_ipc(self, data: RuntimeData) -> IPCMessage:
        if data.data_type is self.inlined:
            return Inline(data.data_type, bytes(data.payload), data.session_id, data.timestamp_ns, describe(data))
        return super().to_ipc(data)

    def inline(self, msg: Inline) -> RuntimeData:
        if msg.data_type is self.inlined:
            return restore(dict(msg.meta), msg.payload)
        return super().inline(msg)


@mutant("R-CV-01", "converter", "audio is inlined")
class InlinesAudio(_InlinesArrays):
    inlined = DataType.AUDIO


@mutant("R-CV-03", "converter", "tensors are inlined")
class InlinesTensors(_InlinesArrays):
    inlined = DataType.TENSOR


class _RefersTo(PlainConverter):
    """Data of one type go through shared memory, whatever their size."""

    referred: DataType

    def to_ipc(self, data: RuntimeData) -> IPCMessage:
        if data.data_type is not self.referred:
            return super().to_ipc(data)
        number = next(self.numbers)
        self.stored[number] = (describe(data), self.store(data))
        return SharedMemoryRef(number, self.session_id)


@mutant("R-CV-02", "converter", "short text goes through shared memory")
class RefersToText(_RefersTo):
    referred = DataType.TEXT


@mutant("R-CV-04", "converter", "JSON goes through shared memory")
class RefersToJson(_RefersTo):
    referred = DataType.JSON


class _Changes(PlainConverter):
    """Something is changed on the way back."""

    def from_ipc(self, msg: IPCMessage) -> RuntimeData:
        return self.changed(super().from_ipc(msg))

    def changed(self, data: RuntimeData) -> RuntimeData:
        raise NotImplementedError


@mutant("R-CV-05", "converter", "audio passes through arithmetic: -0.0 becomes 0.0, NaN loses its payload")
class AddsZero(_Changes):
    def changed(self, data: RuntimeData) -> RuntimeData:
        if data.data_type is not DataType.AUDIO or data.dtype is None or data.dtype.kind != "f":
            return data
        samples = np.frombuffer(data.payload, data.dtype) + data.dtype.type(0)
        return replace(data, payload=samples.tobytes())


@mutant("R-CV-06", "converter", "the sample rate is always 48000")
class OneSampleRate(_Changes):
    def changed(self, data: RuntimeData) -> RuntimeData:
        return replace(data, sample_rate=48000) if data.data_type is DataType.AUDIO else data


@mutant("R-CV-07", "converter", "the shape of a tensor is flattened")
class FlattensTensors(_Changes):
    def changed(self, data: RuntimeData) -> RuntimeData:
        if data.data_type is not DataType.TENSOR or data.dtype is None:
            return data
        return replace(data, shape=(data.nbytes // data.dtype.itemsize,))


@mutant("R-CV-08", "converter", "the first 64 bytes of a text are taken for a header")
class EatsTheHeader(_Changes):
    def changed(self, data: RuntimeData) -> RuntimeData:
        if data.data_type is not DataType.TEXT or data.nbytes < 64:
            return data
        return replace(data, payload=data.payload[64:])


@mutant("R-CV-09", "converter", "JSON is parsed and written again")
class RewritesJson(_Changes):
    def changed(self, data: RuntimeData) -> RuntimeData:
        if data.data_type is not DataType.JSON:
            return data
        return replace(data, payload=json.dumps(data.as_json(), separators=(",", ":"), ensure_ascii=False).encode())


@mutant("R-CV-10", "converter", "whatever is inline is text")
class InlineIsText(_Changes):
    def changed(self, data: RuntimeData) -> RuntimeData:
        return replace(data, data_type=DataType.TEXT) if data.data_type is DataType.JSON else data


@mutant("R-CV-11", "converter", "the session is lost")
class LosesTheSession(_Changes):
    def changed(self, data: RuntimeData) -> RuntimeData:
        return replace(data, session_id="")


@mutant("R-CV-13", "converter", "first in, first out, whatever the id")
class FirstInFirstOut(PlainConverter):
    def redeem(self, msg: SharedMemoryRef) -> RuntimeData:
        return super().redeem(replace(msg, sample_id=min(self.stored, default=0)))


@mutant("R-CV-14", "converter", "only four ids are in use")
class FewIds(PlainConverter):
    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self.numbers: Any = itertools.cycle(range(1, 5))


@mutant("R-CV-15", "converter", "one table of references for all sessions")
class OneTable(PlainConverter):
    table: ClassVar[dict[int, Any]] = {}
    count: ClassVar[Any] = itertools.count(1)

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self.stored, self.numbers = self.table, self.count

    def from_ipc(self, msg: IPCMessage) -> RuntimeData:
        return self.redeem(msg) if isinstance(msg, SharedMemoryRef) else super().from_ipc(msg)


@mutant("R-CV-16", "converter", "does not look whether a payload is of its type")
class LooksAtNothing(PlainConverter):
    def to_ipc(self, data: RuntimeData) -> IPCMessage:
        number = next(self.numbers)
        self.stored[number] = (describe(data), self.store(data))
        return SharedMemoryRef(number, self.session_id)


@mutant("R-CV-17", "converter", "makes a channel for any session")
class AnySession(PlainConverter):
    def to_ipc(self, data: RuntimeData) -> IPCMessage:
        return super().to_ipc(replace(data, session_id=self.session_id))


@mutant("R-CV-18", "converter", "a lack of memory is an IPC error")
class NoMemoryIsIpc(PlainConverter):
    def store(self, data: RuntimeData) -> mmap.mmap:
        try:
            return super().store(data)
        except AllocationFailed as error:
            raise IPCError(str(error)) from error


@mutant("R-CV-19", "converter", "an unknown reference is a KeyError")
class KeyErrorForUnknown(PlainConverter):
    def redeem(self, msg: SharedMemoryRef) -> RuntimeData:
        _ = self.stored[msg.sample_id]
        return super().redeem(msg)


@mutant("R-CV-20", "converter", "a reference redeemed twice gives the newest datum")
class GivesTheNewest(PlainConverter):
    def redeem(self, msg: SharedMemoryRef) -> RuntimeData:
        if msg.sample_id not in self.stored and self.stored:
            about, mapping = self.stored[max(self.stored)]
            return restore(about, mapping[: about["nbytes"]])
        return super().redeem(msg)


@mutant("R-CV-21", "converter", "payloads are cut to 8 MiB")
class CutsPayloads(_Changes):
    def changed(self, data: RuntimeData) -> RuntimeData:
        return replace(data, payload=data.payload[: 8 << 20])


@mutant("R-CV-22", "converter", "refers to the source instead of copying it")
class RefersToTheSource(PlainConverter):
    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self.sources: dict[int, RuntimeData] = {}

    def to_ipc(self, data: RuntimeData) -> IPCMessage:
        sent = super().to_ipc(data)
        if isinstance(sent, SharedMemoryRef):
            self.sources[sent.sample_id] = data
        return sent

    def redeem(self, msg: SharedMemoryRef) -> RuntimeData:
        found = super().redeem(msg)
        return replace(found, payload=self.sources.pop(msg.sample_id).payload)


@mutant("R-CV-23", "converter", "what is not redeemed stays after close")
class KeepsUnredeemed(PlainConverter):
    kept: ClassVar[list[Any]] = []

    def close(self) -> None:
        self.kept.append(self.stored)


@mutant("R-CV-24", "converter", "a malformed message is a ValueError")
class ValueErrorForMalformed(PlainConverter):
    def inline(self, msg: Inline) -> RuntimeData:
        return super().inline(replace(msg, data_type=DataType(msg.data_type)))
