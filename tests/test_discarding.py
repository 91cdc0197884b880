"""What a reader discards, as it is too old or stale: nobody gets it, it is counted, and its slab goes back at once."""

from __future__ import annotations

import time

import pytest
from edges import LARGE, message, number_of, open_edge
from traced import POLICIES

from penstock.engine.local_edge import LocalEdge
from penstock.executors.contract import EndOfStream, RuntimeData
from penstock.shm.errors import CorruptSegment, EndOfChannel
from penstock.shm.ring import Policy, Word

AGE_S = 0.02


def numbers(receiver):
    """Everything that a reader is given now; acknowledged one by one."""
    found = []
    while (record := receiver.take()) is not None:
        found.append(number_of(record))
        del record
        receiver.acknowledge()
    return found


def account(edge):
    seen = edge.ring.statistics()
    assert seen.sent == seen.received + seen.dropped + seen.in_flight
    return seen.received, seen.dropped, seen.in_flight


@POLICIES
@pytest.mark.parametrize("nbytes", [8, LARGE])
def test_what_is_interrupted_is_discarded_and_what_follows_is_not(policy, nbytes):
    """Records below STALE_BELOW are dropped when the reader looks, also those of which it knew; so go their slabs."""
    with open_edge(8, policy) as edge:
        for number in range(5):
            edge.sender.send_nowait(message(number, nbytes))
        assert number_of(edge.receiver.take()) == 0
        edge.receiver.acknowledge()
        edge.ring.interrupt()
        for number in (5, 6):
            edge.sender.send_nowait(message(number, nbytes))
        assert account(edge) == (1, 0, 6)
        assert numbers(edge.receiver) == [5, 6]
        assert account(edge) == (3, 4, 0)
        edge.sender.send_nowait(message(7))  # a ring that drops is told by its writer
        assert edge.pool.slabs_in_use == 0


@POLICIES
@pytest.mark.parametrize("nbytes", [8, LARGE])
def test_what_waited_for_too_long_is_discarded(policy, nbytes):
    """The age is that since the record was published on this edge, looked at when the reader would take it."""
    with open_edge(8, policy, max_age_s=AGE_S) as edge:
        for number in range(4):
            edge.sender.send_nowait(message(number, nbytes))
        time.sleep(2 * AGE_S)
        assert edge.receiver.take() is None
        assert account(edge) == (0, 4, 0)
        edge.sender.end()
        with pytest.raises(EndOfChannel):
            edge.receiver.take()
        assert edge.pool.slabs_in_use == 0 or policy is Policy.DROP_OLDEST


def test_each_record_is_looked_at_when_it_would_be_taken():
    """One that was young when the reader learned of it is old when its turn comes."""
    with open_edge(8, max_age_s=5 * AGE_S) as edge:
        for number in range(3):
            edge.sender.send_nowait(message(number))
        assert number_of(edge.receiver.take()) == 0
        time.sleep(10 * AGE_S)
        edge.receiver.acknowledge()
        assert edge.receiver.take() is None
        assert account(edge) == (1, 2, 0)


@pytest.mark.parametrize("nbytes", [8, LARGE])
def test_what_is_discarded_behind_records_in_hand_waits_for_them(nbytes):
    """The ring is acknowledged in its order: two in hand, two discarded, one in hand; a slab goes back in its turn."""
    with open_edge(8) as edge:
        for number in range(4):
            edge.sender.send_nowait(message(number, nbytes))
        taken = [edge.receiver.take() for _ in range(2)]
        edge.ring.interrupt()
        edge.sender.send_nowait(message(4, nbytes))
        last = edge.receiver.take()
        assert [number_of(record) for record in (*taken, last)] == [0, 1, 4]
        assert account(edge) == (0, 0, 5)
        taken.clear()
        edge.receiver.acknowledge()
        assert account(edge) == (1, 0, 4)
        edge.receiver.acknowledge()
        assert account(edge) == (2, 2, 1)
        assert edge.pool.slabs_in_use == (1 if nbytes == LARGE else 0)
        del last
        edge.receiver.acknowledge()
        assert account(edge) == (3, 2, 0)
        assert edge.pool.slabs_in_use == 0


def test_a_writer_that_waits_is_rung_when_its_records_are_discarded():
    """A discard makes room as an acknowledgement does."""
    with open_edge(2) as edge:
        for number in range(2):
            edge.sender.send_nowait(message(number))
        edge.sender.ready(8)
        edge.sender.arm()
        edge.ring.interrupt()
        assert edge.receiver.take() is None
        assert edge.here.wait(0)
        assert edge.sender.ready(8)


class Died(Exception):
    """Instead of SIGKILL."""


class Mortal:
    """Words whose writer dies before its n-th store."""

    def __init__(self, real, lives):
        self.real, self.lives = real, lives

    def __getitem__(self, index):
        return self.real[index]

    def __setitem__(self, index, value):
        if not self.lives:
            raise Died
        self.lives -= 1
        self.real[index] = value


@POLICIES
@pytest.mark.parametrize("lives", range(40))
def test_whoever_dies_in_a_discard_leaves_an_exact_account(policy, lives):
    """Between any two stores: what was given and acknowledged is received, once; the rest is dropped or in flight."""
    with open_edge(8, policy) as edge:
        given = []

        def work(receiver, stale):
            while (record := receiver.take()) is not None:
                number = number_of(record)
                if number in stale:
                    pytest.fail(f"{number} is stale")
                del record
                before = edge.ring.statistics().received
                try:
                    receiver.acknowledge()
                finally:
                    if edge.ring.statistics().received > before:
                        given.append(number)

        stale = set()
        for first in (0, 5):
            for number in range(first, first + 3):
                edge.sender.send_nowait(message(number))
                stale.add(number)
            edge.ring.interrupt()
            for number in (first + 3, first + 4):
                edge.sender.send_nowait(message(number))
            receiver = edge.another_receiver() if first else edge.receiver
            receiver.ring.words = receiver._words = Mortal(edge.ring.words, lives)
            try:
                work(receiver, stale)
            except Died:
                received, dropped, _ = account(edge)
                assert (received, dropped <= len(stale)) == (len(given), True)
                work(edge.another_receiver(), stale)
            assert account(edge) == (len(given), len(stale), 0)
        assert given == [3, 4, 8, 9]


@POLICIES
def test_what_a_predecessor_had_in_hand_is_not_discarded(policy):
    """A successor that has to take it again gets it, old and stale as it is; what follows is discarded."""
    with open_edge(4, policy, max_age_s=AGE_S) as edge:
        for number in range(3):
            edge.sender.send_nowait(message(number))
        assert number_of(edge.receiver.take()) == 0
        edge.ring.interrupt()
        time.sleep(2 * AGE_S)
        successor = edge.another_receiver()
        assert number_of(successor.take_again(0)) == 0
        successor.acknowledge()
        assert successor.take() is None
        assert account(edge) == (1, 2, 0)


@pytest.mark.parametrize(("word", "value"), [(Word.STALE_BELOW, 9), (Word.DISCARDED, 9)])
def test_nonsense_in_the_words_of_discards_is_refused(word, value):
    """More stale than was published, more discarded than acknowledged."""
    with open_edge(4) as edge:
        edge.sender.send_nowait(message(0))
        edge.ring.words[word] = value
        with pytest.raises(CorruptSegment):
            edge.another_receiver().take()


# The same inside one process


async def test_a_local_edge_drops_what_is_old_or_interrupted():
    """And whoever waits for room goes on."""
    edge = LocalEdge("a -> b", 4, 1 << 20, None, max_age_s=AGE_S)
    for number in range(3):
        await edge.send(RuntimeData.json(number))
    time.sleep(2 * AGE_S)
    await edge.send(RuntimeData.json(3))
    assert (await edge.receive()).as_json() == 3
    seen = edge.statistics()
    assert (seen.sent, seen.received, seen.dropped, seen.in_flight) == (4, 0, 3, 1)
    for number in range(4, 7):
        await edge.send(RuntimeData.json(number))
    edge.interrupt()
    edge.acknowledge()
    edge.end()
    with pytest.raises(EndOfStream):
        await edge.receive()
    seen = edge.statistics()
    assert (seen.sent, seen.received, seen.dropped, seen.in_flight) == (7, 0, 7, 0)  # what was in hand is cut off, too
