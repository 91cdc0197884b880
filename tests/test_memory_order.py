"""The order of loads, stores and fences in the real code is the order that `tests/model` proves."""

from __future__ import annotations

import ast
import contextlib
import gc
import mmap
import os
import pathlib
import signal
import weakref

import numpy as np
import pytest
from edges import LARGE, message, number_of
from traced import POLICIES, Diary, forked, open_edge

import penstock.shm
from penstock.shm import channel, fence, reading, writing
from penstock.shm.arena import FREE, PUBLISHED, TAKEN, ArenaMap, lease_word
from penstock.shm.blocking import Receiver, Sender, wait_any
from penstock.shm.channel import ReceiveEnd, SendEnd
from penstock.shm.dropping import DroppingReader
from penstock.shm.errors import EdgeFull, EndOfChannel, PeerLost
from penstock.shm.patience import Patience
from penstock.shm.record import Outgoing
from penstock.shm.ring import Policy, Ring, Word
from penstock.shm.slab import SlabPool
from penstock.shm.trio_channel import TrioReceiver, TrioSender
from penstock.shm.trio_doorbell import TrioDoorbell

SENT = ["store SENT_BYTES", "store HEAD", "fence", "load READER_WAITING"]
NO_ROOM = ["load ACK", "load READER_LOST", "load GENERATION"]
WRITTEN = ["store header", "store slot", "store slot", *SENT]


@pytest.fixture
def diary(monkeypatch):
    return Diary(monkeypatch)


@pytest.fixture
def weak(monkeypatch):
    """A machine whose stores may be seen out of order."""
    for room in (fence, channel, reading, writing):
        monkeypatch.setattr(room, "WEAK_ORDER", True)


def with_tail():
    return Outgoing(b"payload", tail=b"tail")


# A ring that keeps what it has


def test_a_record_is_whole_before_head_and_head_is_seen_before_the_reader_is_looked_at(diary):
    """`offer`: header, payload and tail, SENT_BYTES, HEAD, the fence, and only then READER_WAITING."""
    with open_edge(diary=diary) as edge:
        edge.pass_on()
        assert diary.of(lambda: edge.sender.offer(with_tail())) == WRITTEN


def test_a_waiting_reader_is_rung_after_that(diary):
    """`offer` rings when READER_WAITING was set, and not otherwise."""
    with open_edge(diary=diary) as edge:
        edge.pass_on()
        edge.receiver.arm()
        assert diary.of(lambda: edge.sender.offer(with_tail())) == [*WRITTEN, "ring reader"]


def test_the_acknowledgements_are_seen_before_a_slot_is_written(diary):
    """A writer that knows of no room loads ACK before it touches a slot."""
    with open_edge(1, diary=diary) as edge:
        edge.pass_on()
        said = diary.of(lambda: edge.sender.offer(with_tail()))
        assert said == ["load ACK", "load READER_LOST", *WRITTEN]


def test_the_end_is_fenced_before_the_reader_is_looked_at(diary):
    """`end`: ENDED, the fence, READER_WAITING."""
    with open_edge(diary=diary) as edge:
        said = diary.of(edge.sender.end)
        assert said == ["fence stores", "store ENDED", "fence", "load READER_WAITING"]
        edge.receiver.arm()
        assert diary.of(edge.sender.end)[-1] == "ring reader"


def test_the_end_is_read_before_the_last_look_at_head(diary):
    """A record that was published before ENDED is not lost: HEAD is loaded once more behind it."""
    with open_edge(diary=diary) as edge:
        edge.sender.end()

        def take():
            with pytest.raises(EndOfChannel):
                edge.receiver.take()

        look = ["load STALE_BELOW", "load HEAD"]
        assert diary.of(take) == [*look, "load ENDED", "load WRITER_LOST", "fence stores", "load HEAD"]


@POLICIES
def test_what_was_published_between_the_look_at_head_and_the_end_is_received(diary, policy):
    """The writer publishes its last record and ends just before the reader looks whether it has ended."""
    with open_edge(policy=policy, diary=diary) as edge:

        def finish(line):
            if line in {("load", "ENDED"), ("load", "HEAD")}:
                diary.before = None
                edge.sender.offer(message(5))
                edge.sender.end()

        diary.before = lambda line: finish(line) if line == ("load", "ENDED") else None
        first = edge.receiver.take()
        record = edge.receiver.take() if first is None else first
        assert number_of(record) == 5


def test_a_slot_is_read_after_head_and_freed_after_that(diary):
    """`take`: STALE_BELOW, HEAD, then header and contents; `acknowledge`: ACK, the fence, and a look at the writer."""
    with open_edge(diary=diary) as edge:
        edge.pass_on()
        edge.sender.offer(with_tail())
        read = ["load header", "load slot", "load slot"]
        assert diary.of(edge.receiver.take) == ["load STALE_BELOW", "load HEAD", "load GROWN_AT", *read]
        assert diary.of(edge.receiver.acknowledge) == ["store ACK", "fence", "load WRITER_WAITING"]


def test_a_reader_says_that_it_sleeps_before_its_last_look(diary):
    """`arm` of the reader: READER_WAITING, the fence, then HEAD, ENDED and WRITER_LOST."""
    with open_edge(diary=diary) as edge:
        said = diary.of(edge.receiver.arm)
        assert said == ["store READER_WAITING", "fence", "load HEAD", "load ENDED", "load WRITER_LOST"]


def test_a_writer_says_that_it_sleeps_before_its_last_look(diary):
    """`arm` of the writer: WRITER_WAITING and the fence; `ready` then loads whatever could make room."""
    with open_edge(1, diary=diary) as edge:
        edge.sender.offer(message(1))
        assert not edge.sender.offer(message(2))
        assert diary.of(edge.sender.arm) == ["store WRITER_WAITING", "fence"]
        assert diary.of(lambda: edge.sender.ready(8)) == NO_ROOM
        assert diary.of(edge.sender.ask_for_one) == ["store WRITER_WAITING", "fence"]


class Slept(Exception):
    """Instead of sleeping."""


def no_sleep(diary, bell):
    def sleep(*_):
        diary.note("sleep")
        raise Slept

    bell.wait = sleep


@POLICIES
@pytest.mark.parametrize("how", ["receive", "wait_any"])
def test_a_blocking_reader_sleeps_only_after_its_last_look(diary, policy, how):
    """READER_WAITING, the fence, every word that could be news, the sleep; and afterwards it is taken back."""
    with open_edge(policy=policy, diary=diary, kinds=(Sender, Receiver)) as edge:
        no_sleep(diary, edge.there)

        def wait():
            with pytest.raises(Slept):
                edge.receiver.receive() if how == "receive" else wait_any(edge.there, [edge.receiver], Patience())

        said = diary.of(wait)
        begin, end = said.index("store READER_WAITING"), said.index("sleep")
        assert said[begin + 1] == "fence"
        assert {"load HEAD", "load ENDED", "load WRITER_LOST"} <= set(said[begin + 2 : end])
        assert said[end:] == ["sleep", "store READER_WAITING"]


@POLICIES
def test_news_that_came_while_a_reader_lay_down_keep_it_awake(diary, policy):
    """A record that is published before READER_WAITING is seen is not rung for: the last look finds it."""
    with open_edge(policy=policy, diary=diary, kinds=(Sender, Receiver)) as edge:
        no_sleep(diary, edge.there)

        def publish(line):
            if line == ("store", "READER_WAITING"):
                diary.before = None
                edge.sender.offer(message(6))

        diary.before = publish
        assert number_of(edge.receiver.receive()) == 6


@pytest.mark.parametrize("batch", [1, 2])
def test_a_blocking_writer_sleeps_only_after_its_last_look(diary, batch):
    """WRITER_WAITING, the fence, whatever could make room, the sleep; and afterwards it is taken back."""
    with open_edge(4, diary=diary, kinds=(Sender, Receiver)) as edge:
        no_sleep(diary, edge.here)
        for number in range(4):
            edge.sender.send(message(number))
        edge.sender._batch = batch

        def send():
            with pytest.raises(Slept):
                edge.sender.send(message(9))

        said = diary.of(send)
        last = ["store WRITER_WAITING", "fence", *NO_ROOM, "sleep", "store WRITER_WAITING"]
        assert said[-7:] == last


def test_a_blocking_writer_that_is_content_with_one_looks_again_before_it_sleeps(diary):
    """The target moved down: what was acknowledged before that was not rung for."""
    with open_edge(4, diary=diary, kinds=(Sender, Receiver)) as edge:
        naps = []

        def sleep(*_):
            diary.note("sleep")
            naps.append(1)
            if len(naps) == 2:
                raise Slept
            return False

        edge.here.wait = sleep
        for number in range(4):
            edge.sender.send(message(number))
        edge.sender._batch = 2

        def send():
            with pytest.raises(Slept):
                edge.sender.send(message(9))

        said = diary.of(send)
        between = said[said.index("sleep") + 1 :]
        assert between[:6] == ["store WRITER_WAITING", "fence", *NO_ROOM, "sleep"]


@pytest.mark.parametrize("side", ["reader", "writer"])
async def test_a_trio_side_sleeps_only_after_its_last_look(diary, side, monkeypatch):
    """As the blocking ones: the flag, the fence, the other side's words, the sleep."""
    with open_edge(1, diary=diary, kinds=(TrioSender, TrioReceiver), bell=TrioDoorbell) as edge:

        async def lead(bell, ready):
            diary.note("sleep")
            raise Slept

        monkeypatch.setattr(TrioDoorbell, "_lead", lead)
        if side == "writer":
            await edge.sender.send(message(1))
        begin = len(diary.lines)
        with pytest.raises(Slept):
            await (edge.receiver.receive() if side == "reader" else edge.sender.send(message(2)))
        said = [" ".join(line) for line in diary.lines[begin:]]
        looks = ["load HEAD", "load ENDED", "load WRITER_LOST"] if side == "reader" else NO_ROOM
        flag = f"store {side.upper()}_WAITING"
        begin = said.index(flag)
        assert said[begin : begin + 2] == [flag, "fence"]
        assert said[-len(looks) - 2 :] == [*looks, "sleep", flag]


# A ring that drops its oldest


CLAIM = ["load ENDED", "load WRITER_LOST", "fence stores", "load EVICT", "load HEAD", "fence stores", "load index"]


def drops(diary, capacity=2):
    return open_edge(capacity, Policy.DROP_OLDEST, diary=diary)


def test_a_writer_evicts_before_it_looks_whether_the_record_is_claimed(diary):
    """EVICT, the fence, CLAIM; then index and record, SENT_BYTES, HEAD, the fence, READER_WAITING."""
    with drops(diary) as edge:
        for number in range(2):
            edge.sender.offer(message(number))
        said = diary.of(lambda: edge.sender.offer(with_tail()))
        evict = ["load READER_LOST", "load ACK", "store EVICT", "fence", "load CLAIM"]
        assert said == [*evict, "store index", *WRITTEN]


def test_a_reader_claims_before_it_looks_whether_the_record_is_still_there(diary):
    """CLAIM, the fence, EVICT, VALID; and only then is the slot read."""
    with drops(diary) as edge:
        edge.sender.offer(with_tail())
        said = diary.of(edge.receiver.take)
        claim = ["store CLAIM", "fence", "load EVICT", "store VALID"]
        assert said == [*CLAIM, *claim, "load header", "load STALE_BELOW", "load slot", "load slot"]


def test_a_reader_retreats_from_a_record_that_was_evicted_meanwhile(diary):
    """It does not say VALID of it, and claims the next one."""
    with drops(diary) as edge:
        for number in range(2):
            edge.sender.offer(message(number))

        def evict(line):
            if line == ("store", "CLAIM"):
                diary.before = None
                edge.sender.offer(message(2))

        diary.before = evict
        begin = len(diary.lines)
        assert number_of(edge.receiver.take()) == 1
        said = [" ".join(line) for line in diary.lines[begin:]]
        assert said.count("store CLAIM") == 2
        assert said.count("store VALID") == 1
        assert edge.ring.statistics().dropped == 1


def test_a_reader_counts_then_moves_then_lets_go(diary):
    """`acknowledge`: RECEIVED, ACK, CLAIM in this order, then the fence and the look at the writer."""
    with drops(diary) as edge:
        edge.sender.offer(message(1))
        edge.receiver.take()
        stores = ["store RECEIVED", "fence stores", "store ACK", "fence stores", "store CLAIM"]
        assert diary.of(edge.receiver.acknowledge) == [*stores, "fence", "load WRITER_WAITING"]


def test_a_claimed_slot_is_not_written_however_often_the_ring_goes_round(diary):
    """What the reader has in hand stays whole while the writer drops everything else."""
    with drops(diary, 1) as edge:
        edge.sender.offer(message(0))
        edge.receiver.take()
        at = edge.receiver.ring.contents_at
        for number in range(1, 20):
            edge.sender.offer(message(number))
            assert bytes(edge.ring.view[at : at + 8]) == bytes(8)
        statistics = edge.ring.statistics()
        assert (statistics.sent, statistics.dropped, statistics.in_flight) == (20, 18, 2)


def test_a_dropping_reader_says_that_it_sleeps_before_its_last_look(diary):
    """READER_WAITING, the fence, EVICT and HEAD, ENDED and WRITER_LOST."""
    with drops(diary) as edge:
        said = diary.of(edge.receiver.arm)
        looks = ["load EVICT", "load HEAD", "load ENDED", "load WRITER_LOST"]
        assert said == ["store READER_WAITING", "fence", *looks]


@pytest.mark.parametrize("valid", [True, False])
def test_a_new_reader_resumes_only_what_its_predecessor_had_for_certain(valid):
    """Killed before its check, a claimed record may be somebody else's by now; after VALID it is the reader's."""
    with open_edge(1, Policy.DROP_OLDEST) as edge:
        edge.sender.offer(message(0))
        edge.receiver.take()
        if not valid:
            edge.ring.words[Word.VALID] = 0
        edge.sender.offer(message(1))
        another = ReceiveEnd(Ring(edge.ring.segment), ArenaMap(edge.family), edge.there, edge.here, edge.options)
        assert number_of(another.take()) == (0 if valid else 1)
        another.acknowledge()
        assert edge.ring.statistics().dropped == (0 if valid else 1)


def test_a_reader_that_does_not_resume_lets_go_of_the_claim():
    """Else a slot, and its slab, would be its writer's never again."""
    with open_edge(1, Policy.DROP_OLDEST) as edge:
        edge.sender.offer(message(0))
        edge.receiver.take()
        edge.ring.words[Word.VALID] = 0
        DroppingReader(Ring(edge.ring.segment))
        assert edge.ring.words[Word.CLAIM] == 0


# Every word has one writer

OF_THE_WRITER = {"HEAD", "ENDED", "WRITER_WAITING", "SENT_BYTES", "REFUSED", "EVICT", "GROWN_AT", "index"}
OF_THE_READER = {"ACK", "READER_WAITING", "RECEIVED", "CLAIM", "VALID", "DISCARDED"}


@pytest.mark.parametrize("policy", list(Policy))
def test_no_side_stores_a_word_of_the_other(diary, policy):
    """The writer never moves the reader's position, nor the reader the writer's; words are only stored as u64."""
    with open_edge(2, policy, diary=diary) as edge:
        for number in range(12):
            with contextlib.suppress(EdgeFull):
                edge.sender.offer(message(number, LARGE if number % 3 == 0 else 8))
            edge.sender.arm()
            edge.sender.ready(8)
            edge.sender.disarm(0)
            edge.receiver.arm()
            edge.receiver.disarm()
            if number % 4 > 1 and (record := edge.receiver.take()) is not None:
                del record
                edge.receiver.acknowledge()
        edge.sender.end()
        assert diary.stored_by["writer"] <= OF_THE_WRITER
        assert diary.stored_by["reader"] <= OF_THE_READER
        assert {"HEAD", "ENDED", "SENT_BYTES"} <= diary.stored_by["writer"]
        assert {"ACK", "READER_WAITING"} <= diary.stored_by["reader"]
        assert ("EVICT" in diary.stored_by["writer"]) == (policy is Policy.DROP_OLDEST)


def test_struct_never_writes_into_published_memory():
    """`pack_into` zero-fills first: it is called for a header that HEAD does not cover yet, and nowhere else."""
    calls = [
        (path.name, ast.unparse(node))
        for path in pathlib.Path(penstock.shm.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "pack_into"
    ]
    assert calls == [("writing.py", "HEADER.pack_into")]


@POLICIES
def test_a_reader_never_sees_a_word_in_the_making(policy):
    """While another process publishes, every load of a word gives a value that was stored, and they only grow."""
    with open_edge(2, policy) as edge:
        words = edge.ring.words

        def publish():
            for number in range(40_000):
                while not edge.sender.offer(message(number)):
                    edge.receiver.take()
                    edge.receiver.acknowledge()

        with forked(publish):
            last, watched = [0, 0], (Word.HEAD, Word.EVICT if policy is Policy.DROP_OLDEST else Word.ACK)
            while words[Word.HEAD] < 39_000:
                for place, word in enumerate(watched):
                    value = words[word]
                    assert last[place] <= value <= 40_000
                    last[place] = value


# Leases


@POLICIES
def test_a_lease_is_written_before_the_record_that_refers_to_it(diary, policy):
    """The sequence, then the lane's byte, then the record, then HEAD."""
    with open_edge(policy=policy, diary=diary) as edge:
        edge.pass_on(1, LARGE)
        diary.watch_arena(edge.pool._arenas[0])
        said = diary.of(lambda: edge.sender.offer(message(2, LARGE)))
        order = ["store slab", "store sequence", "store byte", "store header", "store SENT_BYTES", "store HEAD"]
        assert list(dict.fromkeys(line for line in said if line in order)) == order


def test_a_lease_is_published_under_the_sequence_of_its_record():
    """Byte and sequence say which record holds the slab, on the lane of its edge."""
    with open_edge(lane=3) as edge:
        edge.pass_on()
        edge.sender.offer(message(2, LARGE))
        (slab,) = (slab for slab in edge.pool._slabs.values() if not slab.free)
        assert slab.arena.words[slab._words_at + 3] == lease_word(3, 1)
        assert bytes(slab.arena.view[slab._lanes_at : slab._lanes_at + 8]) == bytes([0, 0, 0, PUBLISHED, 0, 0, 0, 0])


@POLICIES
def test_a_new_reader_looks_at_the_byte_before_the_sequence(diary, policy):
    """The writer stores them the other way round; so who sees the new byte sees the new sequence."""
    with open_edge(policy=policy) as edge:
        edge.pass_on(1, LARGE)
        edge.sender.offer(message(2, LARGE))
        if policy is Policy.DROP_OLDEST:
            edge.receiver.take()  # a byte of TAKEN
        diary.watch_arena(edge.arenas._arenas[0])
        position = edge.receiver.ring.acknowledged
        assert position == 1
        said = diary.of(lambda: edge.arenas.let_go(0, 1, taken_only=policy is Policy.DROP_OLDEST))
        sequence = said.index("load sequence")
        assert said[sequence - 1] == "load byte"
        assert said.count("load sequence") == 1
        assert "store byte" not in said


@POLICIES
def test_a_new_reader_frees_what_was_acknowledged_and_nothing_else(policy):
    """Views die with their process: of records before the position they are let go, the later ones come again."""
    with open_edge(policy=policy) as edge:
        edge.sender.offer(message(0, LARGE))
        kept = edge.receiver.take()
        edge.receiver.acknowledge()
        edge.sender.offer(message(1, LARGE))
        again = edge.receiver.take()
        assert edge.pool.slabs_in_use == 2
        another = ReceiveEnd(Ring(edge.ring.segment), ArenaMap(edge.family), edge.there, edge.here, edge.options)
        assert edge.pool.slabs_in_use == 1
        assert number_of(another.take()) == number_of(again) == 1
        assert number_of(kept) == 0


def test_the_writer_of_a_dropped_record_looks_at_the_byte_before_the_sequence(diary):
    """Its reader may have taken it all the same, and the slab may have been published again."""
    with open_edge(1, Policy.DROP_OLDEST) as edge:
        edge.sender.offer(message(0, LARGE))
        slab = next(slab for slab in edge.pool._slabs.values() if not slab.free)
        diary.watch_arena(slab.arena)

        def drop(record):
            return diary.of(lambda: slab.take_back(0, lambda sequence: sequence != record, taken=False))

        assert drop(0) == ["load byte", "load sequence", "store byte"]
        slab.hand_over(0, 5)
        assert drop(4) == ["load byte", "load sequence"]
        slab.arena.view.real[slab._lanes_at] = TAKEN
        assert drop(5) == ["load byte"]


def test_a_slab_that_was_taken_is_not_taken_back_with_its_dropped_record(diary):
    """The reader retreated from nothing: it holds record 0 while the writer drops it."""
    with open_edge(1, Policy.DROP_OLDEST, diary=diary) as edge:
        edge.sender.offer(message(0, LARGE))
        record = edge.receiver.take()
        for number in range(1, 30):
            edge.sender.offer(message(number, LARGE))
        assert number_of(record) == 0
        edge.receiver.acknowledge()
        for number in range(30, 60):
            edge.sender.offer(message(number, LARGE))
        assert number_of(record) == 0
        assert edge.pool.slabs_in_use == 2


@POLICIES
def test_a_new_writer_reads_the_positions_before_the_bytes(diary, policy):
    """Bytes first, and a record that is taken in between would be taken for one that was never published."""
    with open_edge(policy=policy) as edge:
        edge.sender.offer(message(0, LARGE))
        ring, pool = Ring(edge.ring.segment), SlabPool(edge.family)
        diary.watch_ring(ring, "writer")
        add = pool._add

        def watched(arena, number, kept):
            add(arena, number, kept)
            diary.watch_arena(arena)

        pool._add = watched
        said = diary.of(lambda: (pool.adopt(), SendEnd(ring, pool, edge.here, edge.there, edge.options)))
        positions = [n for n, line in enumerate(said) if line.split()[1] in {"HEAD", "ACK", "EVICT", "CLAIM"}]
        assert {said[n] for n in positions} >= {"load HEAD", "load ACK"}
        assert said.count("load CLAIM") == (1 if policy is Policy.DROP_OLDEST else 0)
        # The bytes that are looked at for what is wanted, each before its sequence; not those that say what is free.
        judged = [n for n, line in enumerate(said) if line == "load sequence"]
        assert judged
        assert max(positions) < min(judged)
        assert pool.slabs_in_use == 1
        pool.close()


def test_a_lease_whose_record_was_never_published_is_free_again():
    """A writer that dies between the byte and HEAD leaves a slab that nobody will ever release."""
    with open_edge() as edge:
        edge.sender.offer(message(0, LARGE))
        slab = edge.pool.place(unsent := message(1, LARGE), unsent.payload)
        slab.hand_over(0, edge.sender.ring.head)
        pool = SlabPool(edge.family)
        pool.adopt()
        SendEnd(Ring(edge.ring.segment), pool, edge.here, edge.there, edge.options)
        assert pool.slabs_in_use == 1
        pool.close()


@POLICIES
def test_a_view_is_released_in_a_parent_only(policy):
    """A child that drops its copy of a view does not free the slab under its parent."""
    with open_edge(policy=policy) as edge:
        edge.sender.offer(message(3, LARGE))
        record = edge.receiver.take()
        edge.receiver.acknowledge()

        def drop():
            nonlocal record
            record = None
            gc.collect()
            assert edge.receiver.held == 0

        with forked(drop):
            pass
        assert edge.pool.slabs_in_use == 1
        assert number_of(record) == 3
        del record
        assert edge.pool.slabs_in_use == 0


def test_a_view_that_dies_stores_one_byte(diary):
    """The callback takes no lock and touches nothing else of shared memory."""
    with open_edge() as edge:
        edge.pass_on(1, LARGE)
        diary.watch_arena(edge.arenas._arenas[0])
        edge.sender.offer(message(2, LARGE))
        record = edge.receiver.take()
        edge.receiver.acknowledge()
        lanes = [slab.arena.view[slab._lanes_at] for slab in edge.pool._slabs.values()]
        assert lanes.count(PUBLISHED) == 1

        def drop():
            nonlocal record
            record = None

        assert diary.of(drop) == ["fence stores", "store byte"]
        assert {slab.arena.view[slab._lanes_at] for slab in edge.pool._slabs.values()} == {FREE}


# Machines that reorder stores


def test_on_a_weak_machine_every_publication_and_acknowledgement_rings(diary, weak):
    """Nobody says that it waits, and all the same there is a ring for each record, for the end and for each ACK."""
    for policy in (Policy.BLOCK, Policy.DROP_OLDEST):
        with open_edge(policy=policy, diary=diary) as edge:
            for _ in range(3):
                assert diary.of(lambda: edge.sender.offer(with_tail())).count("ring reader") == 1
                edge.receiver.take()
                assert diary.of(edge.receiver.acknowledge).count("ring writer") == 1
            assert diary.of(edge.sender.end).count("ring reader") == 1


def test_on_a_weak_machine_publications_are_fenced_on_both_sides(diary, weak):
    """Between the record and HEAD, between HEAD and the record, between the last read and ACK, and behind that."""
    with open_edge(1, diary=diary) as edge:
        edge.pass_on()
        said = diary.of(lambda: edge.sender.offer(with_tail()))
        slot = said.index("store header")
        assert said[:slot] == ["load ACK", "fence stores", "load READER_LOST"]
        assert said[slot:] == [*WRITTEN[:4], "fence stores", *WRITTEN[4:], "ring reader"]
        look = ["load STALE_BELOW", "fence stores", "load HEAD", "fence stores"]
        assert diary.of(edge.receiver.take)[:6] == [*look, "load GROWN_AT", "load header"]
        said = diary.of(edge.receiver.acknowledge)
        assert said == ["fence stores", "store ACK", "fence", "load WRITER_WAITING", "ring writer"]


def test_the_fence_of_stores_is_two_locks_where_it_is_needed_and_nothing_elsewhere(monkeypatch):
    """One would let accesses move into it from both sides, and meet."""
    locks = []
    monkeypatch.setattr(fence, "fence", lambda: locks.append(1))
    for weak, count in ((False, 0), (True, 2)):
        monkeypatch.setattr(fence, "WEAK_ORDER", weak)
        locks.clear()
        fence.fence_stores()
        assert len(locks) == count


# The fence itself


def test_with_a_fence_one_of_two_processes_sees_the_other():
    """Dekker: each stores its word and looks at the other's, 500 000 times; never do both miss the other's store."""
    rounds = 500_000
    shared = mmap.mmap(-1, 4096 + 2 * 8 * (rounds + 2))
    words = memoryview(shared)[:4096].cast("Q")
    seen = [np.frombuffer(shared, np.uint64, rounds + 2, 4096 + side * 8 * (rounds + 2)) for side in range(2)]

    def play(mine, its, log):
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {processors[mine // 16 % len(processors)]})
        words[mine + 2] = 1
        while not words[its + 2]:
            os.sched_yield()
        notes, order = memoryview(log), fence.fence
        for number in range(1, rounds + 1):
            words[mine] = number
            order()
            notes[number] = words[its]

    with forked(lambda: play(0, 16, seen[0])), forked(lambda: play(16, 0, seen[1])):
        pass
    # Who saw `other` had stored `number` before: whoever stores `other + 1` must see at least `number`.
    for one, two in ((seen[0], seen[1]), (seen[1], seen[0])):
        numbers = np.arange(1, rounds + 1, dtype=np.uint64)
        after = one[1:-1] + 1
        known = after <= rounds
        missed = two[after[known]] < numbers[known]
        assert not missed.any(), f"{missed.sum()} of {rounds} rounds"
    words.release()


def interrupted_fences():
    """Fence while signal handlers, callbacks of the collector and of weak references do so too."""
    here = []

    class Thing:
        pass

    def note(*_):
        fence.fence()
        fence.fence_stores()
        here.append(1)

    signal.signal(signal.SIGALRM, note)
    signal.setitimer(signal.ITIMER_REAL, 20e-6, 20e-6)
    gc.callbacks.append(note)
    gc.set_threshold(20, 1000, 1000)
    rounds = 0
    while rounds < 10_000 or len(here) < 1_000:
        thing = Thing()
        thing.itself = thing
        watch = weakref.ref(thing, note)
        del thing
        fence.fence()
        fence.fresh_lock().acquire()
        del watch
        rounds += 1
    signal.setitimer(signal.ITIMER_REAL, 0)


def test_a_fence_may_be_interrupted_by_another():
    """A lock that is shared would be held when a handler or a callback comes for it, and wait for itself for ever."""
    with forked(interrupted_fences, deadline_s=20):
        pass


def test_an_end_may_be_interrupted_by_another():
    """Publishing and acknowledging, too, while a signal handler does so on another edge."""

    def child():
        with open_edge() as one, open_edge() as two:
            came, busy = [], []

            def strike(*_):
                if not busy:  # handlers interrupt each other, and an end is used by one at a time
                    busy.append(1)
                    two.pass_on()
                    came.append(busy.pop())

            signal.signal(signal.SIGALRM, strike)
            signal.setitimer(signal.ITIMER_REAL, 50e-6, 50e-6)
            while len(came) < 300:
                one.pass_on()
            signal.setitimer(signal.ITIMER_REAL, 0)

    with forked(child, deadline_s=20):
        pass


def test_the_lost_flags_are_read_before_the_last_look_at_head(diary):
    """What a writer published before it died is received before its loss is told."""
    with open_edge(diary=diary) as edge:

        def die(line):
            if line == ("load", "WRITER_LOST"):
                diary.before = None
                edge.sender.offer(message(4))
                edge.ring.writer_lost()

        diary.before = die
        assert edge.receiver.take() is None
        assert number_of(edge.receiver.take()) == 4
        with pytest.raises(PeerLost):
            edge.receiver.take()
