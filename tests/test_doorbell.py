"""Doorbells: a ring is never lost and never blocks, whoever waits and whoever is cancelled."""

import os
import random
import select
import threading

import pytest
import trio
import trio.testing

from penstock.shm.doorbell import Doorbell
from penstock.shm.errors import Interrupted
from penstock.shm.trio_doorbell import TrioDoorbell

KINDS = [
    pytest.param(True, id="eventfd", marks=pytest.mark.skipif(not hasattr(os, "eventfd"), reason="has none")),
    False,
]


@pytest.fixture(params=KINDS)
def bell(request):
    with Doorbell.create(eventfd=request.param) as bell:
        yield bell


def test_a_ring_before_the_wait_is_heard(bell):
    """Once, whatever the number of rings; then there is nothing more."""
    assert not bell.wait(0)
    for _ in range(3):
        bell.ring()
    assert bell.wait(0)
    assert not bell.wait(0)


def test_a_ring_ends_the_wait_of_another_thread(bell):
    """Waiting ends in the kernel, and the ring wakes it."""
    heard = []
    thread = threading.Thread(target=lambda: heard.append(bell.wait(30)))
    thread.start()
    bell.ring()
    thread.join(30)
    assert heard == [True]


def test_a_wait_ends_in_time(bell):
    """Nobody rings: the answer is no."""
    assert bell.wait(0.001) is False
    assert bell.wait(-1) is False


def test_a_drained_bell_is_silent(bell):
    """Draining forgets the rings so far, and does not wait for more."""
    bell.drain()
    bell.ring()
    bell.drain()
    assert not bell.wait(0)


def test_a_saturated_bell_never_blocks_and_is_still_rung(bell):
    """A peer that does not listen can not freeze who rings; a full bell drains to silence."""
    _, ring_fd = bell.fds
    if bell.fds[0] == ring_fd:
        os.write(ring_fd, (2**64 - 2).to_bytes(8, "little"))
    else:
        with pytest.raises(BlockingIOError):
            while True:
                os.write(ring_fd, bytes(4096))
    with pytest.raises(BlockingIOError):
        os.write(ring_fd, (1).to_bytes(8, "little"))
    bell.ring()
    assert bell.wait(0)
    assert not bell.wait(0)
    bell.ring()
    assert bell.wait(0)


def test_an_interrupt_ends_this_wait_and_all_later_ones(bell):
    """Before the wait, and during it from another thread; the bell rings no other way afterwards."""
    ended = []

    def wait():
        try:
            bell.wait()
        except Interrupted:
            ended.append(True)

    thread = threading.Thread(target=wait)
    thread.start()
    bell.interrupt()
    thread.join(30)
    assert ended == [True]
    for timeout in (None, 0):
        with pytest.raises(Interrupted):
            bell.wait(timeout)


def test_a_closed_bell_is_silent():
    """Whoever rings it has nobody to wake; closing again is fine."""
    for eventfd in (hasattr(os, "eventfd"), False):
        bell = Doorbell.create(eventfd=eventfd)
        bell.close()
        bell.close()
        bell.ring()
        assert bell.fds == (-1, -1)


def test_its_descriptors_are_all_that_another_process_needs(bell):
    """A bell over the same descriptors rings the first; they are not inherited by accident."""
    other = Doorbell(*map(os.dup, bell.fds))
    other.ring()
    assert bell.wait(0)
    other.close()
    assert not any(map(os.get_inheritable, bell.fds))
    assert not any(map(os.get_blocking, bell.fds))


def test_a_forked_child_rings_its_parent(bell):
    """Across processes."""
    child = os.fork()
    if child == 0:
        bell.ring()
        os._exit(0)
    try:
        assert bell.wait(30)
    finally:
        os.waitpid(child, 0)


@pytest.mark.parametrize("eventfd", KINDS)
async def test_a_trio_program_waits_for_its_bell(eventfd):
    """`until` returns at once when there is nothing to wait for, and otherwise after a ring that made it true."""
    said = []
    with TrioDoorbell.create(eventfd=eventfd) as bell:
        await bell.until(lambda: True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bell.until, lambda: bool(said))
            await trio.testing.wait_all_tasks_blocked()
            bell.ring()  # for another reason
            await trio.testing.wait_all_tasks_blocked()
            assert nursery.child_tasks
            said.append(True)
            bell.ring()


async def test_one_ring_wakes_all_whose_condition_came_true():
    """The leader, followers, and none of the others."""
    said, done = set(), []
    with TrioDoorbell.create() as bell:

        async def wait(number):
            await bell.until(lambda: number in said)
            done.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(wait, number)
            await trio.testing.wait_all_tasks_blocked()
            for news in ({1, 4}, {0}, {5, 2}, {3}):
                said |= news
                bell.ring()
                await trio.testing.wait_all_tasks_blocked()
                assert set(done) == said


@pytest.mark.parametrize("first", [True, False])
async def test_a_cancelled_waiter_hands_over(first):
    """The leader, or a follower, is cancelled: the others still hear the next ring."""
    said, done = [], []
    with TrioDoorbell.create() as bell:

        async def wait(scope):
            with scope:
                await bell.until(lambda: bool(said))
                done.append(scope)

        scopes = [trio.CancelScope() for _ in range(4)]
        async with trio.open_nursery() as nursery:
            for scope in scopes:
                nursery.start_soon(wait, scope)
            await trio.testing.wait_all_tasks_blocked()
            for scope in scopes[:2] if first else scopes[2:]:
                scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            said.append(True)
            bell.ring()
    assert len(done) == 2


async def test_a_leader_that_is_cancelled_as_the_bell_rings_loses_no_news():
    """Both happen before either task runs again: whoever is left still finds the condition true."""
    for _ in range(50):
        said, done = [], []
        with TrioDoorbell.create() as bell:

            async def wait(scope, said=said, done=done, bell=bell):
                with scope:
                    await bell.until(lambda: bool(said))
                    done.append(scope)

            scopes = [trio.CancelScope() for _ in range(3)]
            async with trio.open_nursery() as nursery:
                for scope in scopes:
                    nursery.start_soon(wait, scope)
                await trio.testing.wait_all_tasks_blocked()
                said.append(True)
                bell.ring()
                scopes[0].cancel()
        assert {scope.cancelled_caught for scope in scopes if scope not in done} <= {True}
        assert len(done) >= 2


@pytest.mark.parametrize("seed", range(8))
async def test_no_wake_up_is_lost_whatever_is_cancelled(seed):
    """Forty tasks wait for their own news while others are cancelled at random; a thread brings the news and rings."""
    rng = random.Random(seed)
    said, order = set(), list(range(40))
    rng.shuffle(order)
    done = []
    with TrioDoorbell.create(eventfd=bool(seed % 2) and hasattr(os, "eventfd")) as bell:

        async def wait(number):
            while number not in done:
                patience = rng.choice([0, 0.0005, 0.002, 60])
                with trio.move_on_after(patience):
                    await bell.until(lambda: number in said)
                    done.append(number)

        def bring():
            for number in order:
                said.add(number)
                bell.ring()
                if rng.random() < 0.5:
                    select.select([], [], [], 0.0005)  # so that some rings coalesce and others do not

        async with trio.open_nursery() as nursery:
            for number in order:
                nursery.start_soon(wait, number)
            await trio.to_thread.run_sync(bring)
    assert sorted(done) == list(range(40))
