"""What was published on an edge last, as far as it still stands there unharmed: for a writer that takes over."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from penstock.shm.channel import SendEnd
from penstock.shm.reading import read_header
from penstock.shm.record import HEADER_BYTES, Field, Flag, Header, Outgoing

__all__ = ["Digest", "digest", "published"]


class Digest(NamedTuple):
    """What makes a message the same as another one. (Not its time stamp: most say when it was made.)"""

    description: bytes
    payload_bytes: int
    payload: int
    tail: int


def digest(message: Outgoing) -> Digest:
    """The digest of a message that is about to be published."""
    payload = message.payload
    return Digest(message.description, len(payload), zlib.crc32(payload), zlib.crc32(message.tail))


def published(end: SendEnd, count: int) -> list[Digest | None]:
    """The digests of the last records of an edge that keeps what it has; None for those that are gone.

    The slot behind the last record may have been half written by whoever died; a slab that its reader has let go, too.

    Raises:
        CorruptSegment: a record makes no sense.
    """
    ring, head = end.ring.ring, end.ring.head
    return [_read(end, sequence) if ring.still_has(sequence, head) else None for sequence in range(head - count, head)]


def _read(end: SendEnd, sequence: int) -> Digest | None:
    ring = end.ring.ring
    at = ring.place(sequence)
    header = read_header(ring.view, at, sequence)
    payload, tail = _in_slab(end, header, sequence) if header[Field.FLAGS] & Flag.SLAB else (None, None)
    at += HEADER_BYTES
    if payload is None:
        if header[Field.FLAGS] & Flag.SLAB:
            return None
        payload = ring.view[at : at + header[Field.PAYLOAD_BYTES]]
        at += header[Field.PAYLOAD_BYTES]
    if tail is None:
        tail = ring.view[at : at + header[Field.TAIL_BYTES]]
    return Digest(header[Field.DESCRIPTION], len(payload), zlib.crc32(payload), zlib.crc32(tail))


def _in_slab(end: SendEnd, header: Header, sequence: int) -> tuple[memoryview | None, memoryview | None]:
    """Payload and tail, where the slab has them and its reader still holds it."""
    slab = end.pool.find(header[Field.ARENA], header[Field.LEASE])
    if slab is None or not slab.holds(end.lane, sequence):
        return None, None
    begin = slab.reference[2]
    middle = begin + header[Field.PAYLOAD_BYTES]
    in_slab = header[Field.TAIL_BYTES] if header[Field.FLAGS] & Flag.TAIL_IN_SLAB else 0
    view = slab.arena.view
    return view[begin:middle], view[middle : middle + in_slab] if in_slab else None
