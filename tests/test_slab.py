"""Slabs in their writer's hands: which one is used, how the pool grows, and what is left when its process dies."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import re
import subprocess
import sys
import threading

import pytest
from edges import LARGE, forked, message, number_of, open_edge
from hypothesis import given, settings
from hypothesis import strategies as st
from support import PrivateShm, environment, until

from penstock.shm.arena import FREE, LANES, PUBLISHED, ArenaMap
from penstock.shm.channel import EdgeOptions, ReceiveEnd, SendEnd
from penstock.shm.errors import ChannelClosed, CorruptSegment, OutOfSharedMemory
from penstock.shm.owner import Owner
from penstock.shm.record import Field
from penstock.shm.ring import Geometry, Policy, Ring, Word
from penstock.shm.segment import Segment
from penstock.shm.slab import SlabPool, slab_class

PAGE = 4096
MIB = 1 << 20


@pytest.fixture
def pool():
    """A pool with shared memory of its own."""
    with Owner("a test") as owner:
        pool = SlabPool(owner.family("a0"))
        yield pool
        pool.close()


def references(pool, numbers, nbytes):
    """The messages, alive, and where they stand."""
    messages = [message(number, nbytes) for number in numbers]
    return messages, [pool.place(each, each.payload).reference for each in messages]


# Reuse


def test_a_steady_stream_uses_few_slabs_even_after_a_burst():
    """The one freed last is used first, as it is still in the cache."""
    with open_edge(40) as edge:
        for number in range(40):
            edge.sender.send_nowait(message(number, LARGE))
        for _ in range(40):
            edge.receiver.receive_nowait()
            edge.receiver.acknowledge()
        for number in range(40, 80):  # a few of the burst's are looked at each time
            edge.pass_on(number, LARGE)
        used = {edge.pass_on(number, LARGE).header[Field.OFFSET] for number in range(80, 400)}
        assert len(used) <= 3, used
        assert edge.pool.slabs_in_use == 0


def test_a_slab_is_used_again_only_when_every_lane_and_the_message_let_go(pool):
    """Each of them alone holds it."""
    first = message(1, LARGE)
    slab = pool.place(first, first.payload)
    slab.hand_over(3, 0)
    for still_held in (True, False):
        assert not slab.free
        if still_held:
            del first
            gc.collect(0)
        else:
            slab.take_back(3)
    assert slab.free


def test_a_larger_free_slab_is_used_before_the_pool_grows(pool):
    """Up to four times too large; a larger one is not, as much of it would be unused."""
    references(pool, [1], 100_000)
    for nbytes in (60_000, 30_000):
        references(pool, [2], nbytes)
        assert pool.arenas == 1
    references(pool, [2], 16_000)
    assert pool.arenas == 2


@settings(deadline=None, max_examples=100, database=None)
@given(nbytes=st.integers(1, 1 << 32))
def test_a_size_class_fits_and_wastes_little(nbytes):
    """Whole pages, at most a third of them unused, and a size is its own class."""
    size = slab_class(nbytes)
    assert size >= nbytes
    assert size % PAGE == 0
    assert size == 4 * PAGE or (size - nbytes) * 3 <= size + 3 * PAGE
    assert slab_class(size) == size


# Growth


def test_growth_doubles(pool):
    """A pool has few segments, however much is held."""
    held, _ = references(pool, range(100), 600_000)
    assert [len(held), pool.arenas] == [100, 8]
    assert pool.allocated_bytes < 130 * slab_class(600_000)


def refuse(monkeypatch, above):
    """Let a full /dev/shm have no room for segments of more than a size."""
    create = Segment.create.__func__

    def created(cls, name, size, **more):
        if size > above:
            raise OutOfSharedMemory(more["what"], size, 12345)
        return create(cls, name, size, **more)

    monkeypatch.setattr(Segment, "create", classmethod(created))


def test_a_pool_that_can_not_grow_as_it_would_like_to_grows_by_one_slab(pool, monkeypatch):
    """And then by the next one, each in an arena of its own."""
    refuse(monkeypatch, above=200_000)
    held, where = references(pool, range(3), LARGE)
    assert len(set(where)) == len(held) == pool.arenas == 3
    assert pool.allocated_bytes < 3 * (slab_class(LARGE) + 3 * PAGE)


def test_a_pool_that_can_not_grow_uses_any_larger_slab_that_is_free(pool, monkeypatch):
    """However much larger; and when there is none it says how much is needed, how much there is, and what to do."""
    references(pool, [0], 3 * MIB)
    refuse(monkeypatch, above=0)
    held, _ = references(pool, [1], LARGE)
    assert pool.arenas == 1
    with pytest.raises(OutOfSharedMemory) as caught:
        references(pool, [2], LARGE)
    text = str(caught.value)
    assert re.search(r"payloads of up to 24576 bytes, beside \d{7} bytes of arenas, needs .* KiB", text), text
    assert "12.1 KiB is free in /dev/shm" in text
    assert "--shm-size" in text
    assert len(held) == 1


FULL = """
from penstock.shm.errors import OutOfSharedMemory
from penstock.shm.owner import Owner
from penstock.shm.record import Outgoing
from penstock.shm.slab import SlabPool

with Owner("a test") as owner:
    pool, held = SlabPool(owner.family("a0")), []
    try:
        while True:
            held.append(Outgoing(bytes(900_000)))
            pool.place(held[-1], held[-1].payload)
    except OutOfSharedMemory as error:
        print(len(held) - 1, pool.arenas, error)
    held[0] = None
    held[-1].payload = bytes(20_000)
    pool.place(held[-1], held[-1].payload)
    print("placed in the larger one")
    pool.close()
"""


def test_a_really_full_shared_memory_is_an_error_and_no_signal():
    """With 8 MiB all that fit are used, one by one in the end; then the error; then what was freed is used."""
    with PrivateShm("8m") as shm:
        done = subprocess.run(
            [*shm.before, sys.executable, "-c", FULL], capture_output=True, text=True, timeout=60, env=environment()
        )
        assert (done.returncode, done.stderr) == (0, "")
        said, placed = done.stdout.splitlines()
        fitted, arenas = map(int, said.split()[:2])
        assert (fitted, arenas) == (7, 6)
        assert "MiB of shared memory" in said
        assert placed == "placed in the larger one"
        assert os.listdir(shm.folder) == []


def descriptors_of(name):
    """How many descriptors of this process refer to a segment."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += name in os.readlink(f"/proc/self/fd/{fd}")
    return count


def test_a_segment_costs_at_most_one_descriptor_on_either_side():
    """The usual limit is 1024 of them."""
    with open_edge(40) as edge:
        for number in range(20):
            edge.sender.send_nowait(message(number, 600_000))
        token = edge.owner.token
        arenas = edge.pool.arenas
        own = descriptors_of(token)
        assert arenas >= 5
        assert own <= arenas + 1 + 1  # the ring, and the owner file
        assert number_of(edge.receiver.receive_nowait()) == 0
        for _ in range(19):
            edge.receiver.receive_nowait()
        assert descriptors_of(token) <= own + arenas


def resident_bytes(name):
    """How much of a segment each of its mappings in this process has mapped in."""
    found, mappings = False, []
    with open("/proc/self/smaps") as file:
        for line in file:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                found = name in line
            elif found and line.startswith("Rss:"):
                mappings.append(int(line.split()[1]) * 1024)
    return mappings


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="Linux alone says what is mapped")
def test_an_arena_is_mapped_in_when_the_pool_grows(pool):
    """On both sides, before a byte is touched: writing through a fresh mapping takes seven times as long."""
    array = pool.claim(4 * MIB)
    (writer,) = resident_bytes(f"{pool._family}.0")
    assert writer >= 4 * MIB
    arenas = ArenaMap(pool._family)
    assert arenas.locate(0, 0, 2 * PAGE, 1).slab_bytes == len(array)
    assert min(resident_bytes(f"{pool._family}.0")) >= 4 * MIB
    assert len(resident_bytes(f"{pool._family}.0")) == 2


# After a crash


def two_lanes(edge, policy=Policy.BLOCK, lane=1):
    """Another edge of the same writer."""
    geometry = Geometry(4, 192, policy)
    ring = Ring.format(edge.owner.create(f"r{lane}", geometry.segment_bytes, what="a test"), geometry)
    options = EdgeOptions(lane=lane)
    return (
        ring,
        SendEnd(ring, edge.pool, edge.here, edge.there, options),
        ReceiveEnd(Ring(ring.segment), ArenaMap(edge.family), edge.there, edge.here, options),
    )


@pytest.mark.parametrize("policy", [Policy.BLOCK, Policy.DROP_OLDEST])
def test_what_was_published_stays_and_what_was_not_is_free(policy):
    """A writer dies with one slab published, one handed over but not published, and one claimed."""
    with open_edge(4, policy) as edge:
        edge.sender.send_nowait(message(0, LARGE))
        lost = message(1, LARGE)
        edge.pool.place(lost, lost.payload).hand_over(0, edge.sender.ring.head)
        array = edge.pool.claim(LARGE)
        assert edge.pool.slabs_in_use == 3
        edge.another_sender()
        assert edge.pool.slabs_in_use == 1
        array[:] = 1  # its memory is still there
        del array
        for number in range(1, 4):
            edge.sender.send_nowait(message(number, LARGE))
        came = []
        for _ in range(4):
            came.append(number_of(edge.receiver.receive_nowait()))
            edge.receiver.acknowledge()
        assert came == [0, 1, 2, 3]
        assert edge.pool.slabs_in_use == 0


def test_what_was_dropped_is_free_after_a_crash():
    """The predecessor died between the drop and the look at its slab."""
    with open_edge(2, Policy.DROP_OLDEST) as edge:
        for number in range(2):
            edge.sender.send_nowait(message(number, LARGE))
        edge.ring.words[Word.EVICT] = 1
        edge.another_sender()
        assert edge.pool.slabs_in_use == 1


def test_a_slab_of_two_edges_is_freed_for_the_one_on_which_it_was_not_published():
    """A writer dies between the two: the sequence on each edge tells."""
    with open_edge() as edge:
        ring, sender, receiver = two_lanes(edge)
        both = message(7, LARGE)
        edge.sender.send_nowait(both)
        both.slabs[0].hand_over(1, sender.ring.head)
        edge.another_sender()
        pool = edge.pool
        SendEnd(ring, pool, edge.here, edge.there, EdgeOptions(lane=1))
        slab = pool.find(*both.slabs[0].reference[:2])
        lanes = slab.arena.lanes_at(slab.reference[1])
        assert bytes(slab.arena.view[lanes : lanes + 2]) == bytes([PUBLISHED, FREE])
        assert number_of(edge.receiver.receive_nowait()) == 7
        edge.receiver.acknowledge()
        assert pool.slabs_in_use == 0
        assert receiver.take() is None


def test_a_lane_that_is_gone_for_good_is_freed():
    """And those of others, with the same number in another group too, are left alone."""
    with open_edge() as edge:
        _, sender, _ = two_lanes(edge, lane=LANES)
        edge.sender.send_nowait(message(0, LARGE))
        sender.send_nowait(message(1, LARGE))
        record = edge.receiver.receive_nowait()
        edge.pool.release_lane(LANES)
        assert edge.pool.slabs_in_use == 1
        edge.pool.release_lane(0)
        assert edge.pool.slabs_in_use == 0
        assert number_of(record) == 0


def test_an_arena_that_its_writer_died_over_is_made_anew():
    """It was killed between making the segment and making an arena of it: the next writer needs that name."""
    with open_edge() as edge:
        edge.sender.send_nowait(message(0, LARGE))
        Segment.create(f"{edge.family}.1", 3 * PAGE, what="a test", tracked=False).close()
        sender = edge.another_sender()
        sender.send_nowait(message(1, 600_000))
        assert [number_of(edge.receiver.receive_nowait()) for _ in range(2)] == [0, 1]


def test_a_writer_that_is_killed_while_it_grows_can_be_followed():
    """At any moment of growth: the next one takes what there is and goes on, and everything published arrives."""
    with open_edge(3) as edge:

        def child():
            sender = edge.another_sender()
            number, held = sender.ring.head, []
            while True:
                held.append(message(number, LARGE << (number % 7)))
                number += sender.offer(held[-1])
                if len(held) > 30:
                    held.clear()

        came = 0
        for round_ in range(15):
            with forked(child) as pid:
                for _ in range(3 + 5 * round_):
                    record = until(edge.receiver.take, "the writer sends")
                    assert number_of(record) == came
                    came += 1
                    edge.receiver.acknowledge()
                os.kill(pid, 9)
        sender = edge.another_sender()
        while (record := edge.receiver.take()) is not None:
            assert number_of(record) == came
            came += 1
            del record
            edge.receiver.acknowledge()
        assert sender.ring.head == came
        assert edge.pool.slabs_in_use == 0


# Threads, and the end


def test_a_node_in_a_thread_may_claim_while_another_one_sends(pool):
    """No slab is given out twice."""
    barrier = threading.Barrier(4)
    wrong = []

    def work(number):
        barrier.wait()
        try:
            for turn in range(150):
                array = pool.claim(LARGE if turn % 2 else LARGE << 1)
                array[:] = number
                sent = message(number, LARGE)
                slab = pool.place(sent, sent.payload)
                at = slab.reference[2]
                assert bytes(slab.arena.view[at : at + LARGE]) == sent.payload
                assert (array == number).all()
        except BaseException as error:
            wrong.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []


def test_nothing_is_made_after_the_end(pool):
    """A thread that a run has left behind may still ask: it gets an error, and no segment that nobody removes."""
    references(pool, [1], LARGE)
    pool.close()
    pool.close()
    for ask in (lambda: pool.claim(LARGE), lambda: references(pool, [1], LARGE)):
        with pytest.raises(ChannelClosed):
            ask()


def test_a_successor_without_descriptors_removes_nothing(monkeypatch):
    """An arena that can not be attached now is in use all the same: its name stays."""
    with open_edge() as edge:
        edge.sender.send_nowait(message(0, LARGE))

        def no_descriptors(*_, **__):
            raise OSError(errno.EMFILE, "too many open files")

        with monkeypatch.context() as patched:
            patched.setattr("_posixshmem.shm_open", no_descriptors)
            with pytest.raises(CorruptSegment, match="can not be attached"):
                SlabPool(edge.family).adopt()
        edge.another_sender()
        assert edge.pool.slabs_in_use == 1
        assert number_of(edge.receiver.receive_nowait()) == 0
        edge.receiver.acknowledge()
        assert edge.pool.slabs_in_use == 0
