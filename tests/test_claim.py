"""Claimed arrays: made in shared memory, sent without a copy, frozen by it, and never changed under a reader."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from edges import LARGE, message, number_of, open_edge
from nodes import claiming
from nodes.claiming import WORDS, place_of
from test_pipeline_streams import keeper

import penstock
from penstock.executors import MultiprocessExecutorBridge
from penstock.executors.claim import claim_from
from penstock.executors.contract import AllocationFailed, NodeContext, NodeExecution, RuntimeData, Validation
from penstock.executors.contract.loan import Loans, loans
from penstock.shm.arena import ArenaMap
from penstock.shm.channel import EdgeOptions, ReceiveEnd, SendEnd
from penstock.shm.errors import OutOfSharedMemory
from penstock.shm.record import Field, Flag, Outgoing
from penstock.shm.ring import Geometry, Ring
from penstock.shm.segment import Segment

NODES = "nodes.claiming"
LONG = 300
"""A tail that does not fit into a slot."""


@pytest.fixture
def edge():
    with open_edge(16) as edge:
        yield edge


@pytest.fixture(autouse=True)
def _quiet_loans():
    """Whether a warning was said is a matter of this process."""
    loans.copied = 0
    yield
    loans.copied = 0


def made(edge, number, nbytes=LARGE):
    """A claimed array that says its number."""
    array = edge.pool.claim(nbytes)
    array.view("u8")[:] = number
    return array


def another(edge, lane, *, inline=192):
    """Another edge of the same writer into the same process."""
    geometry = Geometry(16, inline)
    ring = Ring.format(edge.owner.create(f"r{lane}", geometry.segment_bytes, what="a test"), geometry)
    options = EdgeOptions(lane=lane)
    return (
        SendEnd(ring, edge.pool, edge.here, edge.there, options),
        ReceiveEnd(Ring(ring.segment), ArenaMap(edge.family), edge.there, edge.here, options),
    )


# In the pool


def test_a_claimed_array_is_sent_in_place_and_frozen(edge):
    """The reader sees the very bytes; the writer can not change them any more."""
    array = made(edge, 5)
    edge.sender.send_nowait(Outgoing(array.data))
    record = edge.receiver.receive_nowait()
    assert place_of(record.payload) == place_of(array) != []
    assert number_of(record) == 5
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    assert edge.pool.slabs_in_use == 1


@pytest.mark.parametrize("holder", ["array", "message", "view", "reader"])
def test_memory_is_not_used_again_while_anybody_holds_it(edge, holder):
    """The array, a view of it, the message, a reader: each alone; and it is used again once it has gone."""
    array = made(edge, 5)
    sent = Outgoing(array.data)
    edge.sender.send_nowait(sent)
    record = edge.receiver.receive_nowait()
    edge.receiver.acknowledge()
    held = {"array": array, "message": sent, "view": array.view("u8")[3:9], "reader": record}[holder]
    del array, sent, record
    for number in range(100):
        edge.pass_on(number, LARGE)
    assert edge.pool.slabs_in_use == 1
    if holder == "reader":
        assert number_of(held) == 5
    elif holder != "message":
        assert held.view("u8")[0] == 5
    del held
    gc.collect(0)
    assert edge.pool.slabs_in_use == 0


def test_a_claim_that_is_dropped_is_free_again(edge):
    """It needs no more than one slab, however often."""
    places = set()
    for number in range(50):
        array = made(edge, number)
        places.add(tuple(place_of(array)))
        del array
        assert edge.pool.slabs_in_use == 0
    assert len(places) <= 2
    assert not edge.pool._claims


def test_a_claim_that_is_sent_twice_is_written_once_more(edge):
    """Its slab's lane can hold one record of an edge."""
    array = made(edge, 5)
    for _ in range(2):
        edge.sender.send_nowait(Outgoing(array.data))
    first, second = edge.receiver.receive_nowait(), edge.receiver.receive_nowait()
    assert number_of(first) == number_of(second) == 5
    assert place_of(first.payload) == place_of(array) != place_of(second.payload)
    edge.receiver.acknowledge()
    edge.receiver.acknowledge()
    del first, array
    for number in range(50):
        edge.pass_on(number, LARGE)
    assert number_of(second) == 5


def test_a_part_of_a_claim_is_copied(edge):
    """What is left of it stays the writer's own."""
    array = made(edge, 5)
    edge.sender.send_nowait(Outgoing(array[: LARGE // 2].data))
    array[:] = 0
    assert number_of(edge.receiver.receive_nowait()) == 5


def test_a_claim_read_backwards_is_not_taken_for_the_claim(edge):
    """As many bytes, but in another order: copied."""
    array = edge.pool.claim(LARGE)
    array[:] = np.arange(LARGE) % 251
    edge.sender.send_nowait(Outgoing(array[::-1].data))
    assert bytes(edge.receiver.receive_nowait().payload) == bytes(array[::-1])


def test_a_tail_too_long_for_its_slot_goes_with_a_copy(edge):
    """Behind the claimed bytes there is no room."""
    array = made(edge, 5)
    edge.sender.send_nowait(Outgoing(array.data, tail=bytes(range(200)) * 2))
    record = edge.receiver.receive_nowait()
    assert (number_of(record), record.tail) == (5, bytes(range(200)) * 2)


@pytest.mark.parametrize("wide_first", [True, False])
def test_a_tail_that_fits_one_edge_and_not_the_other(edge, wide_first):
    """Both get the tail, whichever is written first, and once more written when it has to be."""
    sender, receiver = another(edge, 1, inline=1024)
    array = made(edge, 5)
    sent = Outgoing(array.data, tail=b"t" * LONG)
    for end in (sender, edge.sender) if wide_first else (edge.sender, sender):
        end.send_nowait(sent)
    del sent, array
    for end in (receiver, edge.receiver):
        record = end.receive_nowait()
        assert (number_of(record), record.tail) == (5, b"t" * LONG)
        del record
        end.acknowledge()
    gc.collect(0)
    assert edge.pool.slabs_in_use == 0


def test_a_claim_with_more_than_eight_edges(edge):
    """Eight share it, in place; each further eight share a copy; all get it and all let go."""
    ends = [(edge.sender, edge.receiver), *(another(edge, lane) for lane in range(1, 18))]
    array = made(edge, 5)
    sent = Outgoing(array.data)
    for sender, _ in ends:
        sender.send_nowait(sent)
    records = [receiver.receive_nowait() for _, receiver in ends]
    assert {number_of(record) for record in records} == {5}
    places = [tuple(place_of(record.payload)) for record in records]
    assert set(places[:8]) == {tuple(place_of(array))}
    assert len(set(places)) == edge.pool.slabs_in_use == 3
    records.clear()
    del sent, array
    for _, receiver in ends:
        receiver.acknowledge()
    assert edge.pool.slabs_in_use == 0


def test_a_claim_that_is_refused_is_still_one():
    """An edge that drops its newest has not taken it: the next edge, or the next time, has it in place."""
    with open_edge(1, 1) as edge:
        edge.sender.send_nowait(message(0))
        array = made(edge, 5)
        sent = Outgoing(array.data)
        edge.sender.send_nowait(sent)
        assert edge.ring.statistics().dropped == 1
        array[:8] = 0
        array[:8] = array[8:16]
        assert edge.receiver.receive_nowait().payload
        edge.receiver.acknowledge()
        edge.sender.send_nowait(sent)
        assert place_of(edge.receiver.receive_nowait().payload) == place_of(array)


# As a node claims


@pytest.mark.parametrize("dtype", ["f4", "<i2", "c16", "?", ">f8", [("a", "<i4"), ("b", "f8")]], ids=str)
@pytest.mark.parametrize("shape", [5000, (100, 50), (1, 5000, 1), [10, 10, 50]], ids=str)
def test_a_claim_has_the_shape_and_dtype_that_were_asked_for(edge, shape, dtype):
    """Writable, in C order, in shared memory where it is large, and the payload of its datum."""
    array = claim_from(edge.pool)(shape, dtype)
    assert array.shape == np.empty(shape).shape
    assert array.dtype == np.dtype(dtype)
    assert array.flags.writeable
    assert array.flags.c_contiguous
    assert (place_of(array) != []) == (array.nbytes > 8128)
    data = RuntimeData.tensor(array)
    assert place_of(data.payload) == place_of(array)
    assert not array.flags.writeable


@pytest.mark.parametrize("nbytes", [0, 80, 80_000])
def test_a_claim_is_the_same_everywhere(edge, nbytes):
    """Also where nothing is shared: a size of any integer type, no objects, and no write through an older slice."""
    for claim in (claim_from(edge.pool), NodeContext("n", "t").claim):
        array = claim(np.int64(nbytes // 8), "f8")
        assert (array.shape, array.dtype) == ((nbytes // 8,), np.dtype("f8"))
        older = array[:]
        older[:] = 1
        data = RuntimeData.tensor(array)
        older[:] = 2
        assert (data.as_tensor() == 1).all()
        with pytest.raises(Validation, match="numeric dtype"):
            claim(3, object)


def test_what_can_not_be_claimed_is_refused(edge, monkeypatch):
    """Objects, and more than there is; the error names the claim."""
    claim = claim_from(edge.pool)
    with pytest.raises(Validation, match="numeric dtype"):
        claim(5000, object)

    def refuse(name, size, *, what, tracked):
        raise OutOfSharedMemory(what, size, 0)

    monkeypatch.setattr(Segment, "create", refuse)
    with pytest.raises(AllocationFailed, match=r"claim\(50, 1000\).*needs .* of shared memory"):
        claim((50, 1000))
    assert claim(0).shape == (0,)
    assert claim((), "f8").shape == ()


OTHERS = {
    "slice": lambda array: array[10:],
    "reshaped": lambda array: array.reshape(-1, 10),
    "bytes": lambda array: array.view("u1"),
    "slice of a slice": lambda array: array[5:][5:],
    "memoryview of a slice": lambda array: array[3:].data,
    "iterator": lambda array: np.nditer(array[:], op_flags=["readwrite"]),
    "closure": lambda array: lambda view=array[1:]: view,
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_view_that_is_still_alive_makes_it_a_copy(edge, caplog, other):
    """It could still be written; counted, and said once."""
    claim = claim_from(edge.pool)
    for turn in (1, 2):
        array = claim(WORDS, "f8")
        array[:] = 5
        older = OTHERS[other](array)
        data = RuntimeData.tensor(array)
        assert place_of(data.payload) != place_of(array)
        array[:] = 6
        assert (data.as_tensor() == 5).all()
        assert loans.copied == turn
        del older, array
    assert [record.getMessage()[:15] for record in caplog.records] == ["a claimed array"]


def test_a_view_that_has_gone_does_no_harm(edge):
    """As when an array is filled part by part."""
    array = claim_from(edge.pool)(WORDS, "f8")
    for at in range(0, WORDS, 100):
        part = array[at : at + 100]
        part[:] = at
    del part
    data = RuntimeData.tensor(array)
    assert place_of(data.payload) == place_of(array)
    assert loans.copied == 0


def test_a_reference_is_counted_right_on_this_interpreter():
    """What one more view adds, whichever way this Python counts its own references."""
    own = Loans()
    for views in range(3):
        array = own.lend(np.frombuffer(bytearray(80), np.uint8), (10,), np.dtype("f8"))
        others = [array[number:] for number in range(views)]
        assert own.freeze(array) == (not others)
        assert array.flags.writeable == bool(others)


def test_frozen_means_both_the_array_and_what_it_is_a_view_of(edge):
    """A slice that is made afterwards is read-only too."""
    array = claim_from(edge.pool)(WORDS, "f8")
    RuntimeData.tensor(array)
    for view in (array, array[3:], array.base, array.base[5:]):
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 1


# In a run


def pipeline_of(how, executor, *, reader="native", **params):
    """A source that claims, and a sink that keeps."""
    kept, keep = keeper()
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Claiming", {"how": how, **params}, executor=executor)
    if reader == "multiprocess":
        pipeline.add("double", f"{NODES}:Double", executor=reader).add("out", keep).connect("in -> double -> out")
    else:
        pipeline.add("out", keep).connect("in -> out")
    return kept, pipeline


def numbers(kept):
    """What stands in each array, the same all over."""
    for data in kept:
        assert data.as_tensor().min() == data.as_tensor().max()
    return [int(data.as_tensor().flat[0]) for data in kept]


@pytest.mark.parametrize("how", ["plain", "kept"])
def test_a_worker_claims_and_its_reader_sees_the_same_bytes(how):
    """Also where the generator keeps the array in its frame."""
    kept, pipeline = pipeline_of(how, "multiprocess", count=8)
    penstock.run(pipeline)
    assert numbers(kept) == list(range(8))
    assert [place_of(data.payload) == data.meta["place"] != [] for data in kept] == [True] * 8
    assert {data.meta["copied"] for data in kept} == {0}
    del kept, pipeline


def test_a_native_node_claims_for_a_worker_and_that_for_this_process():
    """Both ways without a copy: what the worker answers stands where it made it."""
    kept, pipeline = pipeline_of("plain", "native", reader="multiprocess")
    penstock.run(pipeline)
    assert numbers(kept) == [0, 2, 4, 6]
    assert all(place_of(data.payload) == data.meta["place"] != [] for data in kept)


def test_a_native_node_without_neighbours_elsewhere_claims_plain_memory():
    """Nothing is shared, nothing is copied."""
    kept, pipeline = pipeline_of("plain", "native")
    penstock.run(pipeline)
    assert numbers(kept) == [0, 1, 2, 3]
    assert {data.meta["copied"] for data in kept} == {0}
    assert all(data.meta["place"] == [] for data in kept)


@pytest.mark.parametrize("executor", ["native", "multiprocess"])
@pytest.mark.parametrize(("how", "count", "expected"), [("part", 4, [0, 1, 2, 3]), ("twice", 4, [0, 0, 2, 2])])
def test_parts_and_repetitions_arrive_right(executor, how, count, expected):
    """Copied where they must be, and right in any case."""
    kept, pipeline = pipeline_of(how, executor, count=count)
    penstock.run(pipeline)
    assert numbers(kept) == expected


def test_a_slice_that_is_kept_and_written_changes_nothing_that_was_sent():
    """The worker copies, and says so."""
    kept, pipeline = pipeline_of("sliced", "multiprocess")
    penstock.run(pipeline)
    assert numbers(kept) == [0, 1, 2, 3]
    assert [data.meta["copied"] for data in kept] == [0, 0, 0, 0] or sum(data.meta["copied"] for data in kept) == 4


@pytest.mark.parametrize("order", ["wide first", "narrow first"])
def test_large_meta_arrives_on_edges_of_any_capacity(order):
    """The slots of an edge with many are smaller: what stands in one need not stand in another."""
    ends = {"wide": (keeper(), 4), "narrow": (keeper(), 2000)}
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Claiming", {"tail": 4000}, executor="multiprocess")
    for name in sorted(ends, reverse=order == "wide first"):
        (_, keep), capacity = ends[name]
        pipeline.add(name, keep).connect(f"in -> {name}", capacity=capacity)
    penstock.run(pipeline)
    for (kept, _), _ in ends.values():
        assert numbers(kept) == [0, 1, 2, 3]
        assert {data.meta["pad"] for data in kept} == {"x" * 4000}


async def test_an_answer_of_a_bridge_may_be_claimed():
    """And stays what it is after the bridge has gone."""
    async with MultiprocessExecutorBridge() as bridge:
        await bridge.initialize_node("n", f"{NODES}:Double", {})
        answers = [
            await bridge.execute_node("n", f"{NODES}:Double", RuntimeData.tensor(np.full(WORDS, float(n))), {})
            for n in range(4)
        ]
    assert numbers(answers) == [0, 2, 4, 6]
    assert all(place_of(data.payload)[1] == data.meta["place"][1] for data in answers)


REUSED = [name for name in vars(claiming.Reuses) if not name.startswith("_") and name not in dir(claiming.Claiming)]


UNSEEN = pytest.mark.xfail(reason="nothing tells that an array which owns its memory has views", strict=True)
CASES = [
    pytest.param(
        how,
        executor,
        words,
        id=f"{how}-{executor}-{words}",
        marks=[UNSEEN] if how == "owned_through_view" and executor in {"native", "threaded"} else [],
    )
    for how in REUSED
    for executor in ("native", "threaded", "worker", "native to worker")
    for words in ((50, WORDS) if executor in {"native", "threaded"} else (WORDS,))
]


@pytest.mark.parametrize(("how", "executor", "words"), CASES)
def test_a_buffer_that_is_used_again_is_sent_as_it_was_or_is_an_error(how, executor, words):
    """0 1 2 3 or a complaint, on every executor; never 3 3 3 3."""
    kept, keep = keeper()
    pipeline = penstock.Pipeline().add(
        "in",
        f"{NODES}:Reuses",
        {"how": how, "words": words},
        executor="multiprocess" if executor == "worker" else "native",
        thread=executor == "threaded",
    )
    if executor == "native to worker":
        pipeline.add("echo", "nodes.small:echo", executor="multiprocess").add("out", keep).connect("in -> echo -> out")
    else:
        pipeline.add("out", keep).connect("in -> out")
    try:
        penstock.run(pipeline)
    except NodeExecution as error:
        assert "read-only" in str(error)  # noqa: PT017
        assert numbers(kept) in ([], [0])
    else:
        assert numbers(kept) == [0, 1, 2, 3]


def test_fields_say_in_which_slab_a_payload_stands(edge):
    """What readers and checkers go by."""
    array = made(edge, 5)
    edge.sender.send_nowait(Outgoing(array.data))
    record = edge.receiver.receive_nowait()
    assert record.flags & Flag.SLAB
    assert record.header[Field.OFFSET] == place_of(array)[1]
