"""Leases: a slab is held exactly as long as somebody may still look at it, and what is looked at never changes."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import numpy as np
import pytest
from edges import LARGE, as_if_killed, forked, message, number_of, open_edge

from penstock.shm.arena import PUBLISHED, TAKEN, ArenaMap
from penstock.shm.channel import EdgeOptions, ReceiveEnd, SendEnd
from penstock.shm.ring import Geometry, Policy, Ring

OLDEST = Policy.DROP_OLDEST
BOTH = pytest.mark.parametrize("policy", [Policy.BLOCK, OLDEST])


def lane_byte(edge, record):
    """The byte of a record's slab for the edge."""
    slab = edge.pool.find(*record.header[12:14])
    return slab.arena.view[slab._lanes_at]


# Who holds a slab


@BOTH
def test_a_view_dropped_before_the_acknowledgement_frees_nothing(policy):
    """The record may have to be delivered again, to whoever reads next."""
    with open_edge(2, policy) as edge:
        edge.sender.send_nowait(message(5, LARGE))
        edge.receiver.receive_nowait()
        gc.collect(0)
        assert edge.pool.slabs_in_use == edge.receiver.held == 1
        as_if_killed(edge.receiver)
        receiver = edge.another_receiver()
        assert number_of(receiver.receive_nowait()) == 5
        receiver.acknowledge()
        assert edge.pool.slabs_in_use == receiver.held == 0


@BOTH
def test_the_last_view_of_any_kind_frees_the_slab(policy):
    """An array over the payload, a slice of that, a memoryview: whichever goes last, and not before."""
    with open_edge(2, policy) as edge:
        edge.sender.send_nowait(message(5, LARGE))
        record = edge.receiver.receive_nowait()
        edge.receiver.acknowledge()
        array = np.frombuffer(record.payload, "u8")
        views = [record.payload, array[3:9].reshape(2, 3), memoryview(array)[::2], array.view("u1").T, array.data]
        del record, array
        while views:
            for number in range(20):  # nobody else gets it
                edge.sender.send_nowait(message(9, LARGE))
                edge.receiver.receive_nowait()
                edge.receiver.acknowledge()
            assert all(np.asarray(view).tobytes()[0] == 5 for view in views)
            assert edge.pool.slabs_in_use == 1
            views.pop(0)
        assert edge.pool.slabs_in_use == 0


def test_a_view_can_not_be_made_writable():
    """Neither by its flag, nor through what it is a view of, nor as a ctypes object: it is read-only for good."""
    with open_edge() as edge:
        edge.sender.send_nowait(message(5, LARGE))
        payload = edge.receiver.receive_nowait().payload
        array = np.frombuffer(payload, np.uint8)
        bases = [array]
        while isinstance(bases[-1], np.ndarray) and bases[-1].base is not None:
            bases.append(bases[-1].base)
        owner = payload.obj
        assert not owner.flags.writeable
        for view in [*(each for each in bases if isinstance(each, np.ndarray)), owner]:
            with pytest.raises(ValueError, match="WRITEABLE"):
                view.flags.writeable = True
        assert memoryview(payload).readonly
        with pytest.raises(TypeError, match="read-only"):
            payload[0] = 1


def test_a_forked_child_that_drops_its_views_clears_nothing():
    """A node may fork: its parent still holds the slabs, and the views in the child stay what they were."""
    with open_edge(max_leases=3) as edge:
        for number in range(2):
            edge.sender.send_nowait(message(number, LARGE))
        kept = [edge.receiver.receive_nowait() for _ in range(2)]
        edge.receiver.acknowledge()

        def child():
            assert [number_of(record) for record in kept] == [0, 1]
            kept.clear()
            edge.receiver._held.clear()
            gc.collect()
            assert edge.receiver.held == 0

        with forked(child):
            pass
        assert edge.pool.slabs_in_use == 2
        assert [lane_byte(edge, record) for record in kept] == [PUBLISHED] * 2
        for number in range(20):
            edge.sender.pool.place(message(99, LARGE), message(99, LARGE).payload)
        assert [number_of(record) for record in kept] == [0, 1]
        kept.clear()
        edge.receiver.acknowledge()
        assert edge.pool.slabs_in_use == 0


def test_one_slab_over_two_edges_into_one_process():
    """The byte is the edge's, not the process's: both have to let go."""
    with open_edge() as edge:
        geometry = Geometry(4, 192)
        other = Ring.format(edge.owner.create("r1", geometry.segment_bytes, what="a test"), geometry)
        options, arenas = EdgeOptions(lane=1), ArenaMap(edge.family)
        sender = SendEnd(other, edge.pool, edge.here, edge.there, options)
        receiver = ReceiveEnd(Ring(other.segment), arenas, edge.there, edge.here, options)
        both = message(5, LARGE)
        edge.sender.send_nowait(both)
        sender.send_nowait(both)
        del both
        assert edge.pool.slabs_in_use == 1
        first, second = edge.receiver.receive_nowait(), receiver.receive_nowait()
        assert first.header[12:15] == second.header[12:15]
        edge.receiver.acknowledge()
        receiver.acknowledge()
        del first
        for _ in range(20):
            edge.pass_on(9, LARGE)
        assert number_of(second) == 5
        assert edge.pool.slabs_in_use == 1
        del second
        assert edge.pool.slabs_in_use == 0


# Readers that follow


@BOTH
def test_a_new_reader_lets_go_of_what_its_predecessor_kept_and_keeps_what_comes_again(policy):
    """A view dies with its process: what was acknowledged is free, what was in hand is delivered once more."""
    with open_edge(3, policy) as edge:
        kept = [edge.pass_on(0, LARGE)]
        for number in (1, 2):
            edge.sender.send_nowait(message(number, LARGE))
        kept.append(edge.receiver.receive_nowait())
        as_if_killed(edge.receiver)
        kept.clear()
        assert edge.pool.slabs_in_use == 3
        receiver = edge.another_receiver()
        assert edge.pool.slabs_in_use == 2
        for number in (1, 2):
            assert number_of(receiver.receive_nowait()) == number
            receiver.acknowledge()
        assert edge.pool.slabs_in_use == 0


def test_a_new_reader_leaves_other_lanes_alone():
    """Another edge of the same writer, and one with the same byte in another group."""
    for lane in (1, 8):
        with open_edge() as edge:
            geometry = Geometry(4, 192)
            other = Ring.format(edge.owner.create("r1", geometry.segment_bytes, what="a test"), geometry)
            options = EdgeOptions(lane=lane)
            sender = SendEnd(other, edge.pool, edge.here, edge.there, options)
            receiver = ReceiveEnd(Ring(other.segment), ArenaMap(edge.family), edge.there, edge.here, options)
            sender.send_nowait(message(5, LARGE))
            record = receiver.receive_nowait()
            receiver.acknowledge()
            edge.pass_on(1)
            edge.pass_on(2)
            edge.another_receiver()
            assert edge.pool.slabs_in_use == 1
            assert number_of(record) == 5


def test_a_slab_that_is_read_is_not_taken_back_when_its_record_is_dropped():
    """TAKEN is the reader's word: the writer frees only what nobody took."""
    with open_edge(1, OLDEST) as edge:
        edge.sender.send_nowait(message(0, LARGE))
        record = edge.receiver.receive_nowait()
        assert lane_byte(edge, record) == TAKEN
        for number in range(1, 30):
            edge.sender.send_nowait(message(number, LARGE))
        assert number_of(record) == 0
        assert edge.pool.slabs_in_use == 2
        edge.receiver.acknowledge()
        for number in range(30, 60):
            edge.sender.send_nowait(message(number, LARGE))
        assert number_of(record) == 0


# Views that are kept


@BOTH
def test_a_reader_that_keeps_too_much_is_given_copies(policy, caplog):
    """No deadlock and no growth, counted, and said once; as soon as it lets go it reads in place again."""
    with open_edge(4, policy, max_leases=5) as edge:
        kept = [edge.pass_on(number, LARGE) for number in range(60)]
        assert [number_of(record) for record in kept] == list(range(60))
        assert [isinstance(record.payload, memoryview) for record in kept] == [True] * 5 + [False] * 55
        assert (edge.receiver.copied, edge.receiver.held, edge.pool.slabs_in_use) == (55, 5, 5)
        assert [record.getMessage() for record in caplog.records] == [
            "edge a -> b: its reader keeps 5 large payloads; from now on it is given copies while it keeps so many"
        ]
        assert edge.pool.arenas == 1
        del kept[:2]
        assert isinstance(edge.pass_on(60, LARGE).payload, memoryview)
        assert edge.receiver.copied == 55
        assert len(caplog.records) == 1


# After the end


def test_views_live_as_long_as_somebody_holds_them(recwarn):
    """Closed, unlinked, the run over: no error then, none at the last view's end, and no crash in between."""
    with open_edge() as edge:
        record = edge.pass_on(5, LARGE)
        array = np.frombuffer(record.payload, "u8")
        part = array[7:11]
        family = edge.family
    del edge, record, array
    gc.collect()
    assert part.tolist() == [5] * 4
    assert not os.path.exists(f"/dev/shm/{family}.0")
    with pytest.raises(ValueError, match="read-only"):
        part[0] = 1
    del part
    gc.collect()
    assert not recwarn.list


AT_EXIT = """
import sys
sys.path.insert(0, {tests!r})
from edges import LARGE, message, open_edge
with open_edge() as edge:
    kept = [edge.pass_on(n, LARGE) for n in range(3)]
    claimed = edge.pool.claim(LARGE)
    edge.sender.send_nowait(message(4, LARGE))
    pending = edge.receiver.receive_nowait()
cycle = [kept, claimed]
cycle.append(cycle)
"""


def test_a_process_that_ends_with_views_ends_quietly():
    """Whatever the interpreter tears down first."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", AT_EXIT.format(tests=os.path.dirname(__file__))],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
