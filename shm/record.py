"""The record: what stands in a slot of a ring.

A record is a header of 128 bytes, then the tail and the payload as far as they fit. Header, little endian:

      0 u32 magic "PSR1"        4 u8 kind        5 u8 flags       6 u16 input port (of the writer's cause)
      8 u64 sequence           16 u64 correlation                24 u64 input sequence (of the writer's cause)
     32 u32 output index       36 u32 tail bytes                 40 u64 payload bytes
     48 i64 timestamp ns       56 i64 published, monotonic ns
     64 u32 arena              68 u32 lease                      72 u64 offset     (where a slab holds the payload)
     80 48 bytes description: the type and shape of the payload, of which this layer knows nothing

(input port, input sequence, output index, last-of-cause) say which input this output comes from: what publication
exactly once across a crash needs. The tail holds what the header has no room for.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from penstock.shm.slab import Slab

__all__ = [
    "DESCRIPTION_BYTES",
    "HEADER",
    "HEADER_BYTES",
    "MAGIC",
    "Field",
    "Flag",
    "Header",
    "Kind",
    "Outgoing",
    "Record",
]

MAGIC: Final = int.from_bytes(b"PSR1", "little")
HEADER_BYTES: Final = 128
DESCRIPTION_BYTES: Final = 48
HEADER: Final = struct.Struct(f"<IBBHQQQIIQqqIIQ{DESCRIPTION_BYTES}s")
assert HEADER.size == HEADER_BYTES

_NO_DESCRIPTION: Final = bytes(DESCRIPTION_BYTES)


class Kind:
    """What a record is. Plain integers: enum arithmetic would cost more than writing the record."""

    DATA: Final = 1
    CALL: Final = 2
    """A datum that wants exactly one answer, with the same correlation."""
    ANSWER: Final = 3
    ERROR: Final = 4
    """The answer of a node that failed; the payload says how."""
    COMPLETION: Final = 5
    """A cause that had no output."""


class Flag:
    """How a record is stored, and where it stands among the outputs of its cause."""

    LAST_OF_CAUSE: Final = 1
    SLAB: Final = 2
    """The payload is in a slab."""
    TAIL_IN_SLAB: Final = 4
    """The tail, too long for the slot, follows the payload in the slab."""


class Field:
    """Indices of the fields of a header."""

    MAGIC, KIND, FLAGS, INPUT_PORT, SEQUENCE, CORRELATION, INPUT_SEQUENCE, OUTPUT_INDEX = range(8)
    TAIL_BYTES, PAYLOAD_BYTES, TIMESTAMP_NS, PUBLISHED_NS, ARENA, LEASE, OFFSET, DESCRIPTION = range(8, 16)


Header: TypeAlias = tuple[Any, ...]


class Outgoing:
    """A message on its way into one or more rings.

    A large payload is written to shared memory once for all of them; its slab is not recycled while this object lives.
    Made for every message, so it sets what usually differs; the rest are defaults of the class.
    """

    flags: int = 0
    input_port: int = 0
    input_sequence: int = 0
    output_index: int = 0
    slabs: dict[int, Slab] | None = None
    """Where the payload stands, for each group of eight edges."""

    def __init__(
        self,
        payload: bytes | memoryview,
        description: bytes = _NO_DESCRIPTION,
        tail: bytes = b"",
        kind: int = Kind.DATA,
        timestamp_ns: int = 0,
        correlation: int = 0,
    ) -> None:
        self.payload = payload
        self.description = description
        self.tail = tail
        self.kind = kind
        self.timestamp_ns = timestamp_ns
        self.correlation = correlation

    @property
    def nbytes(self) -> int:
        return len(self.payload) + len(self.tail)


class Record:
    """A received message. The payload is immutable and stays valid for as long as somebody holds it.

    Attributes:
        header: the fields, in the order in which they stand; `Field` has their indices.
        payload: read in place, or a copy of its own.
        tail: what the header has no room for.
    """

    __slots__ = ("header", "payload", "tail")

    def __init__(self, header: Header, payload: bytes | memoryview, tail: bytes) -> None:
        self.header = header
        self.payload = payload
        self.tail = tail

    @property
    def sequence(self) -> int:
        """Its number on its edge."""
        return int(self.header[Field.SEQUENCE])

    @property
    def kind(self) -> int:
        return int(self.header[Field.KIND])

    @property
    def flags(self) -> int:
        return int(self.header[Field.FLAGS])

    @property
    def correlation(self) -> int:
        return int(self.header[Field.CORRELATION])

    @property
    def timestamp_ns(self) -> int:
        return int(self.header[Field.TIMESTAMP_NS])

    @property
    def description(self) -> bytes:
        return bytes(self.header[Field.DESCRIPTION])
