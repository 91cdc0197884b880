"""Channels: a ring, slabs and two doorbells, as one thing to send into and to receive from.

`SendEnd` and `ReceiveEnd` have the calls that never wait; `Sender` and `Receiver` add those that block a process
which has nothing else to do, `trio_channel` those that wait in trio. Each end belongs to one process and one thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from penstock.shm.arena import LANES, ArenaMap, SlabPool
from penstock.shm.doorbell import Doorbell
from penstock.shm.errors import CorruptSegment, SendTimeout, WouldBlock
from penstock.shm.fence import ALWAYS_RING, fence
from penstock.shm.lease import LeaseBook
from penstock.shm.record import Flag, Outgoing, Record
from penstock.shm.ring import Ring, RingReader, RingWriter

__all__ = ["EdgeOptions", "ReceiveEnd", "Receiver", "SendEnd", "Sender", "wait_any"]


@dataclass(frozen=True, slots=True)
class EdgeOptions:
    """What both ends of a channel have to know of it.

    Attributes:
        name: of the edge, for errors.
        lane: which of its writer's lanes this edge is (its number among the writer's edges).
        max_bytes: bound on unacknowledged bytes; a larger message passes alone, when the edge is empty.
        max_leases: views of slabs that a reader may keep before it is given copies.
        timeout_s: how long a send may wait for room.
    """

    name: str = ""
    lane: int = 0
    max_bytes: int = 64 << 20
    max_leases: int = 16
    timeout_s: float | None = None


class SendEnd:
    """The sending end, without waiting."""

    def __init__(
        self, ring: Ring, pool: SlabPool, bell: Doorbell, peer_bell: Doorbell, options: EdgeOptions | None = None
    ) -> None:
        """Take the sending end.

        Args:
            ring: the edge's ring.
            pool: this process's slabs, shared by all its edges.
            bell: what this process waits on.
            peer_bell: what the reader's process waits on.
            options: the edge's.
        """
        options = options or EdgeOptions()
        self.ring: RingWriter = RingWriter(ring, options.max_bytes)
        self.pool = pool
        self.name: str = options.name
        self.timeout_s: float | None = options.timeout_s
        self._group, self._lane = divmod(options.lane, LANES)
        self._bell = bell
        self._peer_bell = peer_bell

    def send_nowait(self, message: Outgoing) -> None:
        """Publish a message.

        Raises:
            WouldBlock: the edge is full.
            PeerLost: the reader's process is gone.
            ChannelClosed: `end` was called.
            OutOfSharedMemory: there is no slab for a large payload, and no room for one more.
            CorruptSegment: the reader's position makes no sense.
        """
        ring = self.ring
        nbytes = message.nbytes
        if not ring.has_room(nbytes):
            raise WouldBlock
        if nbytes <= ring.inline_bytes:
            ring.write(message, message.flags)
        else:
            self._write_by_reference(message)
        self._tell_reader()

    def end(self) -> None:
        """Nothing follows; the reader gets what was sent and then the end. Idempotent."""
        self.ring.end()
        self._tell_reader()

    def ready(self, nbytes: int) -> bool:
        """Whether `send_nowait` would do something other than `WouldBlock`."""
        try:
            return self.ring.has_room(nbytes)
        except Exception:
            return True

    def arm(self, flag: bool) -> None:
        """Before waiting: ask for a ring when there is room. Afterwards: no more."""
        self.ring.waiting(flag)
        if flag:
            fence()

    def _write_by_reference(self, message: Outgoing) -> None:
        ring = self.ring
        tail_in_slab = len(message.tail) > ring.inline_bytes
        slab = message.slabs.get(self._group)
        if slab is None:
            # With the tail in any case: another edge of the group may have less room for it in its slots.
            slab = message.slabs[self._group] = self.pool.place(
                message, message.payload, message.tail, group=self._group
            )
        slab.hand_over(self._lane, ring.head)
        flags = message.flags | Flag.SLAB | (Flag.TAIL_IN_SLAB if tail_in_slab else 0)
        try:
            ring.write(message, flags, slab.arena_number, slab.lease, slab.offset)
        except ValueError:
            slab.take_back(self._lane)
            raise

    def _tell_reader(self) -> None:
        fence()
        if ALWAYS_RING or self.ring.reader_waiting:
            self._peer_bell.ring()


class ReceiveEnd:
    """The receiving end, without waiting."""

    def __init__(
        self, ring: Ring, arenas: ArenaMap, bell: Doorbell, peer_bell: Doorbell, options: EdgeOptions | None = None
    ) -> None:
        """Take the receiving end.

        Args:
            ring: the edge's ring.
            arenas: the writer's arenas.
            bell: what this process waits on.
            peer_bell: what the writer's process waits on.
            options: the edge's.
        """
        options = options or EdgeOptions()
        self.name: str = options.name
        self.ring: RingReader = RingReader(ring)
        self._view = ring.view
        self._arenas = arenas
        self._bell = bell
        self._peer_bell = peer_bell
        self._leases = LeaseBook(options.lane % LANES, options.max_leases)
        self._held: deque[object] = deque()

    def receive_nowait(self) -> Record:
        """The next message; acknowledge it when it is done with.

        Raises:
            WouldBlock: there is none yet.
            EndOfChannel: the writer has ended the channel and everything was received.
            PeerLost: the writer's process is gone and everything was received.
            CorruptSegment: what stands there makes no sense.
        """
        fields, at = self.ring.read()
        (_, kind, flags, port, sequence, correlation, input_sequence, index) = fields[:8]
        tail_bytes, payload_bytes, timestamp, published, arena, lease, offset = fields[8:]
        description = bytes(self._view[at - 48 : at])
        if flags & Flag.SLAB:
            payload, tail = self._from_slab(flags, at, payload_bytes, tail_bytes, arena, lease, offset)
        else:
            self._check_inline(sequence, payload_bytes + tail_bytes)
            payload = bytes(self._view[at : at + payload_bytes])
            at += payload_bytes
            tail = bytes(self._view[at : at + tail_bytes])
            self._held.append(None)
        self.ring.advance()
        return Record(
            sequence,
            kind,
            flags,
            payload,
            description,
            tail,
            timestamp,
            published,
            correlation,
            port,
            input_sequence,
            index,
        )

    def acknowledge(self) -> None:
        """The oldest message is done with: its place may be used again, and its slab once no view of it is left."""
        self.ring.acknowledge()
        self._held.popleft()
        fence()
        if ALWAYS_RING or self.ring.writer_waiting:
            self._peer_bell.ring()

    def ready(self) -> bool:
        """Whether `receive_nowait` would do something other than `WouldBlock`."""
        return self.ring.has_news()

    def arm(self, flag: bool) -> None:
        """Before waiting: ask for a ring when there is news. Afterwards: no more."""
        self.ring.waiting(flag)
        if flag:
            fence()

    @property
    def copied(self) -> int:
        """Large payloads that were copied because the reader keeps too many views."""
        return self._leases.copied

    def _check_inline(self, sequence: int, nbytes: int) -> None:
        if nbytes > self.ring.inline_bytes:
            raise CorruptSegment(f"record {sequence} says {nbytes} bytes stand in a slot of {self.ring.inline_bytes}")

    def _from_slab(
        self, flags: int, at: int, payload_bytes: int, tail_bytes: int, arena_number: int, lease: int, offset: int
    ) -> tuple[bytes | memoryview, bytes]:
        in_slab = tail_bytes if flags & Flag.TAIL_IN_SLAB else 0
        arena = self._arenas.locate(arena_number, lease, offset, payload_bytes + in_slab)
        if in_slab:
            begin = offset + payload_bytes
            tail = bytes(arena.view[begin : begin + tail_bytes])
        else:
            self._check_inline(self.ring.next, tail_bytes)
            tail = bytes(self._view[at : at + tail_bytes])
        view, payload = self._leases.open(arena, lease, offset, payload_bytes)
        self._held.append(view)
        return (payload if isinstance(payload, bytes) else payload.data), tail


class Sender(SendEnd):
    """The sending end of a process that may block."""

    def send(self, message: Outgoing) -> None:
        """Publish a message, waiting for room.

        Raises:
            SendTimeout: there was none within the edge's `timeout_s`.
            Interrupted: this process was told to stop.
            PeerLost, ChannelClosed, OutOfSharedMemory, CorruptSegment: as `send_nowait`.
        """
        try:
            return self.send_nowait(message)
        except WouldBlock:
            pass
        deadline = None if self.timeout_s is None else time.monotonic() + self.timeout_s
        nbytes = message.nbytes
        while True:
            self.arm(True)
            if not self.ready(nbytes):
                self._sleep(deadline)
            self.arm(False)
            try:
                return self.send_nowait(message)
            except WouldBlock:
                continue

    def _sleep(self, deadline: float | None) -> None:
        if deadline is None or self.timeout_s is None:
            self._bell.wait()
        elif not self._bell.wait(max(0.0, deadline - time.monotonic())):
            self.arm(False)
            raise SendTimeout(self.timeout_s)


class Receiver(ReceiveEnd):
    """The receiving end of a process that may block."""

    def receive(self) -> Record:
        """The next message, waiting for it.

        Raises:
            Interrupted: this process was told to stop.
            EndOfChannel, PeerLost, CorruptSegment: as `receive_nowait`.
        """
        while True:
            try:
                return self.receive_nowait()
            except WouldBlock:
                wait_any(self._bell, [self])


def wait_any(bell: Doorbell, receivers: Sequence[ReceiveEnd]) -> None:
    """Sleep until one of the receivers may have news, or somebody rings for another reason.

    Raises:
        Interrupted: this process was told to stop.
    """
    for receiver in receivers:
        receiver.arm(True)
    try:
        if not any(receiver.ready() for receiver in receivers):
            bell.wait()
    finally:
        for receiver in receivers:
            receiver.arm(False)
