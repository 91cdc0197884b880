"""Channels end to end: blocking and trio ends, bounds, ends and losses, between tasks, threads and processes."""

import contextlib
import os
import threading
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from penstock.shm.arena import ArenaMap
from penstock.shm.blocking import Receiver, Sender, wait_any
from penstock.shm.channel import EdgeOptions
from penstock.shm.doorbell import Doorbell
from penstock.shm.errors import ChannelClosed, EndOfChannel, Interrupted, PeerLost, SendTimeout, WouldBlock
from penstock.shm.owner import Owner
from penstock.shm.patience import Patience
from penstock.shm.record import Outgoing
from penstock.shm.ring import Geometry, Ring
from penstock.shm.segment import Segment
from penstock.shm.slab import SlabPool
from penstock.shm.trio_channel import TrioReceiver, TrioSender
from penstock.shm.trio_doorbell import TrioDoorbell

CAPACITY = 4
INLINE = 192


@dataclass
class Edge:
    """Both sides of a channel, and the ring that a supervisor would hold."""

    sender: Sender | TrioSender
    receiver: Receiver | TrioReceiver
    ring: Ring
    here: Doorbell
    there: Doorbell

    def lose_writer(self):
        self.ring.writer_lost()
        self.there.ring()

    def lose_reader(self):
        self.ring.reader_lost()
        self.here.ring()


@contextlib.contextmanager
def open_edge(*, in_trio=False, capacity=CAPACITY, timeout_s=None, max_bytes=64 << 20):
    sender, receiver, bell = (TrioSender, TrioReceiver, TrioDoorbell) if in_trio else (Sender, Receiver, Doorbell)
    with Owner() as owner, bell.create() as here, bell.create() as there:
        geometry = Geometry(capacity, INLINE)
        family = owner.family("a0")
        pool = SlabPool(family)
        ring = Ring.format(owner.create("r0", geometry.segment_bytes, what="a test"), geometry)
        options = EdgeOptions(name="a -> b", max_bytes=max_bytes, timeout_s=timeout_s)
        # The sides map the ring each for itself, as two processes do.
        other = Ring(Segment.attach(ring.segment.name))
        yield Edge(
            sender(ring, pool, here, there, options),
            receiver(other, ArenaMap(family), there, here, options),
            ring,
            here,
            there,
        )
        pool.close()


def message(number, nbytes=8):
    return Outgoing(number.to_bytes(8, "little") * (nbytes // 8))


def number_of(record):
    body = bytes(record.payload)
    assert body == body[:8] * (len(body) // 8)
    return int.from_bytes(body[:8], "little")


@pytest.fixture
def edge():
    with open_edge() as edge:
        yield edge


def test_messages_come_in_order_and_the_end_after_them(edge):
    """Inline ones and ones in slabs; then nothing but the end, again and again."""
    for number in range(CAPACITY):
        edge.sender.send(message(number, 8 if number % 2 else 20_000))
    edge.sender.end()
    edge.sender.end()
    for number in range(CAPACITY):
        assert number_of(edge.receiver.receive()) == number
        edge.receiver.acknowledge()
    for _ in range(2):
        with pytest.raises(EndOfChannel):
            edge.receiver.receive()


def test_nothing_is_sent_after_the_end(edge):
    """The caller's own mistake is `ChannelClosed`."""
    edge.sender.end()
    for send in (edge.sender.send, edge.sender.send_nowait):
        with pytest.raises(ChannelClosed):
            send(message(0))


def test_the_nowait_calls_do_not_wait(edge):
    """Nothing there, and no room."""
    with pytest.raises(WouldBlock):
        edge.receiver.receive_nowait()
    for number in range(CAPACITY):
        edge.sender.send_nowait(message(number))
    with pytest.raises(WouldBlock):
        edge.sender.send_nowait(message(9))


def test_only_an_acknowledgement_makes_room(edge):
    """What was received is still the reader's."""
    for number in range(CAPACITY):
        edge.sender.send(message(number))
    edge.receiver.receive()
    with pytest.raises(WouldBlock):
        edge.sender.send_nowait(message(9))
    edge.receiver.acknowledge()
    edge.sender.send_nowait(message(9))
    with pytest.raises(ChannelClosed, match="no record to acknowledge"):
        edge.receiver.acknowledge()


def test_a_send_without_room_times_out_and_has_sent_nothing():
    """R-BP-07, R-BP-08: the timeout is told, and what follows is what came after."""
    with open_edge(timeout_s=0.01) as edge:
        for number in range(CAPACITY):
            edge.sender.send(message(number))
        with pytest.raises(SendTimeout, match=r"no room within 0.01 s") as caught:
            edge.sender.send(message(99))
        assert caught.value.timeout_s == 0.01
        edge.receiver.receive()
        edge.receiver.acknowledge()
        edge.sender.send(message(CAPACITY))
        assert [number_of(edge.receiver.receive()) for _ in range(CAPACITY)] == [1, 2, 3, 4]


def test_bytes_are_bounded_and_a_larger_message_passes_alone():
    """`max_bytes` counts what is unacknowledged; one message beyond it waits for an empty edge, and then goes."""
    with open_edge(max_bytes=1000) as edge:
        edge.sender.send_nowait(message(0, 600))
        with pytest.raises(WouldBlock):
            edge.sender.send_nowait(message(1, 600))
        edge.sender.send_nowait(message(2, 400))
        with pytest.raises(WouldBlock):
            edge.sender.send_nowait(message(3, 80_000))
        for _ in range(2):
            edge.receiver.receive()
            edge.receiver.acknowledge()
        edge.sender.send_nowait(message(3, 80_000))
        with pytest.raises(WouldBlock):
            edge.sender.send_nowait(message(4, 8))
        assert number_of(edge.receiver.receive()) == 3


def test_slabs_are_used_again_and_again(edge):
    """Large messages whose views are dropped neither grow the writer's memory nor make the reader copy."""
    for number in range(200):
        edge.sender.send(message(number, 600_000))
        assert number_of(edge.receiver.receive()) == number
        edge.receiver.acknowledge()
    assert edge.sender.pool.arenas <= 2
    assert edge.receiver.copied == 0


def test_a_blocked_send_goes_on_when_there_is_room(edge):
    """Another thread makes it; thousands of times, no wake-up is lost."""
    count = 2_000

    def send():
        for number in range(count):
            edge.sender.send(message(number))
        edge.sender.end()

    thread = threading.Thread(target=send)
    thread.start()
    came = []
    with contextlib.suppress(EndOfChannel):
        while True:
            came.append(number_of(edge.receiver.receive()))
            edge.receiver.acknowledge()
    thread.join(30)
    assert came == list(range(count))


def test_a_reader_learns_of_a_lost_writer_after_what_it_sent(edge):
    """What was published is not lost with its writer."""
    edge.sender.send(message(1))
    edge.lose_writer()
    assert number_of(edge.receiver.receive()) == 1
    for _ in range(2):
        with pytest.raises(PeerLost, match="writes is gone"):
            edge.receiver.receive()


def test_a_writer_learns_of_a_lost_reader(edge):
    """As soon as it would have to wait for it."""
    with pytest.raises(PeerLost, match="reads is gone"):
        edge.lose_reader()
        for number in range(CAPACITY + 1):
            edge.sender.send(message(number))


@pytest.mark.parametrize("side", ["writer", "reader"])
def test_who_sleeps_is_woken_when_its_peer_is_lost(edge, side):
    """A thread that waits for news, or for room, hears of it."""
    errors = []

    def wait():
        try:
            if side == "writer":
                edge.receiver.receive()
            else:
                for number in range(CAPACITY + 1):
                    edge.sender.send(message(number))
        except PeerLost as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    edge.lose_writer() if side == "writer" else edge.lose_reader()
    thread.join(30)
    assert len(errors) == 1


def test_an_interrupt_ends_both_waits(edge):
    """SIGTERM in a worker: neither a receive nor a send goes on waiting."""
    for bell in (edge.here, edge.there):
        bell.interrupt()
    with pytest.raises(Interrupted):
        edge.receiver.receive()
    for number in range(CAPACITY):
        edge.sender.send(message(number))
    with pytest.raises(Interrupted):
        edge.sender.send(message(9))


def test_waiting_for_any_of_several_sees_each(edge):
    """One bell for two edges: whichever has news ends the wait."""
    with open_edge() as other:
        receivers = [edge.receiver, other.receiver]
        for ready in (edge, other):
            ready.sender.send(message(7))
            wait_any(edge.there, receivers, Patience())
            assert [receiver.ready() for receiver in receivers] == [ready is edge, ready is other]
            ready.receiver.receive()
            ready.receiver.acknowledge()


# In trio


async def test_trio_ends_pass_everything_in_order():
    """A sender that waits for room and a receiver that waits for news, in one program."""
    count = 500
    with open_edge(in_trio=True) as edge:

        async def send():
            for number in range(count):
                await edge.sender.send(message(number, 8 if number % 3 else 20_000))
            edge.sender.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            for number in range(count):
                assert number_of(await edge.receiver.receive()) == number
                edge.receiver.acknowledge()
            with pytest.raises(EndOfChannel):
                await edge.receiver.receive()


async def test_a_trio_sender_waits_for_room_and_times_out():
    """The block policy, with and without a deadline."""
    with open_edge(in_trio=True, timeout_s=0.01) as edge:
        for number in range(CAPACITY):
            await edge.sender.send(message(number))
        with pytest.raises(SendTimeout, match="no room within 0.01 s"):
            await edge.sender.send(message(99))
        for number in range(CAPACITY):
            assert number_of(await edge.receiver.receive()) == number
            edge.receiver.acknowledge()
        with pytest.raises(WouldBlock):
            edge.receiver.receive_nowait()


async def test_calls_that_need_not_wait_let_others_run():
    """Not each of them is a schedule point, but no task keeps the others waiting for long."""
    with open_edge(in_trio=True) as edge:
        turns = []

        async def other():
            while True:
                turns.append(len(came))
                await trio.lowlevel.checkpoint()

        came = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for number in range(200):
                await edge.sender.send(message(number))
                came.append(number_of(await edge.receiver.receive()))
                edge.receiver.acknowledge()
            nursery.cancel_scope.cancel()
        assert came == list(range(200))
        assert max(later - earlier for earlier, later in zip(turns, [*turns[1:], 200], strict=True)) <= 32


async def test_a_cancelled_call_has_done_nothing():
    """Neither sent nor received, whether it would have had to wait or not."""
    with open_edge(in_trio=True) as edge:
        with trio.CancelScope() as scope:
            scope.cancel()
            await edge.sender.send(message(99))
        with trio.move_on_after(0.005):
            await edge.receiver.receive()
        for number in range(CAPACITY):
            await edge.sender.send(message(number))
        with trio.move_on_after(0.005):
            await edge.sender.send(message(99))
        with trio.CancelScope() as scope:
            scope.cancel()
            await edge.receiver.receive()
        for number in range(CAPACITY):
            assert number_of(await edge.receiver.receive()) == number
            edge.receiver.acknowledge()
        with pytest.raises(WouldBlock):
            edge.receiver.receive_nowait()


@pytest.mark.parametrize("side", ["writer", "reader"])
async def test_a_trio_task_that_waits_learns_that_its_peer_is_lost(side):
    """Both sides, while they sleep."""
    with open_edge(in_trio=True) as edge:

        async def wait():
            with pytest.raises(PeerLost):
                if side == "writer":
                    await edge.receiver.receive()
                for number in range(CAPACITY + 1):
                    await edge.sender.send(message(number))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            edge.lose_writer() if side == "writer" else edge.lose_reader()


async def test_a_waiting_trio_receiver_hears_the_end():
    """`end` rings like news."""
    with open_edge(in_trio=True) as edge:

        async def receive():
            with pytest.raises(EndOfChannel):
                await edge.receiver.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            edge.sender.end()


# Between processes


@contextlib.contextmanager
def forked(child):
    """A process that runs a function; its exit code is looked at."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        finally:
            os._exit(code)
    yield pid
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in {0, -9}


def test_two_processes_lose_nothing():
    """A few thousand messages of mixed sizes, counted and compared."""
    count = 3_000

    def sizes(number):
        return 8 if number % 10 else 24_000

    with open_edge(capacity=8) as edge:

        def send():
            for number in range(count):
                edge.sender.send(message(number, sizes(number)))
            edge.sender.end()

        with forked(send):
            for number in range(count):
                record = edge.receiver.receive()
                assert number_of(record) == number
                assert len(record.payload) == sizes(number)
                del record
                edge.receiver.acknowledge()
            with pytest.raises(EndOfChannel):
                edge.receiver.receive()


def test_what_a_killed_writer_has_published_is_received():
    """SIGKILL between two messages: everything before it arrives, whole, and then the loss is told."""
    with open_edge(capacity=8) as edge:

        def send():
            number = 0
            while True:
                edge.sender.send(message(number))
                number += 1

        with forked(send) as pid:
            for number in range(500):
                assert number_of(edge.receiver.receive()) == number
                edge.receiver.acknowledge()
            os.kill(pid, 9)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            edge.lose_writer()
            with pytest.raises(PeerLost):
                while True:
                    number += 1
                    assert number_of(edge.receiver.receive()) == number
                    edge.receiver.acknowledge()
            assert number == edge.ring.statistics().sent


async def test_a_trio_program_and_a_process_play_ping_pong():
    """Requests of a trio sender, answers of a process that blocks."""
    with Owner() as owner, TrioDoorbell.create() as mine, Doorbell.create() as its:
        rings = []
        for name in ("r0", "r1"):
            geometry = Geometry(CAPACITY, INLINE)
            rings.append(Ring.format(owner.create(name, geometry.segment_bytes, what="a test"), geometry))
        families = [owner.family("a0"), owner.family("a1")]

        def answer():
            receiver = Receiver(rings[0], ArenaMap(families[0]), its, mine)
            sender = Sender(rings[1], SlabPool(families[1]), its, mine)
            with contextlib.suppress(EndOfChannel):
                while True:
                    number = number_of(receiver.receive())
                    receiver.acknowledge()
                    sender.send(message(number + 1, 20_000))
            sender.end()

        with forked(answer):
            pool = SlabPool(families[0])
            sender = TrioSender(rings[0], pool, mine, its)
            receiver = TrioReceiver(rings[1], ArenaMap(families[1]), mine, its)
            for number in range(300):
                await sender.send(message(number))
                assert number_of(await receiver.receive()) == number + 1
                receiver.acknowledge()
            sender.end()
            with pytest.raises(EndOfChannel):
                await receiver.receive()
            pool.close()
