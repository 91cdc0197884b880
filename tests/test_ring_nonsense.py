"""Nonsense in the shared memory of a ring is an error of this layer, never a crash."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.shm.arena import ArenaMap
from penstock.shm.channel import EdgeOptions, ReceiveEnd, SendEnd
from penstock.shm.doorbell import Doorbell
from penstock.shm.errors import (
    ChannelClosed,
    CorruptSegment,
    EndOfChannel,
    PeerLost,
    SharedMemoryError,
    WouldBlock,
)
from penstock.shm.owner import Owner
from penstock.shm.reading import RingReader
from penstock.shm.record import HEADER, HEADER_BYTES, Outgoing
from penstock.shm.ring import Geometry, Ring
from penstock.shm.slab import SlabPool
from penstock.shm.writing import RingWriter

QUIET = settings(deadline=None, max_examples=100, database=None)
PAGE = 4096
HEAD, SENT_BYTES, ACK = 8, 11, 16  # words of the ring's page


@dataclass
class Channel:
    ring: Ring
    sender: SendEnd
    receiver: ReceiveEnd

    def header_at(self, sequence: int) -> int:
        return PAGE + sequence % self.ring.capacity * self.ring.slot_bytes


@contextlib.contextmanager
def open_channel(capacity: int = 4) -> Iterator[Channel]:
    with Owner() as owner, Doorbell.create() as here, Doorbell.create() as there:
        geometry = Geometry(capacity, 192)
        family = owner.family("arena")
        pool = SlabPool(family)
        ring = Ring.format(owner.create("ring", geometry.segment_bytes, what="a test"), geometry)
        yield Channel(ring, SendEnd(ring, pool, here, there), ReceiveEnd(ring, ArenaMap(family), there, here))
        pool.close()


@pytest.mark.parametrize(
    ("at", "value", "text"),
    [
        (0, b"\0\0\0\0", "magic"),
        (4, b"\0", "kind 0"),
        (4, b"\6", "kind 6"),
        (5, b"\x08", "flags"),
        (8, (7).to_bytes(8, "little"), "sequence 7"),
        (36, (1 << 31).to_bytes(4, "little"), "slot of 192"),
        (40, (1 << 63).to_bytes(8, "little"), "slot of 192"),
        (5, b"\2", "slab|attached"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(at: int, value: bytes, text: str) -> None:
    """Magic, kind, flags, sequence and lengths are checked before they are used."""
    with open_channel() as channel:
        channel.sender.send_nowait(Outgoing(b"payload"))
        begin = channel.header_at(0) + at
        channel.ring.view[begin : begin + len(value)] = value
        with pytest.raises(CorruptSegment, match=text):
            channel.receiver.receive_nowait()


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (36, (1 << 20).to_bytes(4, "little")),  # tail
        (40, (1 << 40).to_bytes(8, "little")),  # payload
        (64, (4095).to_bytes(4, "little")),  # an arena that is not there
        (64, (1 << 31).to_bytes(4, "little")),  # one that can not be there
        (68, (1 << 31).to_bytes(4, "little")),  # lease
        (72, (0).to_bytes(8, "little")),  # offset: the arena's own page
        (72, ((1 << 64) - 1).to_bytes(8, "little")),
    ],
)
def test_a_reference_out_of_its_slab_is_refused(at: int, value: bytes) -> None:
    """A record can not make its reader look anywhere but into a slab of its writer."""
    with open_channel() as channel:
        channel.sender.send_nowait(Outgoing(bytes(10_000), tail=bytes(300)))
        begin = channel.header_at(0) + at
        channel.ring.view[begin : begin + len(value)] = value
        with pytest.raises(CorruptSegment):
            channel.receiver.receive_nowait()


@QUIET
@given(noise=st.binary(min_size=HEADER.size, max_size=HEADER.size), keep=st.integers(0, 36), large=st.booleans())
def test_noise_in_a_header_is_an_error_of_this_layer_or_a_record(noise: bytes, keep: int, large: bool) -> None:
    """Whatever stands in a header, reading it neither crashes nor raises anything undocumented."""
    with open_channel() as channel:
        channel.sender.send_nowait(Outgoing(bytes(10_000 if large else 10)))
        begin = channel.header_at(0) + keep  # the checks at the front are passed where the front is kept
        channel.ring.view[begin : begin + HEADER.size - keep] = noise[keep:]
        with contextlib.suppress(CorruptSegment):
            assert len(channel.receiver.receive_nowait().payload) <= channel.ring.slot_bytes + 10_000 + PAGE * 4


@QUIET
@given(head=st.one_of(st.integers(0, 6), st.integers(0, (1 << 64) - 1)))
def test_a_head_out_of_range_is_refused(head: int) -> None:
    """HEAD lies between what was read and what fits behind the acknowledged, else the writer is not believed."""
    with open_channel(capacity=4) as channel:
        behind, done = RingReader(channel.ring), RingReader(channel.ring)
        for number in range(3):
            channel.sender.send_nowait(Outgoing(bytes(9)))
            done.peek()
            done.advance()
        channel.ring.words[HEAD] = head
        for reader, sound in ((done, {3}), (behind, {0, 1, 2, 3, 4})):
            if head in sound or (reader is done and head == 4):
                continue
            with pytest.raises(CorruptSegment):
                reader.peek()
        if head == 3:
            assert done.peek() is None
        if head == 0:
            assert behind.peek() is None
        elif head <= 4:
            assert behind.peek()[4] == 0


@QUIET
@given(ack=st.integers(0, (1 << 64) - 1))
def test_an_acknowledgement_out_of_range_is_refused(ack: int) -> None:
    """The writer believes only an ACK between the last one and HEAD, and so does a new writer."""
    with open_channel(capacity=2) as channel:
        for _ in range(2):
            channel.sender.send_nowait(Outgoing(bytes(9)))
        channel.ring.words[ACK] = ack
        if ack > 2:
            for act in (lambda: channel.sender.send_nowait(Outgoing(b"")), lambda: RingWriter(channel.ring, 100)):
                with pytest.raises(CorruptSegment, match="acknowledged"):
                    act()
        else:
            assert channel.sender.ready(9) == (ack > 0)


def test_an_acknowledgement_that_goes_back_is_refused() -> None:
    """Positions only grow: a reader that takes back an acknowledgement is not believed."""
    with open_channel(capacity=1) as channel:
        for _ in range(2):
            channel.sender.send_nowait(Outgoing(b"x"))
            channel.receiver.receive_nowait()
            channel.receiver.acknowledge()
        channel.sender.send_nowait(Outgoing(b"x"))
        channel.ring.words[ACK] = 1
        with pytest.raises(CorruptSegment, match="acknowledged 1 of 3"):
            channel.sender.send_nowait(Outgoing(b"x"))


@QUIET
@given(word=st.integers(0, 2), value=st.integers(0, (1 << 64) - 1))
def test_a_segment_that_is_no_ring_is_refused(word: int, value: int) -> None:
    """Magic, capacity and slot size are checked when a ring is mapped; a smaller ring within the segment is one."""
    with open_channel() as channel:
        capacity, slot_bytes = channel.ring.capacity, channel.ring.slot_bytes
        before = channel.ring.words[word]
        channel.ring.words[word] = value
        sound = (
            value == before
            or [
                False,
                1 <= value <= capacity,
                HEADER_BYTES <= value <= slot_bytes and value % 64 == 0,
            ][word]
        )
        if sound:
            assert Ring(channel.ring.segment).capacity >= 1
        else:
            with pytest.raises(CorruptSegment):
                Ring(channel.ring.segment)


@pytest.mark.parametrize(("lost", "full"), [("writer", False), ("reader", True)])
def test_a_lost_peer_is_told_after_what_can_still_be_done(lost: str, full: bool) -> None:
    """A reader reads what was published before it learns of the loss; a writer learns of it when it would wait."""
    with open_channel(capacity=1) as channel:
        channel.sender.send_nowait(Outgoing(b"last"))
        if lost == "writer":
            channel.ring.writer_lost()
            assert channel.receiver.receive_nowait().payload == b"last"
            with pytest.raises(PeerLost):
                channel.receiver.receive_nowait()
        else:
            channel.ring.reader_lost()
            with pytest.raises(PeerLost):
                channel.sender.send_nowait(Outgoing(b"more"))


def test_the_errors_of_this_layer_have_one_base() -> None:
    """Whoever catches `SharedMemoryError` catches all of them."""
    errors = (ChannelClosed, CorruptSegment, EndOfChannel, PeerLost, WouldBlock)
    assert all(issubclass(error, SharedMemoryError) for error in errors)


def test_a_refused_record_stays_where_it_is() -> None:
    """Nothing is taken when a record makes no sense, so nothing behind it can be freed too early."""
    with open_channel() as channel:
        channel.sender.send_nowait(Outgoing(b"x" * 10))
        at = channel.header_at(0) + 36
        sound = bytes(channel.ring.view[at : at + 4])
        channel.ring.view[at : at + 4] = (10**6).to_bytes(4, "little")
        for _ in range(2):
            with pytest.raises(CorruptSegment):
                channel.receiver.receive_nowait()
        with pytest.raises(ChannelClosed):
            channel.receiver.acknowledge()
        channel.ring.view[at : at + 4] = sound
        assert channel.receiver.receive_nowait().payload == b"x" * 10


def test_a_writer_killed_before_its_head_leaves_an_exact_ledger() -> None:
    """The bytes of a record that was never published are not counted, whoever goes on."""
    with open_channel() as channel:
        channel.sender.send_nowait(Outgoing(b"x" * 10))
        channel.ring.words[SENT_BYTES + (2 & 1)] = 10 + 7  # as far as the writer came with its second record
        assert channel.ring.statistics().sent_bytes == 10
        RingWriter(channel.ring, 1 << 20).write(Outgoing(b"y" * 5), 0)
        assert channel.ring.statistics().sent_bytes == 15


def test_a_successor_refuses_the_nonsense_of_its_predecessor() -> None:
    """A restarted writer does not count bytes that no machine can hold."""
    with open_channel() as channel:
        channel.sender.send_nowait(Outgoing(b"x"))
        at = channel.header_at(0) + 40
        channel.ring.view[at : at + 8] = b"\xff" * 8
        with pytest.raises(CorruptSegment, match="record 0"):
            RingWriter(channel.ring, 1 << 20)


def test_a_copied_payload_is_there_again_for_a_redelivery() -> None:
    """A reader that keeps too many views gets copies, and its slab is not reused before it acknowledges."""
    with Owner() as owner, Doorbell.create() as here, Doorbell.create() as there:
        geometry, family = Geometry(4, 192), owner.family("arena")
        pool = SlabPool(family)
        ring = Ring.format(owner.create("ring", geometry.segment_bytes, what="a test"), geometry)
        options = EdgeOptions(max_leases=0)
        sender = SendEnd(ring, pool, here, there, options)
        first = ReceiveEnd(ring, ArenaMap(family), there, here, options)
        sender.send_nowait(Outgoing(b"A" * 900_000))
        assert isinstance(first.receive_nowait().payload, bytes)
        sender.send_nowait(Outgoing(b"B" * 900_000))
        second = ReceiveEnd(ring, ArenaMap(family), there, here, options)
        assert second.receive_nowait().payload == b"A" * 900_000
        pool.close()


def test_edges_of_unlike_slots_get_the_same_tail() -> None:
    """In a fan-out the tail reaches also the edge whose slots have no room for it, in either order."""
    for inline_bytes in ((8000, 64), (64, 8000)):
        with Owner() as owner, Doorbell.create() as here, Doorbell.create() as there:
            family = owner.family("arena")
            pool = SlabPool(family)
            message = Outgoing(b"P" * 100_000, tail=b"T" * 500)
            for lane, inline in enumerate(inline_bytes):
                geometry = Geometry(4, inline)
                ring = Ring.format(owner.create(f"r{lane}", geometry.segment_bytes, what="a test"), geometry)
                SendEnd(ring, pool, here, there, EdgeOptions(lane=lane)).send_nowait(message)
                receiver = ReceiveEnd(ring, ArenaMap(family), there, here, EdgeOptions(lane=lane))
                assert receiver.receive_nowait().tail == message.tail
            pool.close()
