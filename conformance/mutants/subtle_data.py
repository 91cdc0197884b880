"""Subtle faults of what is carried: each had once got past the checks."""

from __future__ import annotations

import os
import unicodedata
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from penstock.conformance.mutants.model import mutant
from penstock.conformance.reference.converter import PlainConverter
from penstock.conformance.reference.databridge import ReferenceDataBridge
from penstock.conformance.reference.multiprocess import ReferenceMultiprocess
from penstock.conformance.reference.native import ReferenceNative
from penstock.executors.contract import (
    DataType,
    Inline,
    Internal,
    IPCMessage,
    NodeExecution,
    RuntimeData,
    ServiceError,
    SharedMemoryRef,
)

__all__: list[str] = []


@mutant("R-CV-05", "converter", "swaps the first two of more than two channels")
class SwapsChannels(PlainConverter):
    def from_ipc(self, msg: IPCMessage) -> RuntimeData:
        data = super().from_ipc(msg)
        if data.data_type is not DataType.AUDIO or data.channels <= 2:
            return data
        frames = np.frombuffer(data.payload, data.dtype).reshape(-1, data.channels).copy()
        frames[:, [0, 1]] = frames[:, [1, 0]]
        return replace(data, payload=frames.tobytes())


@mutant("R-CV-07", "converter", "NaN loses its payload, in tensors")
class OneNaN(PlainConverter):
    def from_ipc(self, msg: IPCMessage) -> RuntimeData:
        data = super().from_ipc(msg)
        if data.data_type is not DataType.TENSOR or data.dtype is None or data.dtype.kind != "f":
            return data
        array = np.frombuffer(data.payload, data.dtype).copy()
        array[np.isnan(array)] = np.nan
        return replace(data, payload=array.tobytes())


@mutant("R-CV-08", "converter", "text is normalised: CRLF, marks, spaces at its end")
class NormalisesText(PlainConverter):
    def from_ipc(self, msg: IPCMessage) -> RuntimeData:
        data = super().from_ipc(msg)
        if data.data_type is not DataType.TEXT:
            return data
        text = unicodedata.normalize("NFC", data.as_text()).replace("\r\n", "\n")
        return replace(data, payload=text.encode("utf-8", "surrogatepass"))


@mutant("R-CV-11", "converter", "an inline message gets the converter's session")
class InlineIsOurs(PlainConverter):
    def inline(self, msg: Inline) -> RuntimeData:
        return replace(super().inline(msg), session_id=self.session_id)


@mutant("R-CV-22", "converter", "results are views of 32 buffers that are used again")
class UsesBuffersAgain(PlainConverter):
    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self.pool: deque[bytearray] = deque()

    def redeem(self, msg: SharedMemoryRef) -> RuntimeData:
        data = super().redeem(msg)
        full = len(self.pool) >= 32
        buffer = next((old for old in self.pool if full and len(old) == data.nbytes), bytearray(data.nbytes))
        if buffer in self.pool:
            self.pool.remove(buffer)
        self.pool.append(buffer)
        buffer[:] = data.payload
        return replace(data, payload=memoryview(buffer))


@mutant("R-CV-23", "converter", "every 80th reference leaves a descriptor")
class LeaksSlowly(PlainConverter):
    redeemed = 0

    def redeem(self, msg: SharedMemoryRef) -> RuntimeData:
        self.redeemed += 1
        if self.redeemed % 80 == 0:
            os.memfd_create("forgotten")
        return super().redeem(msg)


@mutant("R-DB-01", "data_bridge", "meta is lost in a conversion")
class LosesMeta(ReferenceDataBridge):
    async def convert(self, data: RuntimeData) -> RuntimeData:
        converted = await super().convert(data)
        return converted if converted is data else replace(converted, meta={})


@mutant("R-EB-03", "multiprocess", "an answer's text is cut to 64 KiB")
class CutsText(ReferenceMultiprocess):
    def incoming(self, said: dict[str, Any], fd: int | None) -> RuntimeData:
        answer = super().incoming(said, fd)
        return replace(answer, payload=answer.payload[: 1 << 16]) if answer.data_type is DataType.TEXT else answer


@mutant("R-EB-03", "multiprocess", "an array without dimensions gets one")
class AtLeastOneDimension(ReferenceMultiprocess):
    def incoming(self, said: dict[str, Any], fd: int | None) -> RuntimeData:
        answer = super().incoming(said, fd)
        return replace(answer, shape=answer.shape or (1,)) if answer.data_type is DataType.TENSOR else answer


def _merged(own: Any, value: Any) -> Any:
    return {**own, **value} if isinstance(own, Mapping) and isinstance(value, Mapping) else value


@mutant("R-EB-05", "native", "parameters are merged in depth")
class MergesInDepth(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        own = self.slots[node_id].host._params if node_id in self.slots else {}
        merged = {name: _merged(own.get(name), value) for name, value in params.items()}
        return await super().execute_node(node_id, node_type, input_data, merged)


@mutant("R-EB-10", "multiprocess", "a failed initialize leaves a descriptor")
class LeaksAtFailedInitialize(ReferenceMultiprocess):
    async def initialize_node(self, node_id: str, node_type: str, params: Any) -> None:
        try:
            await super().initialize_node(node_id, node_type, params)
        except NodeExecution:
            os.memfd_create("forgotten")
            raise


@mutant("R-EB-16", "native", "ids are stripped of white space")
class StripsIds(ReferenceNative):
    async def initialize_node(self, node_id: str, node_type: str, params: Any) -> None:
        await super().initialize_node(node_id.strip(), node_type, params)

    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        return await super().execute_node(node_id.strip(), node_type, input_data, params)


@mutant("R-NX-07", "native", "five errors in a row, and the node is not called any more")
class BreaksTheCircuit(ReferenceNative):
    errors = 0

    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        if self.errors >= 5:
            raise Internal("circuit open")
        try:
            return await super().execute_node(node_id, node_type, input_data, params)
        except NodeExecution:
            self.errors += 1
            raise


@mutant("R-EB-06", "native", "writes into the caller's meta")
class WritesIntoMeta(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        for value in input_data.meta.values():
            if isinstance(value, list):
                value.append("seen")
        return await super().execute_node(node_id, node_type, input_data, params)


@mutant("R-NX-02", "native", "a node's text is put on one line")
class OneLineErrors(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        try:
            return await super().execute_node(node_id, node_type, input_data, params)
        except NodeExecution as error:
            raise NodeExecution(node_id, " ".join(error.message.split())) from error


@mutant("R-LK-03", "multiprocess", "a datum that is refused leaves a descriptor")
class LeaksWhatIsRefused(ReferenceMultiprocess):
    async def call(self, node_id: str, node: Any, data: RuntimeData, params: Any) -> RuntimeData:
        try:
            return await super().call(node_id, node, data, params)
        except ServiceError:
            os.memfd_create("forgotten")
            raise
