"""Waiting for a peer: wake-ups that could be lost, spins that must not be, batches, deadlines."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import trio
import trio.testing
from edges import message, number_of
from traced import POLICIES, forked, open_edge

from penstock.executors.multiprocess import wiring
from penstock.executors.multiprocess.wiring import Wiring
from penstock.shm import blocking, trio_doorbell
from penstock.shm.arena import ArenaMap
from penstock.shm.blocking import Receiver, Sender
from penstock.shm.doorbell import Doorbell
from penstock.shm.errors import PeerLost, SendTimeout
from penstock.shm.patience import Patience
from penstock.shm.ring import Policy, Ring, Word
from penstock.shm.slab import SlabPool
from penstock.shm.trio_channel import TrioReceiver, TrioSender
from penstock.shm.trio_doorbell import TrioDoorbell

IN_TRIO = {"kinds": (TrioSender, TrioReceiver), "bell": TrioDoorbell}
BLOCKING = {"kinds": (Sender, Receiver)}


# A peer that dies between its store and its bell


class _Silent:
    """A bell that its ringer does not live to ring."""

    @staticmethod
    def ring():
        os.kill(os.getpid(), signal.SIGKILL)


@POLICIES
async def test_a_reader_is_woken_though_its_writer_died_before_it_rang(policy):
    """HEAD is stored, and SIGKILL strikes: `Wiring.lost` wakes the engine, which gets the record and then the loss."""
    with Wiring("a test") as wires:
        party = wires.party("worker")
        link = wires.link("a -> b", party, wires.engine, capacity=2, policy=policy)
        receiver = wires.receiver(link)
        came = []

        async def receive():
            with pytest.raises(PeerLost):
                while True:
                    came.append(number_of(await receiver.receive()))
                    receiver.acknowledge()

        def write_and_die():
            ring = Ring(link.ring.segment)
            Sender(ring, SlabPool(party.family), party.bell, _Silent, link.options).send(message(5))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            with forked(write_and_die):
                pass
            assert link.ring.words[Word.HEAD] == 1
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert came == []  # asleep on a ring with a record in it
            wires.lost(party)
        assert came == [5]


async def test_a_writer_is_woken_though_its_reader_died_before_it_rang():
    """ACK is stored, and SIGKILL strikes: the engine that waits for room hears of the loss."""
    with Wiring("a test") as wires:
        party = wires.party("worker")
        link = wires.link("a -> b", wires.engine, party, capacity=1)
        sender = wires.sender(link)
        await sender.send(message(1))

        def acknowledge_and_die():
            ring, arenas = Ring(link.ring.segment), ArenaMap(wires.engine.family)
            receiver = Receiver(ring, arenas, party.bell, _Silent, link.options)
            receiver.receive()
            receiver.acknowledge()

        woken = []

        async def send():
            with pytest.raises(PeerLost):
                await sender.send(message(2))
            woken.append(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            with forked(acknowledge_and_die):
                pass
            assert link.ring.words[Word.ACK] == 1
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert woken == []  # asleep though there is room
            wires.lost(party)
        assert woken == [1]


def test_everyone_beside_a_lost_process_is_told_and_rung():
    """Readers of its rings and writers into them; and nobody else."""
    with Wiring("a test") as wires:
        one, lost, two, other = (wires.party(name) for name in ("one", "lost", "two", "other"))
        before, behind = wires.link("1", one, lost), wires.link("2", lost, two)
        wires.link("3", one, other)
        wires.lost(lost)
        assert before.statistics().reader_lost
        assert behind.statistics().writer_lost
        assert [party.bell.wait(0) for party in (one, two, other, lost)] == [True, True, False, False]


# Spinning in trio


def spinner():
    """Somebody for whom spinning pays."""
    return Patience("spin")


async def test_one_task_of_a_bell_spins_at_a_time(monkeypatch):
    """Two that wait for ever look by turns at nothing: the second one sleeps at once."""
    spins = []
    real = TrioDoorbell._spin

    async def counted(bell, ready, end_ns):
        spins.append(bell._spinning)
        return await real(bell, ready, end_ns)

    monkeypatch.setattr(TrioDoorbell, "_spin", counted)
    monkeypatch.setattr(trio_doorbell, "_BUSY_NS", 1 << 60)
    with TrioDoorbell.create() as bell, trio.move_on_after(0.05):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(bell.until, lambda: False, spinner())
    assert spins == [False]


async def test_a_spin_ends_when_somebody_else_has_work_to_do(monkeypatch):
    """One turn, and a schedule point that ran others: it goes to sleep though its time is not over."""
    monkeypatch.setattr(trio_doorbell, "_BUSY_NS", -1)  # as if every schedule point ran somebody
    patience, looks = spinner(), []
    patience.limit_ns = 60_000_000_000
    with TrioDoorbell.create() as bell, trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bell.until, lambda: looks.append(1), patience)
            await trio.testing.wait_all_tasks_blocked()  # never, if it spun on
            assert looks
            assert not bell._spinning
            nursery.cancel_scope.cancel()


async def test_a_spin_lets_other_tasks_run_and_is_cancelled():
    """With a minute to spin for, others go on and a cancellation ends it; the bell is as good as new."""
    patience, turns = spinner(), []
    patience.limit_ns = 60_000_000_000
    said = []
    with TrioDoorbell.create() as bell:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bell.until, lambda: bool(said), patience)
            for _ in range(20):
                await trio.lowlevel.checkpoint()
                turns.append(bell._spinning)
            nursery.cancel_scope.cancel()
        assert len(turns) == 20
        assert not bell._spinning
        assert not bell._led
        said.append(1)
        await bell.until(lambda: bool(said), patience)


def test_nobody_spins_under_a_mock_clock(monkeypatch):
    """Its time moves on only when nothing runs, and a spin runs: a minute's timeout would never come."""

    async def spin(*_):
        pytest.fail("it spins")

    monkeypatch.setattr(TrioDoorbell, "_spin", spin)

    async def wait():
        with TrioDoorbell.create() as bell, trio.move_on_after(60) as scope:
            await bell.until(lambda: False, spinner())
        assert scope.cancelled_caught

    trio.run(wait, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("mode", ["sleep", "adaptive", "spin"])
async def test_the_first_wait_spins_only_when_it_is_told_to(monkeypatch, mode):
    """Of blocking and of trio receivers."""
    looks, spins = [], []

    async def spin(*_):
        spins.append(1)

    monkeypatch.setattr(TrioDoorbell, "_spin", spin)
    monkeypatch.setattr(blocking, "sched_yield", lambda: looks.append(1))
    with open_edge(wait=mode, **BLOCKING) as edge:
        edge.there.ring()
        blocking.wait_any(edge.there, [edge.receiver], edge.receiver.patience)
    with open_edge(wait=mode, **IN_TRIO) as edge:
        with trio.move_on_after(0.001):
            await edge.receiver.receive()
    assert (bool(looks), bool(spins)) == ((True, True) if mode == "spin" else (False, False))


@pytest.mark.parametrize(
    ("said", "processors", "wait"),
    [("adaptive", 1, "sleep"), ("adaptive", 1.5, "sleep"), ("adaptive", 2, "adaptive"), ("spin", 1, "spin")],
)
def test_who_has_one_processor_does_not_spin(monkeypatch, said, processors, wait):
    """Unless it was told to; engine and workers learn it from the link."""
    monkeypatch.setattr(wiring, "usable_processors", lambda: processors)
    with Wiring("a test", said) as wires:
        link = wires.link("a -> b", wires.engine, wires.party("worker"))
        assert link.writer_spec(None).wait == link.reader_spec(None).wait == link.options.wait == wait


@pytest.mark.parametrize("what", ["send", "receive"])
async def test_what_always_succeeds_at_once_lets_others_run(what):
    """At least once in 32 calls, from the first one on; trio runs who is due in any order, so 64 may lie between."""
    count, done, turns = 320, 0, []

    async def other():
        while True:
            turns.append(done)
            await trio.lowlevel.checkpoint()

    with open_edge(count, **IN_TRIO) as edge:
        if what == "receive":
            fill(edge)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for done in range(1, count + 1):
                await (edge.sender.send(message(done)) if what == "send" else edge.receiver.receive())
            assert max(later - earlier for earlier, later in zip([0, *turns], [*turns, count], strict=True)) <= 64
            nursery.cancel_scope.cancel()


# Batches


def fill(edge, first=0):
    number = first
    while edge.sender.offer(message(number)):
        number += 1
    return number


def test_a_reader_rings_when_the_target_is_reached_and_not_before():
    """A writer that wants three is left to sleep for two acknowledgements."""
    with open_edge(8) as edge:
        fill(edge)
        edge.sender._batch = 3
        edge.sender.arm()
        rings = []
        for _ in range(5):
            edge.receiver.take()
            edge.receiver.acknowledge()
            rings.append(edge.here.wait(0))
        assert rings == [False, False, True, True, True]
        edge.sender.disarm(0)
        edge.receiver.take()
        edge.receiver.acknowledge()
        assert not edge.here.wait(0)


@pytest.mark.parametrize("capacity", [1, 2, 3, 8])
def test_batches_grow_while_waits_are_short_and_never_beyond_half_of_the_ring(capacity):
    """And the target is never one that can not be reached."""
    with open_edge(capacity) as edge:
        sizes = []
        for _ in range(6):
            fill(edge)
            edge.sender.arm()
            sizes.append(edge.sender._batch)
            assert edge.ring.words[Word.WRITER_WAITING] <= edge.ring.words[Word.HEAD]
            edge.sender.disarm(0)
        assert sizes == [min(2**n, max(1, capacity // 2)) for n in range(6)]
        edge.sender.disarm(1 << 40)
        assert not edge.sender.asks_for_several


@pytest.mark.parametrize("in_trio", [False, True])
@pytest.mark.parametrize("window", [1, 5, 6, 7])
def test_a_reader_that_keeps_a_window_and_a_writer_that_wants_a_batch_get_on(in_trio, window):
    """The reader acknowledges one only after it has got another: fewer than the writer asks for, again and again."""
    count = 60
    with open_edge(8, **(IN_TRIO if in_trio else BLOCKING)) as edge:
        first = fill(edge)
        edge.sender._batch = 4

        def send():
            for number in range(first, count):
                edge.sender._batch = max(edge.sender._batch, 4 if number % 10 == 0 else 1)
                edge.sender.send(message(number))
            edge.sender.end()

        async def send_in_trio():
            for number in range(first, count):
                edge.sender._batch = max(edge.sender._batch, 4 if number % 10 == 0 else 1)
                await edge.sender.send(message(number))
            edge.sender.end()

        came, unacknowledged = [], 0

        def settle(record):
            nonlocal unacknowledged
            came.append(number_of(record))
            unacknowledged += 1
            if unacknowledged > window:
                edge.receiver.acknowledge()
                unacknowledged -= 1

        async def main():
            with trio.fail_after(30):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send_in_trio)
                    while len(came) < count:
                        settle(await edge.receiver.receive())

        if in_trio:
            trio.run(main)
        else:
            thread = threading.Thread(target=send, daemon=True)
            thread.start()
            while len(came) < count:
                settle(edge.receiver.receive())
            thread.join(30)
        assert came == list(range(count))


async def test_a_trio_writer_that_got_nothing_for_a_moment_asks_for_one():
    """Its target comes down, and the next acknowledgement wakes it."""
    with open_edge(8, **IN_TRIO) as edge, trio.fail_after(5):
        fill(edge)
        edge.sender._batch = 4
        async with trio.open_nursery() as nursery:
            nursery.start_soon(edge.sender.send, message(9))
            while edge.ring.words[Word.WRITER_WAITING] != 4:
                await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert edge.ring.words[Word.WRITER_WAITING] == 1
            edge.receiver.take()
            edge.receiver.acknowledge()


# Deadlines


def test_a_send_that_can_go_at_its_deadline_goes():
    """The bell was not rung in time, but there is room: there is nothing to complain of."""
    with open_edge(1, timeout_s=0.001, **BLOCKING) as edge:
        edge.sender.send(message(0))
        wait = edge.here.wait

        def late(timeout_s=None):
            rung = wait(timeout_s)
            edge.ring.words[Word.ACK] = 1
            return rung

        edge.here.wait = late
        edge.sender.send(message(1))
        assert edge.ring.statistics().sent == 2


@pytest.mark.parametrize("batch", [1, 2])
def test_a_deadline_passes_though_the_bell_never_stops_ringing(batch):
    """A worker's bell rings for its inputs too: what is no room for this edge does not put its deadline off."""
    with open_edge(4, timeout_s=0.02, **BLOCKING) as edge:
        fill(edge)
        edge.sender._batch = batch
        rings = []

        def rung(timeout_s=None):
            rings.append(1)
            if len(rings) > 200_000:
                raise AssertionError("it waits for ever")
            edge.sender._batch = batch
            return True

        edge.here.wait = rung
        with pytest.raises(SendTimeout):
            edge.sender.send(message(9))


@pytest.mark.parametrize("room", [True, False])
def test_a_trio_send_that_can_go_at_its_deadline_goes(room):
    """On a clock of the test's own: after exactly 60 s of waiting the last look decides."""

    async def main():
        with open_edge(1, timeout_s=60, **IN_TRIO) as edge:
            await edge.sender.send(message(0))

            async def make_room():
                await trio.sleep(59)
                edge.ring.words[Word.ACK] = 1  # and no ring

            async with trio.open_nursery() as nursery:
                if room:
                    nursery.start_soon(make_room)
                    await trio.testing.wait_all_tasks_blocked()
                    await edge.sender.send(message(1))
                else:
                    with pytest.raises(SendTimeout):
                        await edge.sender.send(message(1))
                assert trio.current_time() - start == 60
            assert edge.ring.statistics().sent == 1 + room

    clock = trio.testing.MockClock(autojump_threshold=0)
    start = clock.current_time()
    trio.run(main, clock=clock)


@pytest.mark.parametrize("policy", [Policy.DROP_NEWEST, Policy.DROP_OLDEST])
async def test_who_drops_never_waits(policy):
    """A full edge without a reader, and a sender in a process that blocks or in trio: every send returns."""
    for kinds in (BLOCKING, IN_TRIO):
        with open_edge(2, policy, **kinds) as edge:
            for number in range(20):
                sent = edge.sender.send(message(number))
                if sent is not None:
                    await sent
            statistics = edge.ring.statistics()
            assert (statistics.sent, statistics.dropped, statistics.in_flight) == (20, 18, 2)


def test_a_bell_does_not_block_its_ringer():
    """All of a wiring's bells are non-blocking, for who rings and for who waits."""
    with Wiring("a test") as wires:
        for bell in (wires.bell, wires.party("worker").bell, Doorbell(*map(os.dup, wires.bell.fds))):
            assert not any(map(os.get_blocking, bell.fds))
        bell.close()
