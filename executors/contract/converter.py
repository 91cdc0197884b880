"""What crosses between executors, and who converts it (executor-bridge-api.md L196-288, errata D-03 to D-14)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from penstock.executors.contract.data import DataType, Json, RuntimeData

__all__ = ["IPCDataConverter", "IPCMessage", "Inline", "SharedMemoryRef"]


@dataclass(frozen=True, slots=True)
class SharedMemoryRef:
    """A datum that stands in shared memory; it is redeemed once, by its id.

    What describes the datum (type, dtype, shape, rate, channels, session, time) stands beside its bytes.
    """

    sample_id: int
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class Inline:
    """A small datum that travels in the message itself; its type stands outside of the payload (D-12)."""

    data_type: DataType
    payload: bytes
    session_id: str = ""
    timestamp_ns: int = 0
    meta: Mapping[str, Json] = field(default_factory=dict)


IPCMessage: TypeAlias = SharedMemoryRef | Inline


@runtime_checkable
class IPCDataConverter(Protocol):
    """Converts data of one session to messages and back; bit for bit, with all of its metadata."""

    async def to_ipc(self, data: RuntimeData) -> IPCMessage:
        """Audio and tensors become `SharedMemoryRef`; JSON, and text of up to 64 KiB, `Inline`.

        Raises:
            TypeMismatch: the payload is not what the type says.
            AllocationFailed: there is not enough shared memory; nothing is left behind.
            ChannelNotFound: the datum belongs to another session.
        """
        ...

    async def from_ipc(self, msg: IPCMessage) -> RuntimeData:
        """The datum, detached from the message and from shared memory. Never waits.

        Raises:
            ConversionError: the reference is unknown, of another session, or redeemed; or the message is malformed.
        """
        ...

    async def aclose(self) -> None:
        """Free what was never redeemed; idempotent."""
        ...
