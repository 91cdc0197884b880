"""Channels: a ring, slabs and two doorbells, as one thing to send into and to receive from.

`SendEnd` and `ReceiveEnd` have the calls that never wait; `Sender` and `Receiver` (`blocking`) add those that block a
process which has nothing else to do, `trio_channel` those that wait in trio. Each end belongs to one process and one
thread.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from penstock.shm.arena import LANES, ArenaMap
from penstock.shm.discarding import Discards, Held
from penstock.shm.doorbell import Doorbell
from penstock.shm.dropping import DroppingReader, DroppingWriter
from penstock.shm.errors import CorruptSegment, SharedMemoryError, WouldBlock
from penstock.shm.fence import WEAK_ORDER, fence, fresh_lock
from penstock.shm.lease import LeaseBook
from penstock.shm.patience import Patience, WaitMode
from penstock.shm.reading import RingReader
from penstock.shm.record import HEADER_BYTES, Field, Flag, Header, Outgoing, Record
from penstock.shm.ring import Policy, Ring, Word
from penstock.shm.slab import Slab, SlabPool
from penstock.shm.writing import RingWriter

__all__ = ["BATCH_WAIT_S", "EdgeOptions", "FeedbackEnd", "ReceiveEnd", "SendEnd"]

_READER_WAITING: Final = Word.READER_WAITING
_WRITER_WAITING: Final = Word.WRITER_WAITING
_IN_SLAB: Final = Flag.SLAB
_TAIL_IN_SLAB: Final = Flag.TAIL_IN_SLAB
_FLAGS: Final = Field.FLAGS
_PAYLOAD_BYTES: Final = Field.PAYLOAD_BYTES
_TAIL_BYTES: Final = Field.TAIL_BYTES
_SHORT_WAIT_NS: Final = 200_000
BATCH_WAIT_S: Final = 0.002
"""How long a writer waits for several acknowledgements, before it asks for one."""


@dataclass(frozen=True, slots=True)
class EdgeOptions:
    """What both ends of a channel have to know of it.

    Attributes:
        name: of the edge, for errors.
        lane: which of its writer's lanes this edge is (its number among the writer's edges).
        max_bytes: bound on unacknowledged bytes; a larger message passes alone, when the edge is empty.
        max_leases: views of slabs that a reader may keep before it is given copies.
        timeout_s: how long a send may wait for room.
        max_age_s: what was sent longer ago is discarded when its reader would take it.
        wait: how both sides wait (see `patience`).
        feedback: somebody else may end the channel, when its writer has nothing to send.
    """

    name: str = ""
    lane: int = 0
    max_bytes: int = 16 << 20
    max_leases: int = 16
    timeout_s: float | None = None
    max_age_s: float | None = None
    wait: WaitMode = "adaptive"
    feedback: bool = False


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
        self.lane: int = options.lane
        self._group = options.lane // LANES
        self.ring: RingWriter = (
            DroppingWriter(ring, options.max_bytes, pool, self.lane)
            if ring.policy is Policy.DROP_OLDEST
            else RingWriter(ring, options.max_bytes)
        )
        pool.take_back_unwanted(self.lane, self.ring.is_wanted)
        self.pool = pool
        self.name: str = options.name
        self.timeout_s: float | None = options.timeout_s
        self.patience: Patience = Patience(options.wait)
        self._words = ring.words
        self._policy = ring.policy
        self._largest_batch = max(1, ring.capacity // 2)
        self._batch = 1
        self._bell = bell
        self._peer_bell = peer_bell

    def offer(self, message: Outgoing) -> bool:
        """Publish a message, or drop one, as the edge's policy says; False when it is full and its policy is to block.

        Raises:
            EdgeFull: it is full, and its policy is to fail.
            PeerLost: the reader's process is gone.
            ChannelClosed: `end` was called.
            OutOfSharedMemory: there is no slab for a large payload, and no room for one more.
            CorruptSegment: the reader's position makes no sense.
        """
        ring = self.ring
        nbytes = len(message.payload) + len(message.tail)
        if (ring.free <= 0 or nbytes > ring.free_bytes) and not ring.has_room(nbytes):
            return self._refuse(nbytes)
        if nbytes <= ring.inline_bytes:
            ring.write(message, message.flags)
        else:
            self._write_by_reference(message)
        fresh_lock().acquire()
        if self._words[_READER_WAITING] or WEAK_ORDER:
            self._peer_bell.ring()
        return True

    def send_nowait(self, message: Outgoing) -> None:
        """Publish a message.

        Raises:
            WouldBlock: the edge is full.
            EdgeFull, PeerLost, ChannelClosed, OutOfSharedMemory, CorruptSegment: as `offer`.
        """
        if not self.offer(message):
            raise WouldBlock

    def end(self) -> None:
        """Nothing follows; the reader gets what was sent and then the end. Idempotent."""
        self.ring.end()
        fence()
        self.wake_reader()

    def wake_reader(self) -> None:
        """Ring the reader, if it waits; a fence stands between what it waits for and this look."""
        if self._words[_READER_WAITING] or WEAK_ORDER:
            self._peer_bell.ring()

    def ready(self, nbytes: int) -> bool:
        """Whether `offer` would give anything but False."""
        try:
            return self._policy is not Policy.BLOCK or self.ring.has_room(nbytes)
        except Exception:
            return True

    def arm(self) -> None:
        """Before waiting: ask for a ring when there is room, and where the reader is fast, for several messages."""
        self.ring.ask(self._batch)
        fence()

    @property
    def asks_for_several(self) -> bool:
        """Whether `arm` asks for more than one acknowledgement; not to be waited for without an end."""
        return self._batch > 1

    def ask_for_one(self) -> None:
        """The others did not come: be content with one."""
        self._batch = 1
        self.arm()

    def disarm(self, waited_ns: int) -> None:
        """After waiting: no more rings. Where the reader is fast, the next ring is asked for a larger batch."""
        self.ring.stop_asking()
        self._batch = min(2 * self._batch, self._largest_batch) if waited_ns < _SHORT_WAIT_NS else 1

    def _refuse(self, nbytes: int) -> bool:
        """What becomes of a message that finds no room: False when its sender is to wait."""
        if self._policy is Policy.ERROR:
            raise self.ring.fullness(nbytes)
        if self._policy is Policy.BLOCK:
            return False
        self.ring.refuse()
        return True

    def _write_by_reference(self, message: Outgoing) -> None:
        ring = self.ring
        tail_in_slab = len(message.tail) > ring.inline_bytes
        if message.slabs is None:
            message.slabs = {}
        slab = message.slabs.get(self._group)
        if slab is None or (tail_in_slab and not slab.is_filled_with(message)):
            slab = message.slabs[self._group] = self._slab_for(message, tail_in_slab=tail_in_slab)
        slab.hand_over(self.lane, ring.head)
        flags = message.flags | _IN_SLAB | (_TAIL_IN_SLAB if tail_in_slab else 0)
        try:
            ring.write(message, flags, slab)
        except ValueError:
            slab.take_back(self.lane)
            raise

    def _slab_for(self, message: Outgoing, *, tail_in_slab: bool) -> Slab:
        if not self._group and not tail_in_slab:
            slab = self.pool.claimed(message.payload)
            if slab is not None:
                return slab
        # With the tail in any case: another edge of the group may have less room for it in its slots.
        return self.pool.place(message, message.payload, message.tail)


class FeedbackEnd(SendEnd):
    """The sending end of a channel that somebody else may end; what is sent after that is dropped, and counted."""

    def offer(self, message: Outgoing) -> bool:
        if self._words[Word.ENDED]:
            self.ring.refuse()
            return True
        return super().offer(message)


class ReceiveEnd:
    """The receiving end, without waiting."""

    def __init__(
        self, ring: Ring, arenas: ArenaMap, bell: Doorbell, peer_bell: Doorbell, options: EdgeOptions | None = None
    ) -> None:
        """Take the receiving end; where another reader was before, let go of what it held.

        Args:
            ring: the edge's ring.
            arenas: the writer's arenas.
            bell: what this process waits on.
            peer_bell: what the writer's process waits on.
            options: the edge's.
        """
        options = options or EdgeOptions()
        drops = ring.policy is Policy.DROP_OLDEST
        self.name: str = options.name
        self.max_bytes: int = options.max_bytes
        self.patience: Patience = Patience(options.wait)
        self._view = ring.view
        self._words = ring.words
        self._inline_bytes = ring.slot_bytes - HEADER_BYTES
        self._arenas = arenas
        self._bell = bell
        self._peer_bell = peer_bell
        self._leases = LeaseBook(options.name, options.lane % LANES, options.max_leases, marks=drops)
        self._held: Held = deque()
        self._discards = Discards(ring, arenas, self._leases, self._held, peer_bell)
        max_age_ns = int((options.max_age_s or 0) * 1e9)
        self.ring: RingReader | DroppingReader = (
            DroppingReader(ring, max_age_ns) if drops else RingReader(ring, max_age_ns, self._discards.note)
        )
        if self.ring.acknowledged:
            arenas.let_go(options.lane, self.ring.acknowledged, taken_only=drops)

    def take(self) -> Record | None:
        """The next message, or None while there is none; acknowledge it when it is done with.

        Raises:
            EndOfChannel: the writer has ended the channel and everything was received.
            PeerLost: the writer's process is gone and everything was received.
            CorruptSegment: what stands there makes no sense.
        """
        ring = self.ring
        header = ring.peek()
        if header is None:
            return None
        if header[_FLAGS] & _IN_SLAB:
            payload, tail = self._from_slab(header)
        else:
            payload_bytes, tail_bytes = header[_PAYLOAD_BYTES], header[_TAIL_BYTES]
            if payload_bytes + tail_bytes > self._inline_bytes:
                raise self._too_long(header)
            view, at = self._view, ring.contents_at
            end = at + payload_bytes
            payload = bytes(view[at:end])
            tail = bytes(view[end : end + tail_bytes]) if tail_bytes else b""
        ring.advance()
        return Record(header, payload, tail)

    def receive_nowait(self) -> Record:
        """The next message.

        Raises:
            WouldBlock: there is none yet.
            EndOfChannel, PeerLost, CorruptSegment: as `take`.
        """
        record = self.take()
        if record is None:
            raise WouldBlock
        return record

    def acknowledge(self) -> None:
        """The oldest message is done with: its place may be used again, and its slab once no view of it is left."""
        position = self.ring.acknowledge()
        if self._held and self._held[0][0] <= position:
            position = self._settle(position)
        fresh_lock().acquire()
        target = self._words[_WRITER_WAITING]
        if (target and position >= target) or WEAK_ORDER:
            self._peer_bell.ring()

    def discard_stale(self) -> None:
        """Pass over what was interrupted now, not at the next `take`: its writer may wait for room."""
        if isinstance(self.ring, RingReader):
            with suppress(SharedMemoryError):  # `take` will raise it
                self.ring.peek()

    def take_again(self, sequence: int) -> Record:
        """A message that a predecessor had taken and not acknowledged, however old and stale it is by now.

        Raises:
            CorruptSegment: it is not there, or makes no sense.
        """
        self.ring.recall(sequence)
        record = self.take()
        if record is None or record.sequence != sequence:
            raise CorruptSegment(f"edge {self.name}: record {sequence}, which was taken, is not there any more")
        return record

    def ready(self) -> bool:
        """Whether `take` would give anything but None."""
        return self.ring.has_news()

    def arm(self) -> bool:
        """Before sleeping: ask for a ring when there is news; whether there is some by now."""
        self._words[_READER_WAITING] = 1
        fresh_lock().acquire()
        return self.ring.has_news()

    def disarm(self) -> None:
        """After waiting: no more rings."""
        self._words[_READER_WAITING] = 0

    @property
    def copied(self) -> int:
        """Large payloads that were copied because the reader keeps too many views."""
        return self._leases.copied

    @property
    def held(self) -> int:
        """Large payloads that are read in place, or kept, at this moment."""
        return self._leases.held

    def _settle(self, position: int) -> int:
        """Let go of what is acknowledged, and discard what is due then; the new position."""
        held = self._held
        while held:
            sequence, view, header = held[0]
            if sequence == position and view is None:
                assert isinstance(self.ring, RingReader)
                position = self.ring.discard()
                self._discards.give_back(header)
            elif sequence >= position:
                break
            held.popleft()
        return position

    def _too_long(self, header: Header) -> CorruptSegment:
        nbytes = header[_TAIL_BYTES] + (0 if header[_FLAGS] & _IN_SLAB else header[_PAYLOAD_BYTES])
        room = self._inline_bytes
        return CorruptSegment(f"record {header[Field.SEQUENCE]} says {nbytes} bytes stand in a slot of {room}")

    def _from_slab(self, header: Header) -> tuple[bytes | memoryview, bytes]:
        tail_bytes, payload_bytes = header[_TAIL_BYTES], header[_PAYLOAD_BYTES]
        lease, offset = header[Field.LEASE], header[Field.OFFSET]
        in_slab = tail_bytes if header[_FLAGS] & _TAIL_IN_SLAB else 0
        arena = self._arenas.locate(header[Field.ARENA], lease, offset, payload_bytes + in_slab)
        if in_slab:
            begin = offset + payload_bytes
            tail = bytes(arena.view[begin : begin + tail_bytes])
        else:
            if tail_bytes > self._inline_bytes:
                raise self._too_long(header)
            at = self.ring.contents_at
            tail = bytes(self._view[at : at + tail_bytes])
        view, payload = self._leases.open(arena, lease, offset, payload_bytes)
        self._held.append((header[Field.SEQUENCE], view, header))
        return payload, tail
