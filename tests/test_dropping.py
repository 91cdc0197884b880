"""Edges that drop: against a plain model with a crash at any store, between processes, and fence by fence."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from edges import LARGE, Diary, as_if_killed, forked, message, number_of, of, open_edge
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.shm.arena import ArenaMap
from penstock.shm.blocking import Receiver, Sender
from penstock.shm.channel import EdgeOptions, ReceiveEnd, SendEnd
from penstock.shm.doorbell import Doorbell
from penstock.shm.errors import ChannelClosed, CorruptSegment, EndOfChannel, PeerLost, WouldBlock
from penstock.shm.owner import Owner
from penstock.shm.record import Record
from penstock.shm.ring import Geometry, Policy, Ring, Word
from penstock.shm.slab import SlabPool

OLDEST, NEWEST = Policy.DROP_OLDEST, Policy.DROP_NEWEST
SIZES = st.sampled_from([8, 96, LARGE, LARGE, 200_000])
STORES = st.integers(0, 6)


class Killed(Exception):
    """Stands for SIGKILL: nothing that the process would have done afterwards happens."""


class Fuse:
    """Shared words that kill whoever stores into them once too often."""

    def __init__(self, words: memoryview, fuse: list[int]) -> None:
        self._words, self._fuse = words, fuse

    def __getitem__(self, at: int) -> int:
        return self._words[at]

    def __setitem__(self, at: int, value: int) -> None:
        if self._fuse:
            if self._fuse[0] == 0:
                raise Killed
            self._fuse[0] -= 1
        self._words[at] = value


@dataclass
class Model:
    """What an edge that drops its oldest is: a list of what waits, and at most one message in hand."""

    capacity: int
    max_bytes: int
    sent: list[int] = field(default_factory=list)
    """The size of every message; its number is its place."""
    waiting: deque[int] = field(default_factory=deque)
    in_hand: int | None = None
    received: int = 0
    dropped: int = 0

    def put(self, nbytes: int) -> None:
        while self.waiting and (
            len(self.waiting) >= self.capacity
            or sum(self.sent[number] for number in self.waiting) + nbytes > self.max_bytes
        ):
            self.waiting.popleft()
            self.dropped += 1
        self.waiting.append(len(self.sent))
        self.sent.append(nbytes)

    def large(self) -> int:
        """How many of those that wait or are in hand stand in slabs."""
        held = [*self.waiting, *([] if self.in_hand is None else [self.in_hand])]
        return sum(self.sent[number] >= LARGE for number in held)


class DropOldestMachine(RuleBasedStateMachine):
    """Both sides may be killed at any store to a shared word, and are replaced at any later time."""

    @initialize(capacity=st.integers(1, 4), max_bytes=st.sampled_from([100, 2 * LARGE, 1 << 30]))
    def begin(self, capacity: int, max_bytes: int) -> None:
        self.owner = Owner()
        self.bells = [Doorbell.create(), Doorbell.create()]
        self.family = self.owner.family("a0")
        geometry = Geometry(capacity, 192, OLDEST)
        self.ring = Ring.format(self.owner.create("r0", geometry.segment_bytes, what="a test"), geometry)
        self.options = EdgeOptions(max_bytes=max_bytes, max_leases=1000)
        self.model = Model(capacity, max_bytes)
        self.writer_fuse: list[int] = []
        self.reader_fuse: list[int] = []
        self.record: Record | None = None
        self.kept: list[tuple[int, Any]] = []
        self.looked: tuple[int, int] | None = None
        self.sender: SendEnd | None = None
        self.receiver: ReceiveEnd | None = None
        self.new_writer()
        self.new_reader()

    def mapped(self, fuse: list[int]) -> Ring:
        ring = Ring(self.ring.segment)
        ring.words, ring.index = Fuse(ring.words, fuse), Fuse(ring.index, fuse)  # type: ignore[assignment]
        return ring

    @rule()
    def new_writer(self) -> None:
        """Another writer goes on; what the first had not published, or had dropped, is nobody's."""
        self.pool = SlabPool(self.family)
        self.pool.adopt()
        self.sender = SendEnd(self.mapped(self.writer_fuse), self.pool, *self.bells, self.options)

    @rule()
    def new_reader(self) -> None:
        """Another reader goes on, with the message that the first had in hand if VALID says that it had."""
        self.kill_reader()
        self.receiver = ReceiveEnd(
            self.mapped(self.reader_fuse), ArenaMap(self.family), *reversed(self.bells), self.options
        )

    def kill_reader(self) -> None:
        if self.receiver is not None:
            as_if_killed(self.receiver)
        self.receiver, self.record, self.looked = None, None, None
        self.kept.clear()
        self.reader_fuse.clear()

    @precondition(lambda self: self.sender is not None)
    @rule(nbytes=SIZES)
    def send(self, nbytes: int) -> None:
        self.sender.send_nowait(message(len(self.model.sent), nbytes))
        self.model.put(nbytes)

    @precondition(lambda self: self.sender is not None)
    @rule(nbytes=SIZES, stores=STORES)
    def die_sending(self, nbytes: int, stores: int) -> None:
        """The positions say how far it came: some were dropped, and perhaps one was sent."""
        self.writer_fuse[:] = [stores]
        with contextlib.suppress(Killed):
            self.sender.send_nowait(message(len(self.model.sent), nbytes))
        self.writer_fuse.clear()
        self.sender = None
        model = self.model
        if self.ring.words[Word.HEAD] > len(model.sent):
            model.put(nbytes)
        while model.waiting and model.waiting[0] < self.ring.words[Word.EVICT]:
            model.waiting.popleft()
            model.dropped += 1

    @precondition(lambda self: self.receiver is not None)
    @rule()
    def take(self) -> None:
        model = self.model
        if self.record is not None:
            with pytest.raises(RuntimeError, match="acknowledge it first"):
                self.receiver.take()
            return
        self.looked = None
        if model.in_hand is None and not model.waiting:
            assert self.receiver.take() is None
            return
        if model.in_hand is None:
            model.in_hand = model.waiting.popleft()
        assert self.receiver.ready()
        self.record = self.receiver.receive_nowait()
        assert self.record.sequence == number_of(self.record) == model.in_hand
        assert len(self.record.payload) == model.sent[model.in_hand]

    @precondition(lambda self: self.receiver is not None and self.record is None and self.model.in_hand is None)
    @rule(stores=STORES)
    def die_taking(self, stores: int) -> None:
        """It was its own exactly if VALID was stored."""
        self.reader_fuse[:] = [stores]
        with contextlib.suppress(Killed):
            self.receiver.take()
        self.kill_reader()
        words, model = self.ring.words, self.model
        claimed = words[Word.CLAIM] >> Ring.SLOT_BITS
        if claimed > words[Word.ACK] >> 1 and words[Word.CLAIM] == words[Word.VALID]:
            model.in_hand = model.waiting.popleft()
            assert claimed == model.in_hand + 1

    @precondition(lambda self: self.receiver and self.record is None and self.model.in_hand is None and not self.looked)
    @rule()
    def look(self) -> None:
        """The reader sees what it will claim, and the writer goes on before it does."""
        if self.model.waiting:
            number = self.model.waiting[0]
            self.looked = number, self.ring.index[number % self.model.capacity]

    @precondition(lambda self: self.looked)
    @rule(looked_late=st.booleans())
    def die_claiming(self, looked_late: bool) -> None:
        """A claim on what may have been dropped, and its slot used again: it is nobody's."""
        number, slot = self.looked
        if looked_late:
            slot = self.ring.index[number % self.model.capacity]
        self.ring.words[Word.CLAIM] = (number + 1) << Ring.SLOT_BITS | slot
        self.kill_reader()

    @precondition(lambda self: self.record is not None)
    @rule(keep=st.booleans())
    def acknowledge(self, keep: bool) -> None:
        if keep:
            self.kept.append((self.model.in_hand, self.record.payload))
        self.record = None
        self.receiver.acknowledge()
        self.model.received += 1
        self.model.in_hand = None

    @precondition(lambda self: self.record is not None)
    @rule(stores=STORES)
    def die_acknowledging(self, stores: int) -> None:
        """It was received exactly if the position moved."""
        self.reader_fuse[:] = [stores]
        self.record = None
        with contextlib.suppress(Killed):
            self.receiver.acknowledge()
        self.kill_reader()
        if self.ring.words[Word.ACK] >> 1 > self.model.in_hand:
            self.model.received += 1
            self.model.in_hand = None

    @precondition(lambda self: self.receiver is not None and self.record is None)
    @rule()
    def acknowledge_nothing(self) -> None:
        with pytest.raises(ChannelClosed):
            self.receiver.acknowledge()

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def drop_a_view(self, data: st.DataObject) -> None:
        self.kept.pop(data.draw(st.integers(0, len(self.kept) - 1)))

    @invariant()
    def the_ledger_is_exact(self) -> None:
        if hasattr(self, "model"):
            seen, model = self.ring.statistics(), self.model
            in_flight = len(model.waiting) + (model.in_hand is not None)
            undecided = self.claimed_by_a_dead_reader()
            assert (seen.sent, seen.received, seen.dropped, seen.in_flight) == (
                len(model.sent),
                model.received,
                model.dropped - undecided,
                in_flight + undecided,
            )
            assert seen.sent_bytes == sum(model.sent)

    def claimed_by_a_dead_reader(self) -> bool:
        """Until another reader comes, nobody can say whether its claim was in time: it counts as in flight."""
        if self.receiver is not None or self.model.in_hand is not None:
            return False
        position, claim = self.ring.words[Word.ACK] >> 1, self.ring.words[Word.CLAIM] >> Ring.SLOT_BITS
        return bool(position < claim <= max(position, self.ring.words[Word.EVICT]))

    @invariant()
    def views_are_untouched(self) -> None:
        for number, payload in getattr(self, "kept", []):
            assert bytes(payload[:8]) == bytes(payload[-8:]) == number.to_bytes(8, "little")

    @invariant()
    def slabs_are_held_for_a_reason(self) -> None:
        """One more than is needed may be held: that of a claim which came to nothing."""
        if getattr(self, "sender", None) is not None and self.receiver is not None:
            kept = sum(len(payload) >= LARGE for _, payload in self.kept)
            assert self.model.large() + kept <= self.pool.slabs_in_use <= self.model.large() + kept + 1

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        try:
            self.drain()
        finally:
            self.kill_reader()
            self.sender = None
            self.pool.close()
            for bell in self.bells:
                bell.close()
            self.owner.close()

    def drain(self) -> None:
        """In the end everything that was not dropped arrives, and no slab is left."""
        self.new_writer()
        self.new_reader()
        for _ in range(2):
            self.send(8)
            while self.model.waiting or self.model.in_hand is not None:
                self.take()
                self.acknowledge(keep=False)
        self.send(8)
        assert self.pool.slabs_in_use == 0


DropOldestMachine.TestCase.settings = settings(
    deadline=None,
    max_examples=150,
    stateful_step_count=50,
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=[Phase.generate, Phase.shrink],
)
test_an_edge_that_drops_its_oldest_is_its_model = DropOldestMachine.TestCase


# A crash between two stores


def test_a_claim_that_came_too_late_is_no_obstacle_to_a_new_writer():
    """The reader claims what was dropped, in a slot that a writer used again and died over; the next one goes on."""
    with open_edge(1, OLDEST) as edge:
        edge.sender.send_nowait(message(0))
        edge.sender.ring._words = Fuse(edge.ring.words, [2])  # EVICT and SENT_BYTES, but not HEAD
        with pytest.raises(Killed):
            edge.sender.send_nowait(message(1))
        edge.ring.words[Word.CLAIM] = 1 << Ring.SLOT_BITS | edge.ring.index[0]
        edge.another_sender().send_nowait(message(2))
        assert number_of(edge.another_receiver().receive_nowait()) == 2


def test_a_new_writer_frees_the_slab_of_what_its_predecessor_dropped_and_keeps_the_one_in_hand():
    """It died after EVICT moved, with the record before in the reader's hand."""
    with open_edge(1, OLDEST) as edge:
        edge.sender.send_nowait(message(0, LARGE))
        record = edge.receiver.receive_nowait()
        edge.sender.send_nowait(message(1, LARGE))
        edge.sender.ring._words = Fuse(edge.ring.words, [1])
        with pytest.raises(Killed):
            edge.sender.send_nowait(message(2, LARGE))
        edge.another_sender()
        assert edge.pool.slabs_in_use == 1
        assert number_of(record) == 0
        edge.sender.send_nowait(message(3, LARGE))
        assert number_of(record) == 0
        edge.receiver.acknowledge()
        assert number_of(edge.receiver.receive_nowait()) == 3


@pytest.mark.parametrize("valid", [True, False])
def test_a_new_reader_resumes_a_claim_exactly_when_valid_says_so(valid):
    """A claim alone may have failed; with VALID it was the reader's, although the writer has passed it since."""
    with open_edge(1, OLDEST) as edge:
        edge.sender.send_nowait(message(0))
        claim = edge.ring.words[Word.CLAIM] = 1 << Ring.SLOT_BITS | edge.ring.index[0]
        if valid:
            edge.ring.words[Word.VALID] = claim
        edge.sender.send_nowait(message(1))
        receiver = edge.another_receiver()
        assert number_of(receiver.receive_nowait()) == (0 if valid else 1)
        assert edge.ring.statistics().dropped == (0 if valid else 1)


def test_a_slab_in_hand_outlives_two_crashes():
    """The reader dies after VALID and before it marks the slab, then the writer that has passed it: it comes, whole."""
    with open_edge(1, OLDEST) as edge:
        edge.sender.send_nowait(message(0, LARGE))
        edge.ring.words[Word.CLAIM] = edge.ring.words[Word.VALID] = 1 << Ring.SLOT_BITS | edge.ring.index[0]
        edge.sender.send_nowait(message(1, LARGE))
        edge.another_sender()
        assert edge.pool.slabs_in_use == 2
        for number in range(2, 60):
            edge.sender.send_nowait(message(number, LARGE))
        receiver = edge.another_receiver()
        for number in (0, 59):
            assert number_of(receiver.receive_nowait()) == number
            receiver.acknowledge()
        edge.sender.send_nowait(message(60))
        assert edge.pool.slabs_in_use == 0


def test_what_is_in_hand_is_not_written_over():
    """The writer goes round and round, and neither the slot nor the slab that the reader has is touched."""
    for nbytes in (8, LARGE):
        with open_edge(2, OLDEST) as edge:
            edge.sender.send_nowait(message(0, nbytes))
            record = edge.receiver.receive_nowait()
            at = edge.receiver.ring.contents_at
            before = bytes(edge.ring.view[at - 128 : at + 64])
            for number in range(1, 20):
                edge.sender.send_nowait(message(number, nbytes))
                assert bytes(edge.ring.view[at - 128 : at + 64]) == before
                assert number_of(record) == 0
            edge.receiver.acknowledge()
            assert number_of(edge.receiver.receive_nowait()) == 18
            assert edge.ring.statistics().dropped == 17
            del record


def test_the_writer_never_moves_the_position_of_the_reader():
    """It has one of its own: only that, and what says what was sent, changes when it drops."""
    with open_edge(2, OLDEST) as edge:
        before = edge.ring.words.tolist()
        for number in range(9):
            edge.sender.send_nowait(message(number))
        changed = {at for at, word in enumerate(edge.ring.words.tolist()) if word != before[at]}
        assert changed <= {Word.HEAD, Word.EVICT, Word.SENT_BYTES, Word.SENT_BYTES + 1}


# Fences: what must stand between a store and a look at the other side


def test_a_writer_fences_between_giving_up_a_record_and_looking_for_a_claim(monkeypatch):
    """Without it the claim may be overlooked, and what is being read is overwritten."""
    with open_edge(1, OLDEST) as edge:
        edge.sender.send_nowait(message(0))
        diary = Diary(monkeypatch)
        diary.watch(edge.sender)
        lines = of(diary.since(lambda: edge.sender.send_nowait(message(1))), "EVICT", "CLAIM", "HEAD")
        assert lines[:3] == [("store", "EVICT"), ("fence",), ("load", "CLAIM")]
        assert ("store", "HEAD") in lines[3:]


def test_a_reader_fences_between_its_claim_and_the_look_whether_it_came_in_time(monkeypatch):
    """Without it the eviction may be overlooked; VALID is stored only behind the look."""
    with open_edge(1, OLDEST) as edge:
        edge.sender.send_nowait(message(0))
        diary = Diary(monkeypatch)
        diary.watch(edge.receiver)
        lines = of(diary.since(edge.receiver.take), "CLAIM", "EVICT", "VALID")
        begin = lines.index(("store", "CLAIM"))
        assert lines[begin : begin + 4] == [("store", "CLAIM"), ("fence",), ("load", "EVICT"), ("store", "VALID")]


def test_a_reader_whose_claim_came_too_late_retreats(monkeypatch):
    """The record is dropped between its look at the positions and its claim: it takes the next one, whole."""
    with open_edge(1, OLDEST) as edge:
        edge.sender.send_nowait(message(0))
        diary = Diary(monkeypatch)
        diary.watch(edge.receiver)
        later = iter([message(1)])

        def drop(name):
            if name == "EVICT" and edge.ring.words[Word.CLAIM]:
                for number in later:
                    edge.sender.send_nowait(number)

        diary.before_load = drop
        assert number_of(edge.receiver.take()) == 1
        assert edge.ring.statistics().dropped == 1


# Policies


def test_latest_gives_the_last_one():
    """A capacity of one: whoever comes gets what was sent last."""
    with open_edge(1, OLDEST) as edge:
        for number in range(100):
            edge.sender.send_nowait(message(number, LARGE if number % 2 else 8))
            if number % 7 == 0:
                assert number_of(edge.receiver.receive_nowait()) == number
                edge.receiver.acknowledge()
        assert number_of(edge.receiver.receive_nowait()) == 99
        assert edge.pool.slabs_in_use == 1
        seen = edge.ring.statistics()
        assert (seen.sent, seen.received, seen.dropped, seen.in_flight) == (100, 15, 84, 1)


def test_bytes_that_wait_are_bounded():
    """`max_bytes` drops the oldest before the capacity does; a message beyond it waits alone; the end comes after."""
    with open_edge(8, OLDEST, max_bytes=1000) as edge:
        for number in range(5):
            edge.sender.send_nowait(message(number, 400))
        assert edge.ring.statistics().in_flight == 2
        edge.sender.send_nowait(message(5, LARGE))
        assert edge.ring.statistics().in_flight == 1
        edge.sender.end()
        with pytest.raises(ChannelClosed):
            edge.sender.send_nowait(message(6))
        assert number_of(edge.receiver.receive_nowait()) == 5
        edge.receiver.acknowledge()
        with pytest.raises(EndOfChannel):
            edge.receiver.take()


def test_a_lost_peer_is_told():
    """What was sent still arrives; a writer is told at once."""
    with open_edge(2, OLDEST) as edge:
        edge.sender.send_nowait(message(0))
        edge.ring.writer_lost()
        assert number_of(edge.receiver.receive_nowait()) == 0
        edge.receiver.acknowledge()
        with pytest.raises(PeerLost):
            edge.receiver.take()
        edge.ring.reader_lost()
        with pytest.raises(PeerLost):
            edge.sender.send_nowait(message(1))


@pytest.mark.parametrize(("word", "value"), [(Word.HEAD, 9), (Word.EVICT, 5), (Word.ACK, 9 << 1)])
def test_positions_that_make_no_sense_are_refused(word, value):
    """By a writer that takes over, before it touches anything."""
    with open_edge(2, OLDEST) as edge:
        edge.sender.send_nowait(message(0))
        edge.ring.words[word] = value
        with pytest.raises(CorruptSegment):
            edge.another_sender()


def test_an_edge_that_drops_its_newest_keeps_what_it_has():
    """What does not fit is counted and is gone, its slab too; what was there arrives."""
    with open_edge(2, NEWEST) as edge:
        for number in range(5):
            edge.sender.send_nowait(message(number, LARGE))
        seen = edge.ring.statistics()
        assert (seen.sent, seen.received, seen.dropped, seen.in_flight) == (5, 0, 3, 2)
        assert edge.pool.slabs_in_use == 2
        edge.another_sender().send_nowait(message(5, LARGE))
        assert edge.ring.statistics().dropped == 4
        for number in (0, 1):
            assert number_of(edge.receiver.receive_nowait()) == number
            edge.receiver.acknowledge()
        with pytest.raises(WouldBlock):
            edge.receiver.receive_nowait()
        assert edge.pool.slabs_in_use == 0


# Between processes


def send_all(edge, count):
    """What a writing process does: as fast as it can, small and large."""
    for number in range(count):
        edge.sender.send_nowait(message(number, LARGE if number % 5 == 0 else 64))
    edge.sender.end()


@pytest.mark.parametrize("policy", [OLDEST, NEWEST])
@pytest.mark.parametrize("capacity", [1, 3])
def test_a_fast_writer_and_a_slow_reader(policy, capacity):
    """Two processes: what arrives is whole and in order, nothing is counted twice or never, and the last is there."""
    count = 3000
    with open_edge(capacity, policy, kinds=(Sender, Receiver)) as edge:
        with forked(lambda: send_all(edge, count)):
            came = receive_slowly(edge)
        assert came == sorted(set(came))
        seen = edge.ring.statistics()
        assert (seen.sent, seen.received, seen.in_flight) == (count, len(came), 0)
        assert seen.dropped == count - len(came)
        assert came[-1] == count - 1 if policy is OLDEST else came[0] == 0


def receive_slowly(edge):
    """The numbers that a reader gets until the end, and that stay whole while it holds them."""
    came = []
    with contextlib.suppress(EndOfChannel):
        while True:
            record = edge.receiver.receive()
            came.append(number_of(record))
            if len(came) % 16 == 0:
                time.sleep(0.0005)
                assert number_of(record) == came[-1]
            del record
            edge.receiver.acknowledge()
    return came


@contextlib.contextmanager
def killed_soon(child, until):
    """A process that runs a function until this one has had enough of it."""
    with forked(child) as pid:
        yield
        until()
        os.kill(pid, signal.SIGKILL)


def send_for_ever(edge, number_at):
    def child():
        sender = edge.another_sender()
        number = number_at(sender)
        while True:
            sender.send_nowait(message(number, LARGE if number % 3 == 0 else 64))
            number += 1

    return child


def test_a_writer_that_is_killed_again_and_again():
    """Each follows on the one before: what arrives is whole and in order, the ledger adds up, no slab is left."""
    rng = random.Random(1)
    with open_edge(2, OLDEST, kinds=(Sender, Receiver)) as edge:
        came = [-1]

        def take(count):
            while count:
                record = edge.receiver.take()
                if record is None:
                    continue
                assert record.sequence == number_of(record) > came[-1]
                came.append(record.sequence)
                del record
                edge.receiver.acknowledge()
                count -= 1

        for _ in range(20):
            with killed_soon(send_for_ever(edge, lambda sender: sender.ring.head), lambda: take(rng.randrange(1, 40))):
                pass
            edge.ring.statistics()
        sender = edge.another_sender()
        sender.send_nowait(message(sender.ring.head))
        sender.end()
        came += receive_slowly(edge)
        seen = edge.ring.statistics()
        assert (seen.received, seen.in_flight) == (len(came) - 1, 0)
        assert seen.sent == seen.received + seen.dropped == came[-1] + 1
        assert edge.pool.slabs_in_use == 0


def test_a_reader_that_is_killed_again_and_again():
    """Each goes on with what its predecessor had in hand, or behind it; the writer never waits, and no slab stays."""
    rng = random.Random(2)
    with open_edge(2, OLDEST, kinds=(Sender, Receiver)) as edge:

        def child():
            receiver = edge.another_receiver()
            last = receiver.ring.acknowledged - 1
            keep = deque(maxlen=2)
            while True:
                record = receiver.take()
                if record is not None:
                    assert record.sequence == number_of(record) > last
                    last = record.sequence
                    keep.append(record)
                    receiver.acknowledge()
                    assert all(number_of(kept) == kept.sequence for kept in keep)

        number = 0

        def send(count):
            nonlocal number
            begin = edge.ring.statistics().received
            while count or edge.ring.statistics().received == begin:
                edge.sender.send_nowait(message(number, LARGE if number % 3 else 64))
                number += 1
                count -= count > 0

        for _ in range(20):
            with killed_soon(child, lambda: send(rng.randrange(1, 200))):
                pass
        edge.another_receiver()
        edge.sender.send_nowait(message(number))
        edge.sender.end()
        came = receive_slowly(edge)
        seen = edge.ring.statistics()
        assert came[-1] == number
        assert (seen.sent, seen.in_flight) == (number + 1, 0)
        assert seen.sent == seen.received + seen.dropped
        with pytest.raises(ChannelClosed):
            edge.sender.send_nowait(message(0))
        edge.sender.ring._forget_the_read()
        assert edge.pool.slabs_in_use == 0
