"""Data of one session to messages and back: arrays through memfds, the rest inline."""

from __future__ import annotations

import itertools
import mmap
import os
from typing import Any

from penstock.conformance.reference.multiprocess import valid
from penstock.conformance.reference.wire import INLINE_BYTES, describe, restore, shared
from penstock.executors.contract import (
    AllocationFailed,
    ChannelNotFound,
    DataType,
    Inline,
    IPCError,
    IPCMessage,
    RuntimeData,
    SharedMemoryRef,
)

__all__ = ["PlainConverter", "ReferenceConverter"]


class PlainConverter:
    """The conversions as plain methods."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.numbers = itertools.count(1)
        self.stored: dict[int, tuple[dict[str, Any], mmap.mmap]] = {}

    def to_ipc(self, data: RuntimeData) -> IPCMessage:
        valid(data)
        if data.data_type is DataType.JSON or (data.data_type is DataType.TEXT and data.nbytes <= INLINE_BYTES):
            return Inline(data.data_type, bytes(data.payload), data.session_id, data.timestamp_ns, dict(data.meta))
        if data.session_id != self.session_id:
            raise ChannelNotFound(data.session_id)
        number = next(self.numbers)
        self.stored[number] = (describe(data), self.store(data))
        return SharedMemoryRef(number, self.session_id)

    def store(self, data: RuntimeData) -> mmap.mmap:
        try:
            fd, mapping = shared(data.payload)
        except OSError as error:
            raise AllocationFailed(f"{data.nbytes} bytes: {error.strerror}") from error
        os.close(fd)
        return mapping

    def from_ipc(self, msg: IPCMessage) -> RuntimeData:
        if isinstance(msg, Inline):
            return self.inline(msg)
        if not isinstance(msg, SharedMemoryRef):
            raise IPCError(f"no message: {msg!r}")
        if msg.session_id != self.session_id:
            raise ChannelNotFound(msg.session_id)
        return self.redeem(msg)

    def inline(self, msg: Inline) -> RuntimeData:
        if msg.data_type not in {DataType.TEXT, DataType.JSON} or not isinstance(msg.payload, bytes):
            raise IPCError(f"no inline message: type {msg.data_type!r}, payload {type(msg.payload).__name__}")
        return RuntimeData(msg.data_type, msg.payload, msg.session_id, msg.timestamp_ns, meta=msg.meta)

    def redeem(self, msg: SharedMemoryRef) -> RuntimeData:
        about, mapping = self.stored.pop(msg.sample_id, (None, None))
        if about is None or mapping is None:
            raise IPCError(f"reference {msg.sample_id} is unknown, or was redeemed")
        with mapping:
            return restore(about, mapping[: about["nbytes"]])

    def close(self) -> None:
        while self.stored:
            _, (_, mapping) = self.stored.popitem()
            mapping.close()


class ReferenceConverter:
    """The same behind the contract's async methods; they await nothing, so any loop can drive them."""

    def __init__(self, session_id: str) -> None:
        self.plain = PlainConverter(session_id)

    async def to_ipc(self, data: RuntimeData) -> IPCMessage:
        return self.plain.to_ipc(data)

    async def from_ipc(self, msg: IPCMessage) -> RuntimeData:
        return self.plain.from_ipc(msg)

    async def aclose(self) -> None:
        self.plain.close()
