"""Rings, channels and slabs against plain Python models."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.shm.arena import ArenaMap
from penstock.shm.channel import EdgeOptions, ReceiveEnd, SendEnd
from penstock.shm.doorbell import Doorbell
from penstock.shm.errors import (
    ChannelClosed,
    EndOfChannel,
    WouldBlock,
)
from penstock.shm.owner import Owner
from penstock.shm.reading import RingReader
from penstock.shm.record import Flag, Kind, Outgoing, Record
from penstock.shm.ring import Geometry, Ring
from penstock.shm.slab import SlabPool
from penstock.shm.writing import RingWriter

QUIET = settings(
    deadline=None, max_examples=80, stateful_step_count=60, suppress_health_check=[HealthCheck.too_slow], database=None
)

small = st.sampled_from([0, 1, 191, 192, 193, 16384])
large = st.sampled_from([600_000, 1 << 20])  # one slab to an arena: these are soon used again
sizes = st.one_of(small, large, large, st.integers(0, 3 << 20))


lanes = st.sampled_from([0, 1])


def content(number: int, nbytes: int) -> bytes:
    """Bytes that tell one message from the next."""
    return ((number % 251 + 1).to_bytes(1, "little") + number.to_bytes(2, "little")) * (nbytes // 3) + b"\xfe" * (
        nbytes % 3
    )


@dataclass
class RingModel:
    """What a ring is, as a list: what was published, and how far it was read and acknowledged."""

    capacity: int
    max_bytes: int
    published: list[bytes] = field(default_factory=list)
    read: int = 0
    acknowledged: int = 0
    ended: bool = False

    def fits(self, nbytes: int) -> bool:
        pending = self.published[self.acknowledged :]
        return not pending or (len(pending) < self.capacity and sum(map(len, pending)) + nbytes <= self.max_bytes)


class RingMachine(RuleBasedStateMachine):
    """A ring of inline records, whose two sides may be replaced at any time."""

    @initialize(capacity=st.integers(1, 4), inline=st.sampled_from([0, 64, 200]), bound=st.sampled_from([0, 150, 300]))
    def begin(self, capacity: int, inline: int, bound: int) -> None:
        self.owner = Owner()
        geometry = Geometry(capacity, inline)
        self.ring = Ring.format(self.owner.create("ring", geometry.segment_bytes, what="a test"), geometry)
        self.model = RingModel(capacity, bound)
        self.writer, self.reader = RingWriter(self.ring, bound), RingReader(self.ring)

    @rule(nbytes=st.integers(0, 256))
    def write(self, nbytes: int) -> None:
        nbytes = min(nbytes, self.writer.inline_bytes)
        if self.model.ended:
            with pytest.raises(ChannelClosed):
                self.writer.has_room(nbytes)
            return
        assert self.writer.has_room(nbytes) == self.model.fits(nbytes)
        if self.model.fits(nbytes):
            payload = content(len(self.model.published), nbytes)
            self.writer.write(Outgoing(payload), 0)
            self.model.published.append(payload)

    @rule()
    def read(self) -> None:
        model = self.model
        assert self.reader.has_news() == (model.read < len(model.published) or model.ended)
        if model.read == len(model.published):
            if model.ended:
                with pytest.raises(EndOfChannel):
                    self.reader.peek()
            else:
                assert self.reader.peek() is None
            return
        fields, at = self.reader.peek(), self.reader.contents_at
        self.reader.advance()
        expected = model.published[model.read]
        assert (fields[4], fields[9]) == (model.read, len(expected))
        assert bytes(self.ring.view[at : at + len(expected)]) == expected
        model.read += 1

    @rule()
    def acknowledge(self) -> None:
        if self.model.acknowledged == self.model.read:
            with pytest.raises(ChannelClosed):
                self.reader.acknowledge()
        else:
            self.reader.acknowledge()
            self.model.acknowledged += 1

    @precondition(lambda self: not self.model.ended)
    @rule()
    def replace_writer(self) -> None:
        """A new writer goes on at HEAD, and knows the bytes that are not acknowledged."""
        self.writer = RingWriter(Ring(self.ring.segment), self.model.max_bytes)

    @rule()
    def replace_reader(self) -> None:
        """A new reader begins at the first record that was not acknowledged."""
        self.reader = RingReader(Ring(self.ring.segment))
        self.model.read = self.model.acknowledged

    @precondition(lambda self: len(self.model.published) > 15)
    @rule()
    def end(self) -> None:
        self.writer.end()
        self.model.ended = True

    @invariant()
    def statistics_are_the_models(self) -> None:
        if not hasattr(self, "model"):
            return
        seen, model = self.ring.statistics(), self.model
        assert (seen.sent, seen.received, seen.ended) == (len(model.published), model.acknowledged, model.ended)
        assert seen.sent_bytes == sum(map(len, model.published))
        assert seen.in_flight <= model.capacity

    def teardown(self) -> None:
        if hasattr(self, "owner"):
            self.owner.close()


test_a_ring_is_a_bounded_queue = RingMachine.TestCase
RingMachine.TestCase.settings = QUIET


@dataclass
class Edge:
    """One edge of a fan-out, and its model."""

    sender: SendEnd
    receiver: ReceiveEnd
    model: RingModel
    messages: list[Message] = field(default_factory=list)
    unacknowledged: deque[tuple[int, int, Record | None]] = field(default_factory=deque)


@dataclass
class Message:
    """What was sent, and which slab it stands in (None: inline)."""

    payload: bytes
    tail: bytes
    slab: tuple[int, int] | None


class FanOutMachine(RuleBasedStateMachine):
    """Two edges of one writer share its slabs; readers keep views for as long as they like."""

    @initialize(capacity=st.integers(1, 4), bound=st.sampled_from([0, 1 << 20, 64 << 20]))
    def begin(self, capacity: int, bound: int) -> None:
        self.owner = Owner()
        self.bells = [Doorbell.create(), Doorbell.create()]
        family = self.owner.family("arena")
        self.pool = SlabPool(family)
        self.edges = [self.open_edge(lane, capacity, bound, family) for lane in (0, 1)]
        self.kept: list[tuple[Edge, int, Record]] = []
        self.live: dict[tuple[int, int], set[tuple[object, int]]] = {}  # slab: who holds it, and for which message
        self.outgoing: deque[tuple[int, Outgoing]] = deque()  # still to be sent on this lane
        self.arenas: dict[int, tuple[int, int]] = {}  # number: bytes of a slab, slabs
        self.sent = 0

    def open_edge(self, lane: int, capacity: int, bound: int, family: str) -> Edge:
        geometry = Geometry(capacity, 192)
        ring = Ring.format(self.owner.create(f"ring{lane}", geometry.segment_bytes, what="a test"), geometry)
        options = EdgeOptions(lane=lane, max_bytes=bound, max_leases=1000)
        sender = SendEnd(ring, self.pool, *self.bells, options)
        receiver = ReceiveEnd(ring, ArenaMap(family), *reversed(self.bells), options)
        return Edge(sender, receiver, RingModel(capacity, bound))

    @rule(nbytes=sizes, tail_bytes=st.sampled_from([0, 10, 192, 193, 5000]), lane=lanes, hold=st.booleans())
    def send(self, nbytes: int, tail_bytes: int, lane: int, hold: bool) -> None:
        self.sent += 1
        payload, tail = content(self.sent, nbytes), content(self.sent + 1, tail_bytes)
        outgoing = self.outgoing_message(payload, tail)
        if self.publish(lane, outgoing) and hold:
            self.outgoing.append((1 - lane, outgoing))
            for placed in (outgoing.slabs or {}).values():
                self.live[placed.reference[:2]].add(("message", self.sent))

    @precondition(lambda self: self.outgoing)
    @rule()
    def send_on_the_other_edge(self) -> None:
        """A message of which one edge has its record may come to the other at any later time."""
        lane, outgoing = self.outgoing[0]
        if self.publish(lane, outgoing):
            self.outgoing.popleft()
            for placed in (outgoing.slabs or {}).values():
                self.live[placed.reference[:2]].discard(("message", outgoing.correlation))

    @rule(nbytes=large)
    def send_on_both_edges(self, nbytes: int) -> None:
        self.sent += 1
        outgoing = self.outgoing_message(content(self.sent, nbytes), b"")
        for lane in (0, 1):
            self.publish(lane, outgoing)

    def outgoing_message(self, payload: bytes, tail: bytes) -> Outgoing:
        outgoing = Outgoing(payload, tail=tail, correlation=self.sent, kind=Kind.CALL)
        outgoing.flags = Flag.LAST_OF_CAUSE
        return outgoing

    def publish(self, lane: int, outgoing: Outgoing) -> bool:
        edge, arenas = self.edges[lane], self.pool.arenas
        if not edge.model.fits(outgoing.nbytes):
            with pytest.raises(WouldBlock):
                edge.sender.send_nowait(outgoing)
            return False
        edge.sender.send_nowait(outgoing)
        self.note(edge, outgoing, grown=self.pool.arenas > arenas)
        return True

    def note(self, edge: Edge, outgoing: Outgoing, *, grown: bool) -> None:
        """Book what was sent; a slab that somebody holds must not have been used for it."""
        slab = None
        for placed in (outgoing.slabs or {}).values():
            slab = placed.reference[:2]
            holders = self.live.setdefault(slab, set())
            assert {correlation for _, correlation in holders} <= {outgoing.correlation}, (
                f"slab {slab} is held by {holders}"
            )
            if grown:
                self.check_growth(placed.arena.slab_bytes)
            self.arenas[slab[0]] = (placed.arena.slab_bytes, placed.arena.slabs)
            holders.add((self.edges.index(edge), outgoing.correlation))
        edge.messages.append(Message(bytes(outgoing.payload), outgoing.tail, slab))
        edge.model.published.append(bytes(outgoing.payload) + outgoing.tail)

    def check_growth(self, slab_bytes: int) -> None:
        """The pool takes new memory only when every slab of the size is held."""
        alike = {number: slabs for number, (size, slabs) in self.arenas.items() if size == slab_bytes}
        held = [slab for slab, holders in self.live.items() if slab[0] in alike and holders]
        assert len(held) == sum(alike.values())

    @rule(lane=lanes, look_at_it=st.booleans())
    def receive(self, lane: int, look_at_it: bool) -> None:
        """The next record, whose view may be dropped long before the acknowledgement."""
        edge = self.edges[lane]
        if edge.model.read == len(edge.messages):
            with pytest.raises(WouldBlock):
                edge.receiver.receive_nowait()
            return
        record, sent = edge.receiver.receive_nowait(), edge.messages[edge.model.read]
        assert (record.payload, record.tail, record.sequence) == (sent.payload, sent.tail, edge.model.read)
        assert (record.kind, record.flags & Flag.LAST_OF_CAUSE) == (Kind.CALL, Flag.LAST_OF_CAUSE)
        edge.unacknowledged.append((record.sequence, record.correlation, record if look_at_it else None))
        edge.model.read += 1

    @rule(lane=lanes, keep=st.booleans())
    def acknowledge(self, lane: int, keep: bool) -> None:
        edge = self.edges[lane]
        if not edge.unacknowledged:
            with pytest.raises(ChannelClosed):
                edge.receiver.acknowledge()
            return
        sequence, correlation, record = edge.unacknowledged.popleft()
        edge.receiver.acknowledge()
        edge.model.acknowledged += 1
        if keep and record is not None:
            self.kept.append((edge, sequence, record))
        else:
            self.let_go(edge, sequence, correlation)

    @rule(lane=lanes)
    def catch_up(self, lane: int) -> None:
        """Receive and acknowledge everything."""
        while self.edges[lane].model.read < len(self.edges[lane].messages):
            self.receive(lane, look_at_it=True)
        while self.edges[lane].unacknowledged:
            self.acknowledge(lane, keep=False)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def drop_a_view(self, data: st.DataObject) -> None:
        edge, sequence, record = self.kept.pop(data.draw(st.integers(0, len(self.kept) - 1)))
        self.let_go(edge, sequence, record.correlation)

    def let_go(self, edge: Edge, sequence: int, correlation: int) -> None:
        slab = edge.messages[sequence].slab
        if slab is not None:
            self.live[slab].discard((self.edges.index(edge), correlation))

    @invariant()
    def kept_views_are_untouched(self) -> None:
        """Neither another message nor the acknowledgement changes what a reader holds."""
        for edge, sequence, record in getattr(self, "kept", []):
            assert record.payload == edge.messages[sequence].payload

    def teardown(self) -> None:
        if not hasattr(self, "owner"):
            return
        self.kept.clear()
        self.outgoing.clear()
        self.edges.clear()
        self.pool.close()
        for bell in self.bells:
            bell.close()
        self.owner.close()


test_slabs_are_never_used_while_held = FanOutMachine.TestCase
FanOutMachine.TestCase.settings = QUIET
