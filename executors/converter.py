"""The converter: arrays by reference through shared memory, what is small in the message (errata D-03 to D-14)."""

from __future__ import annotations

import functools
import hashlib
import json
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import trio

from penstock.executors.codec import Codec
from penstock.executors.contract import (
    AllocationFailed,
    ChannelNotFound,
    DataType,
    Inline,
    IPCError,
    IPCMessage,
    Json,
    RuntimeData,
    SharedMemoryRef,
    TypeMismatch,
    Validation,
)
from penstock.executors.lifetime import ClosedByBlock
from penstock.shm.depot import Depot, Redeemer
from penstock.shm.errors import OutOfSharedMemory, SharedMemoryError

__all__ = ["ConverterStatistics", "SharedMemoryConverter"]

_INLINE_BYTES: Final = 64 << 10
_INLINE_TYPES: Final = (DataType.TEXT, DataType.JSON)  # no set: the type in a malformed message may have no hash
_MAX_LEASES: Final = 256
_NAME: Final = "of a converter"


@dataclass(frozen=True, slots=True)
class ConverterStatistics:
    """What a converter holds."""

    slabs_in_use: int
    """References that are not redeemed yet, and data made of them that are still alive."""
    views_held: int
    """Data that this converter has redeemed and that are alive."""
    allocated_bytes: int
    """Shared memory."""


class SharedMemoryConverter(ClosedByBlock):
    """Converts data of one session, or without one of any, to messages and back; bit for bit (see `IPCDataConverter`).

    Audio, tensors, and text of more than 64 KiB are written once into shared memory, and redeemed in place: the datum
    holds its slab for as long as it, or an array made of it, lives, also after the converter was closed. A reference
    is redeemed once, by a converter of the same session in any process of the same user. Not to be shared by threads.

    The first reference makes the segments; until then a converter holds nothing.
    """

    def __init__(self, session_id: str | None = None) -> None:
        self._session_id = session_id
        self._codec = Codec(_NAME)
        self._redeemer = Redeemer(_NAME, _MAX_LEASES)
        self._depot: Depot | None = None
        self._closed = False

    async def to_ipc(self, data: RuntimeData) -> IPCMessage:
        """The message for a datum (see `IPCDataConverter`).

        Raises:
            TypeMismatch: the payload is not what the type says.
            AllocationFailed: there is not enough shared memory; nothing is left behind.
            ChannelNotFound: the datum belongs to another session.
            IPCError: a field of it can not cross to another process, or the converter is closed.
        """
        await trio.lowlevel.checkpoint()
        self._check_open()
        _check_payload(data)
        self._check_session(data.session_id)
        if data.data_type is DataType.JSON or (data.data_type is DataType.TEXT and data.nbytes <= _INLINE_BYTES):
            meta = _detached(data.meta)
            return Inline(data.data_type, bytes(data.payload), data.session_id, data.timestamp_ns, meta)
        return SharedMemoryRef(self._publish(data), data.session_id)

    async def from_ipc(self, msg: IPCMessage) -> RuntimeData:
        """The datum of a message (see `IPCDataConverter`).

        Raises:
            ChannelNotFound: the message belongs to another session.
            IPCError: the reference is unknown or was redeemed, the message makes no sense, or the converter is closed.
            TypeMismatch: the payload is not what the type says.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        if not isinstance(msg, Inline | SharedMemoryRef) or not isinstance(msg.session_id, str):
            raise IPCError(f"this is no message: {msg!r:.200}")
        self._check_session(msg.session_id)
        return _unpacked(msg) if isinstance(msg, Inline) else self._redeem(msg)

    def close(self) -> None:
        """Free what was never redeemed; what was stays valid. Idempotent, never waits."""
        self._closed = True
        if self._depot is not None:
            self._depot.close()
            self._depot = None

    async def aclose(self) -> None:
        """`close`, as an end of a block."""
        self.close()
        await trio.lowlevel.checkpoint()

    def statistics(self) -> ConverterStatistics:
        """What is held now."""
        depot = self._depot
        in_use, allocated = (0, 0) if depot is None else (depot.slabs_in_use, depot.allocated_bytes)
        return ConverterStatistics(in_use, self._redeemer.held, allocated)

    def _publish(self, data: RuntimeData) -> int:
        try:
            message = self._codec.encode(data, correlation=_secret(data.session_id))
            return self._open_depot().publish(message)
        except OutOfSharedMemory as error:
            raise AllocationFailed(str(error)) from error
        except (SharedMemoryError, Validation, TypeError, ValueError, struct.error) as error:
            raise IPCError(f"{data!r} can not cross to another process: {error}") from error

    def _redeem(self, msg: SharedMemoryRef) -> RuntimeData:
        if not isinstance(msg.sample_id, int):
            raise IPCError(f"{msg.sample_id!r:.200} is no reference")
        try:
            record = self._redeemer.redeem(msg.sample_id, _secret(msg.session_id), self._depot)
        except SharedMemoryError as error:
            raise IPCError(str(error)) from error
        return self._codec.decode(record)

    def _open_depot(self) -> Depot:
        if self._depot is None:
            try:
                self._depot = Depot("a converter" if self._session_id is None else f"session {self._session_id}")
            except OSError as error:
                raise AllocationFailed(f"there can be no owner file in /dev/shm: {error.strerror}") from error
        return self._depot

    def _check_open(self) -> None:
        if self._closed:
            raise IPCError("the converter is closed")

    def _check_session(self, session_id: str) -> None:
        if self._session_id is not None and session_id != self._session_id:
            raise ChannelNotFound(session_id)

    def __del__(self) -> None:
        if getattr(self, "_depot", None) is not None:
            self.close()
            warnings.warn("a SharedMemoryConverter was not closed: call aclose()", ResourceWarning, stacklevel=2)


def _check_payload(data: RuntimeData) -> None:
    """See that a payload is what its type says.

    Raises:
        TypeMismatch: it is not.
    """
    if not isinstance(data, RuntimeData):
        raise TypeMismatch("RuntimeData", type(data).__name__)
    read = _READ.get(data.data_type) if isinstance(data.data_type, DataType) else None
    if read is None:
        raise TypeMismatch("Audio, Text, Tensor or Json", data.data_type)
    try:
        read(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeMismatch(data.data_type, f"a payload that can not be read: {error}") from None


_READ: Final = {
    DataType.AUDIO: RuntimeData.as_audio,
    DataType.TEXT: RuntimeData.as_text,
    DataType.TENSOR: RuntimeData.as_tensor,
    DataType.JSON: RuntimeData.as_json,
}


def _unpacked(msg: Inline) -> RuntimeData:
    """The datum of a message that carries it."""
    if msg.data_type not in _INLINE_TYPES or not isinstance(msg.payload, bytes):
        raise IPCError(f"no inline message: type {msg.data_type!r}, payload {type(msg.payload).__name__}")
    data = RuntimeData(msg.data_type, msg.payload, msg.session_id, msg.timestamp_ns, meta=_detached(msg.meta))
    _check_payload(data)
    return data


def _detached(meta: Mapping[str, Json]) -> Mapping[str, Json]:
    """A copy that shares nothing with the original, as it would be on the other side of a process's border.

    Raises:
        IPCError: JSON can not say it.
    """
    if not meta:
        return {}
    try:
        copy: Json = json.loads(json.dumps(meta))
    except (TypeError, ValueError, RecursionError) as error:
        raise IPCError(f"the meta of a datum is not JSON: {error}") from None
    if not isinstance(copy, dict):
        raise IPCError(f"the meta of a datum is a mapping, not {type(meta).__name__}")
    return copy


@functools.lru_cache(maxsize=256)
def _secret(session_id: str) -> int:
    """What keeps the references of a session from those of another."""
    name = session_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
