"""Payloads that are handed over by number: published once, and redeemed once, by any process of this user.

A depot is an owner with a family of arenas. A *number* says the same in every process: the owner's token, the arena,
the lease, and the sequence under which the slab was published. In it stand a record's header, the payload, the tail.

The slab's byte of lane 0 says whose it is: PUBLISHED until somebody sets TAKEN, and FREE when the last view has gone.
Several may want to set it, and Python has no compare-and-swap: it is done under a lock on one byte of the owner file,
which the kernel takes back from who dies. The lock is tried, never waited for: who does not get it has met somebody who
is redeeming the same number. A reader that dies with a view in its hands keeps the slab until the depot is closed.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import struct
import sys
from typing import Final

from penstock.shm.arena import PUBLISHED, Arena, published_as
from penstock.shm.errors import ChannelClosed, CorruptSegment, UnknownReference
from penstock.shm.fence import fence_stores
from penstock.shm.lease import LeaseBook
from penstock.shm.owner import Owner, family_name, owner_file, sweep
from penstock.shm.reading import read_header
from penstock.shm.record import HEADER, HEADER_BYTES, MAGIC, Field, Flag, Outgoing, Record
from penstock.shm.segment import Segment
from penstock.shm.slab import SlabPool

__all__ = ["Depot", "Redeemer"]

_LANE: Final = 0
_FAMILY: Final = "a0"
_ARENA_BITS, _LEASE_BITS, _SEQUENCE_BITS = 12, 20, 48
_TOKEN_BITS: Final = 64
_LOCK: Final = struct.Struct("hhqqi0q")
"""`struct flock` of Linux: type, whence, start, length, pid."""


class Depot:
    """The publishing side."""

    def __init__(self, what: str) -> None:
        """Claim a token; sweeps what dead runs have left.

        Args:
            what: what it is for, for people who find its leftovers.
        """
        sweep()
        self._owner = Owner(what)
        self._pool = SlabPool(self._owner.family(_FAMILY))
        self._sequences = itertools.count(1)

    @property
    def token(self) -> str:
        return self._owner.token

    @property
    def descriptor(self) -> int | None:
        """The owner file; None when the depot is closed, or another process's."""
        return self._owner.descriptor

    @property
    def allocated_bytes(self) -> int:
        return self._pool.allocated_bytes

    @property
    def slabs_in_use(self) -> int:
        """Payloads that are not redeemed yet, or still looked at."""
        return self._pool.slabs_in_use

    def publish(self, message: Outgoing) -> int:
        """Write a message to shared memory, with its correlation as the secret that a redeemer has to know; its number.

        Raises:
            OutOfSharedMemory: there is no room for it; nothing is left behind.
            ChannelClosed: the depot is closed, or belongs to the process that this one was forked from.
            struct.error: a field of the message does not fit its record.
        """
        if self._owner.descriptor is None:
            raise ChannelClosed("the depot is closed, or belongs to another process")
        sequence = next(self._sequences)
        header = HEADER.pack(
            MAGIC,
            message.kind,
            Flag.SLAB | Flag.TAIL_IN_SLAB,
            0,
            sequence,
            message.correlation,
            0,
            0,
            len(message.tail),
            len(message.payload),
            message.timestamp_ns,
            0,
            0,
            0,
            0,
            message.description,
        )
        slab = self._pool.place(message, header, message.payload, message.tail)
        fence_stores()
        slab.hand_over(_LANE, sequence)
        arena_number, lease, _ = slab.reference
        return _number(int(self.token, 16), arena_number, lease, sequence)

    def arena_of(self, arena_number: int, lease: int) -> Arena | None:
        """The arena of a slab of this depot, where there is such a slab."""
        slab = self._pool.find(arena_number, lease)
        return None if slab is None else slab.arena

    def close(self) -> None:
        """Remove everything, also what nobody has redeemed. Views stay valid. Idempotent."""
        self._pool.close()
        self._owner.close()


class Redeemer:
    """The side that redeems, from any depot of this user; it remembers nothing but the views that are alive."""

    def __init__(self, name: str, max_leases: int) -> None:
        """Redeem.

        Args:
            name: for the warning that too many views are kept.
            max_leases: views that may be alive at once; whoever keeps more is given private copies.
        """
        self._leases = LeaseBook(name, _LANE, max_leases, marks=True)

    @property
    def held(self) -> int:
        """Views that are alive."""
        return self._leases.held

    def redeem(self, number: int, secret: int, depot: Depot | None = None) -> Record:
        """The message with this number, once. The payload is read in place, and holds its slab for as long as it lives.

        Args:
            number: from `publish`.
            secret: the correlation of the message; another one redeems nothing.
            depot: one's own; its slabs are mapped already.

        Raises:
            UnknownReference: there is none, or not any more.
            CorruptSegment: what stands there makes no sense.
        """
        if not 0 <= number < 1 << _TOKEN_BITS + _ARENA_BITS + _LEASE_BITS + _SEQUENCE_BITS:
            raise UnknownReference(f"{number} is no reference")
        sequence = number & (1 << _SEQUENCE_BITS) - 1
        lease = number >> _SEQUENCE_BITS & (1 << _LEASE_BITS) - 1
        arena_number = number >> _SEQUENCE_BITS + _LEASE_BITS & (1 << _ARENA_BITS) - 1
        token = f"{number >> _SEQUENCE_BITS + _LEASE_BITS + _ARENA_BITS:016x}"
        if depot is not None and depot.token == token:
            arena, descriptor = depot.arena_of(arena_number, lease), depot.descriptor
            if arena is None or descriptor is None:
                raise UnknownReference(f"there is nothing under number {number}")
            return self._take(arena, descriptor, arena_number, lease, sequence, secret)
        try:
            descriptor = os.open(owner_file(token), os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise UnknownReference(f"number {number} belongs to nobody who is there: {error.strerror}") from None
        try:
            arena = Arena(Segment.attach(f"{family_name(token, _FAMILY)}.{arena_number}"))
            return self._take(arena, descriptor, arena_number, lease, sequence, secret)
        finally:
            os.close(descriptor)

    def _take(self, arena: Arena, descriptor: int, arena_number: int, lease: int, sequence: int, secret: int) -> Record:
        if lease >= arena.slabs:
            raise UnknownReference(f"arena {arena_number} has {arena.slabs} slabs, and none is number {lease}")
        place = arena_number << _LEASE_BITS | lease
        if not _lock(descriptor, place):
            raise UnknownReference("somebody else is redeeming the same reference")
        try:
            # The writer sets the sequence before it says PUBLISHED, and the bytes before both.
            published = arena.view[arena.lanes_at(lease) + _LANE] == PUBLISHED
            if not published or published_as(arena.words[arena.words_at(lease) + _LANE], _LANE) != sequence:
                raise UnknownReference("the reference was redeemed")
            fence_stores()
            return self._open(arena, lease, sequence, secret)
        finally:
            _unlock(descriptor, place)

    def _open(self, arena: Arena, lease: int, sequence: int, secret: int) -> Record:
        at = arena.data_at + lease * arena.slab_bytes
        header = read_header(arena.view, at, sequence)
        if header[Field.CORRELATION] != secret:
            raise UnknownReference("the reference is not for this reader")
        payload_bytes, tail_bytes = header[Field.PAYLOAD_BYTES], header[Field.TAIL_BYTES]
        if HEADER_BYTES + payload_bytes + tail_bytes > arena.slab_bytes:
            raise CorruptSegment(f"record {sequence} is larger than its slab")
        at += HEADER_BYTES
        tail = bytes(arena.view[at + payload_bytes : at + payload_bytes + tail_bytes])
        _, payload = self._leases.open(arena, lease, at, payload_bytes)
        return Record(header, payload, tail)


def _number(token: int, arena_number: int, lease: int, sequence: int) -> int:
    return ((token << _ARENA_BITS | arena_number) << _LEASE_BITS | lease) << _SEQUENCE_BITS | sequence


if sys.platform == "linux":
    # Locks of an open file, not of a process: they hold between two threads, too, and no other descriptor ends them.
    def _lock(descriptor: int, place: int) -> bool:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0))
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _unlock(descriptor: int, place: int) -> None:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, place, 1, 0))

else:

    def _lock(descriptor: int, place: int) -> bool:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _unlock(descriptor: int, place: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, place)
