"""Depots: payloads handed over by number, to one of many; and what is left when somebody dies."""

import os
import threading

import pytest

from penstock.shm.depot import Depot, Redeemer
from penstock.shm.errors import ChannelClosed, SharedMemoryError, UnknownReference
from penstock.shm.record import Outgoing

SECRET = 7


@pytest.fixture
def depot():
    depot = Depot("a test")
    yield depot
    depot.close()


def publish(depot, payload, tail=b""):
    return depot.publish(Outgoing(payload, tail=tail, correlation=SECRET, timestamp_ns=-5))


@pytest.mark.parametrize("size", [0, 1, 4095, 16384 - 128, 16384, (1 << 20) + 1])
@pytest.mark.parametrize("own", [True, False])
def test_a_message_is_handed_over(depot, size, own):
    """Whole, with its tail and its time, whether the redeemer is at home or comes from outside."""
    payload = os.urandom(size)
    number = publish(depot, payload, b"tail")
    record = Redeemer("test", 4).redeem(number, SECRET, depot if own else None)
    assert (bytes(record.payload), record.tail, record.timestamp_ns) == (payload, b"tail", -5)
    assert depot.slabs_in_use == 1
    del record
    assert depot.slabs_in_use == 0


def test_the_secret_is_asked_for(depot):
    """Without it nothing is redeemed, and nothing is lost."""
    number = publish(depot, b"payload")
    for own in (depot, None):
        with pytest.raises(UnknownReference):
            Redeemer("test", 4).redeem(number, SECRET + 1, own)
    assert bytes(Redeemer("test", 4).redeem(number, SECRET).payload) == b"payload"


def test_threads_that_race_redeem_once_each(depot):
    """The lock is one of open files, so it holds between threads, too."""
    numbers = [publish(depot, bytes([n])) for n in range(200)]
    got = [[], [], []]
    start = threading.Barrier(3)

    def race(mine):
        redeemer = Redeemer("test", 1000)
        start.wait()
        for number in numbers:
            try:
                mine.append(redeemer.redeem(number, SECRET).payload[0])
            except UnknownReference:
                continue

    threads = [threading.Thread(target=race, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sum(got, [])) == list(range(200))
    assert depot.slabs_in_use == 0


def test_the_number_of_views_is_bounded(depot):
    """Beyond it, payloads are copies, which hold no slab."""
    redeemer = Redeemer("test", 2)
    kept = [redeemer.redeem(publish(depot, bytes([n])), SECRET) for n in range(5)]
    assert (redeemer.held, depot.slabs_in_use) == (2, 2)
    assert [record.payload[0] for record in kept] == [0, 1, 2, 3, 4]


def test_a_closed_depot_hands_out_nothing(depot):
    """A view that somebody has stays valid."""
    held = Redeemer("test", 4).redeem(publish(depot, b"held"), SECRET)
    number = publish(depot, b"never redeemed")
    for _ in range(2):
        depot.close()
    for own in (depot, None):
        with pytest.raises(UnknownReference):
            Redeemer("test", 4).redeem(number, SECRET, own)
    with pytest.raises(ChannelClosed):
        publish(depot, b"late")
    assert bytes(held.payload) == b"held"


def test_a_forked_child_publishes_nothing(depot):
    """A depot belongs to the process that made it: the child would write over its parent's slabs."""
    number = publish(depot, b"parent")
    child = os.fork()
    if not child:
        try:
            publish(depot, b"child")
        except ChannelClosed:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert bytes(Redeemer("test", 4).redeem(number, SECRET).payload) == b"parent"


def test_a_reader_that_dies_keeps_its_slab_and_no_lock(depot):
    """Its slab is not used again before the depot is closed; all the others are."""
    number, other = publish(depot, b"one"), publish(depot, b"other")
    child = os.fork()
    if not child:
        record = Redeemer("test", 4).redeem(number, SECRET)
        os._exit(0 if record.payload == b"one" else 1)
    assert os.waitpid(child, 0)[1] == 0
    with pytest.raises(UnknownReference):
        Redeemer("test", 4).redeem(number, SECRET)
    Redeemer("test", 4).redeem(other, SECRET)
    assert depot.slabs_in_use == 1


@pytest.mark.parametrize("number", [-1, 0, 1 << 64, 1 << 96, 1 << 160, 1 << 1000])
def test_a_number_that_is_none(depot, number):
    with pytest.raises(SharedMemoryError):
        Redeemer("test", 4).redeem(number, SECRET, depot)
