"""A ring that grows: by records and by bytes, found from the words alone by whoever comes after a crash."""

from __future__ import annotations

import os
import signal

import pytest
from edges import INLINE, LARGE, message, number_of, open_edge
from support import until
from traced import forked

from penstock.shm.blocking import Receiver, Sender
from penstock.shm.errors import CorruptSegment, GrowthRefused, OutOfSharedMemory
from penstock.shm.ring import LARGEST_GROWTH, Geometry, Policy, Ring, Word


def fill(edge, first):
    """Send until there is no room; the number of the message that did not fit."""
    number = first
    while edge.sender.offer(message(number)):
        number += 1
    return number


def taken(edge, count):
    numbers = []
    for _ in range(count):
        numbers.append(number_of(edge.receiver.receive_nowait()))
        edge.receiver.acknowledge()
    return numbers


def test_a_full_ring_that_grows_takes_twice_as_much_each_time():
    """What stands in the old region stays there, what follows stands in the new one; all is read in order."""
    with open_edge(4, growth=3) as edge:
        for capacity in (4, 8, 16, 32):
            assert fill(edge, edge.ring.statistics().sent) == capacity
            seen = edge.ring.statistics()
            assert (seen.capacity, seen.in_flight) == (capacity, capacity)
            if capacity < 32:
                assert edge.ring.grow() == 2 * capacity
        with pytest.raises(GrowthRefused, match="beyond 32"):
            edge.ring.grow()
        assert taken(edge, 32) == list(range(32))
        for number in range(32, 200):
            assert number_of(edge.pass_on(number)) == number


def test_it_may_grow_in_the_middle_of_everything():
    """Grown twice before its writer looks, with records in hand, at a position that is no multiple of anything."""
    with open_edge(3, growth=4) as edge:
        for number in range(7):
            edge.pass_on(number)
        assert fill(edge, 7) == 10
        held = [number_of(edge.receiver.receive_nowait()) for _ in range(2)]
        edge.ring.grow()
        edge.ring.grow()
        assert fill(edge, 10) == 19
        assert (*held, number_of(edge.receiver.receive_nowait())) == (7, 8, 9)
        assert number_of(edge.receiver.receive_nowait()) == 10
        for _ in range(4):
            edge.receiver.acknowledge()
        assert fill(edge, 19) == 23
        assert taken(edge, 12) == list(range(11, 23))


def test_the_bound_on_bytes_grows_too():
    """An edge that is full by bytes has room for as many bytes again."""
    with open_edge(8, growth=1, max_bytes=2 * LARGE) as edge:
        assert [edge.sender.offer(message(number, LARGE)) for number in range(3)] == [True, True, False]
        edge.ring.grow()
        assert [edge.sender.offer(message(number, LARGE)) for number in range(2, 5)] == [True, True, False]
        assert taken(edge, 1) == [0], "which frees as many bytes as it had"
        assert [edge.sender.offer(message(number, LARGE)) for number in range(4, 6)] == [True, False]
        assert taken(edge, 4) == [1, 2, 3, 4]


@pytest.mark.parametrize("behind", range(12))
def test_successors_find_a_grown_ring_from_its_words(behind):
    """Whoever takes over at any position: before the new region, at its beginning, in it."""
    with open_edge(4, growth=2) as edge:
        fill(edge, 0)
        edge.ring.grow()
        assert fill(edge, 4) == 8
        edge.ring.grow()
        assert fill(edge, 8) == 16
        assert taken(edge, behind) == list(range(behind))
        sender, receiver = edge.another_sender(), edge.another_receiver()
        assert (sender.ring.head, receiver.ring.next) == (16, behind)
        assert fill(edge, 16) == 16 + behind
        assert taken(edge, 16) == list(range(behind, 16 + behind))
        assert [number_of(edge.pass_on(n)) for n in range(16 + behind, 50)] == list(range(16 + behind, 50))


class Died(Exception):
    """Instead of SIGKILL."""


@pytest.mark.parametrize("lives", range(8))
def test_a_writer_that_dies_while_it_grows_leaves_a_ring_that_goes_on(lives):
    """Before GROWN_AT, between two of them, between GROWN_AT and HEAD: nothing is lost and nothing stands wrongly."""
    with open_edge(2, growth=2) as edge:
        fill(edge, 0)
        edge.ring.grow()
        edge.ring.grow()
        words = edge.ring.words

        class Mortal:
            left = lives

            def __getitem__(self, index):
                return words[index]

            def __setitem__(self, index, value):
                if not self.left:
                    raise Died
                self.left -= 1
                words[index] = value

        edge.sender.ring._words = Mortal()
        with pytest.raises(Died):
            for number in range(2, 8):
                edge.sender.offer(message(number))
        published = edge.ring.statistics().sent
        edge.another_sender()
        assert fill(edge, published) == 8
        edge.another_receiver()
        assert taken(edge, 8) == list(range(8))


@pytest.mark.parametrize("victim", ["writer", "reader"])
def test_growth_around_sigkill(victim):
    """A real process is killed on either side of the growth; its successor goes on, and each record comes in order."""
    count = 400
    with open_edge(2, growth=4, kinds=(Sender, Receiver)) as edge:

        def write():
            sender = edge.another_sender()
            for number in range(sender.ring.head, count):
                sender.send(message(number))

        def read():
            receiver = edge.another_receiver()
            while True:
                number = number_of(receiver.receive())
                assert number == receiver.ring.acknowledged
                receiver.acknowledge()

        other, end = (read, lambda seen: seen.received) if victim == "writer" else (write, lambda seen: seen.sent)
        body = write if victim == "writer" else read
        with forked(other) as neighbour:
            for step in range(1, 5):
                with forked(body) as pid:
                    until(lambda step=step: end(edge.ring.statistics()) >= 60 * step, "some have passed")
                    edge.ring.grow()
                    edge.here.ring()
                    until(lambda step=step: end(edge.ring.statistics()) >= 60 * step + 20, "some more have passed")
                    os.kill(pid, signal.SIGKILL)
            with forked(body) as last:
                until(lambda: edge.ring.statistics().received == count, "all have passed")
                for pid in {last, neighbour}:
                    os.kill(pid, signal.SIGKILL)
        assert edge.ring.statistics().capacity == 32


def test_a_ring_grows_only_where_there_is_memory(monkeypatch):
    """What can not be had is refused with figures, and the ring is as it was."""
    with open_edge(4, growth=1) as edge:

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OutOfSharedMemory, match="a ring of 8 records"):
            edge.ring.grow()
        monkeypatch.undo()
        assert edge.ring.statistics().capacity == 4
        assert edge.ring.grow() == 8


def test_a_reserve_takes_no_memory():
    """Only the first region is there before the ring grows."""
    with open_edge(64, growth=8) as edge:
        stat = os.stat(f"/dev/shm/{edge.ring.segment.name}")
        first = Geometry(64, INLINE).segment_bytes
        assert stat.st_blocks * 512 < first + 8192 < stat.st_size / 100
        edge.ring.grow()
        assert os.stat(f"/dev/shm/{edge.ring.segment.name}").st_blocks * 512 < 3 * first + 16384


def test_nonsense_about_growth_is_refused():
    """A region that is none, more growth than a ring has, growth of a ring that drops."""
    with open_edge(4, growth=1) as edge:
        fill(edge, 0)
        edge.ring.words[Word.GENERATION] = 2
        with pytest.raises(CorruptSegment, match="regions"):
            edge.sender.offer(message(4))
        edge.ring.words[Word.GENERATION] = 0
        edge.ring.words[Word.GROWN_AT + 1] = edge.ring.words[Word.GROWN_AT + 2] = 1
        with pytest.raises(CorruptSegment, match="regions"):
            edge.another_receiver()
            taken(edge, 2)
        for growth in (2, LARGEST_GROWTH + 1):
            edge.ring.words[Word.GROWTH] = growth
            with pytest.raises(CorruptSegment, match="not all of it"):
                Ring(edge.ring.segment)
    assert Geometry.fitting(4, Policy.DROP_OLDEST, 3).growth == 0
