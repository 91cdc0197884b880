"""Streams through pipelines: what goes in comes out, bit for bit and in order, whatever the shape of the graph."""

import math
import threading

import numpy as np
import pytest
import trio
from nodes import more
from support import MORE, NODES, drained, ledgers

import penstock
from penstock.executors.contract import DataType, RuntimeData

BOTH = pytest.mark.parametrize("executor", ["native", "multiprocess"])


def given(items):
    """A source of these data."""

    class Given:
        inputs = {}

        def produce(self):
            yield from items

    return Given


def keeper():
    """A list, and a sink that puts its data there."""
    kept = []

    def keep(data):
        kept.append(data)

    return kept, keep


def values(kept):
    return [data.as_json() for data in kept]


AUDIO = [
    RuntimeData.audio(
        np.arange(-6, 6).astype(kind), sample_rate=rate, channels=channels, session_id=f"a-{kind}", timestamp_ns=rate
    )
    for kind, rate, channels in [("u1", 8000, 1), ("i2", 44100, 2), ("i4", 192000, 3), ("f4", 1, 4), ("f8", 16000, 6)]
]
TEXT = [
    RuntimeData.text(text, session_id="t", timestamp_ns=n, meta={"n": n, "nested": {"list": [1, None, "ü"]}})
    for n, text in enumerate(["", "a", "grüße 水 🚰", "\ud800 half", "\0", "x" * 9000, "é" * 300_000])
]
JSON = [
    RuntimeData.json(value, session_id="", timestamp_ns=2**62 + n)
    for n, value in enumerate([None, True, 0, -1.5e-300, 2**70, "水", [], {}, {"b": [1, {"a": None}], "a": ""}])
]
NAN_BITS = np.array([0x7FC00001, 0xFFC12345, 0x80000000, 0x00000001], "u4").view("f4")
DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16", ">i4", ">f8"]
TENSORS = [
    *(RuntimeData.tensor(np.arange(12).reshape(3, 4).astype(kind), timestamp_ns=0) for kind in DTYPES),
    RuntimeData.tensor(np.array(3.5), session_id="zero dimensions"),
    RuntimeData.tensor(np.zeros((0, 3), "f4")),
    RuntimeData.tensor(np.zeros((2, 0, 5), "i2")),
    RuntimeData.tensor(np.arange(64).reshape(2, 2, 2, 2, 2, 2)),
    RuntimeData.tensor(NAN_BITS),
    RuntimeData.tensor(np.arange(12).reshape(3, 4).T),
    RuntimeData.tensor(np.arange(20)[::-3]),
    *(RuntimeData.tensor(more.payload(size), session_id="s", meta={"size": size}) for size in more.SIZES),
]
EVERYTHING = [*AUDIO, *TEXT, *JSON, *TENSORS]


def identity(data):
    """All that makes a datum, so that two can be compared bit by bit."""
    return (
        data.data_type,
        bytes(data.payload),
        data.session_id,
        data.timestamp_ns,
        None if data.dtype is None else data.dtype.str,
        data.shape,
        data.sample_rate,
        data.channels,
        dict(data.meta),
    )


def assert_same(kept, expected):
    assert len(kept) == len(expected)
    for got, wanted in zip(kept, expected, strict=True):
        assert identity(got) == identity(wanted), (got.data_type, got.dtype, got.shape)


@pytest.mark.parametrize("bounds", [{}, {"capacity": 1}, {"capacity": 3, "max_bytes": 1000}], ids=str)
def test_every_datum_crosses_every_border_unchanged(bounds):
    """Native to worker to worker to native: type, bits, dtype, shape, session, time and meta; views outlive the run."""
    kept, keep = keeper()
    pipeline = penstock.Pipeline().add("in", given(EVERYTHING)).add("out", keep)
    pipeline.add("one", f"{NODES}:echo", executor="multiprocess").add("two", f"{NODES}:echo", executor="multiprocess")
    report = penstock.run(pipeline.connect("in -> one -> two -> out", **bounds))
    assert_same(kept, EVERYTHING)
    total = sum(data.nbytes for data in EVERYTHING)
    for edge in drained(report.to_json()).values():
        assert (edge["kind"], edge["sent"], edge["sent_bytes"]) == ("ring", len(EVERYTHING), total)


def test_native_edges_hand_data_on_without_a_copy():
    """Inside one process the very same datum arrives."""
    kept, keep = keeper()
    pipeline = penstock.Pipeline().add("in", given(EVERYTHING)).add("echo", f"{NODES}:echo").add("out", keep)
    report = penstock.run(pipeline.connect("in -> echo -> out", max_bytes=1))
    assert [id(data) for data in kept] == [id(data) for data in EVERYTHING]
    assert {edge["kind"] for edge in drained(report.to_json()).values()} == {"channel"}


def test_large_payloads_out_of_a_worker_source():
    """A source in a worker gives arrays from 1 byte to 20 MiB through another worker."""
    kept, keep = keeper()
    pipeline = penstock.Pipeline().add("in", f"{MORE}:Payloads", executor="multiprocess").add("out", keep)
    pipeline.add("echo", f"{NODES}:echo", executor="multiprocess").connect("in -> echo -> out")
    penstock.run(pipeline)
    for data, size in zip(kept, more.SIZES, strict=True):
        assert np.array_equal(data.as_tensor(), more.payload(size))
        assert (data.session_id, data.timestamp_ns, data.meta) == ("s", size, {"size": size})


def test_a_view_is_not_overwritten_by_what_follows():
    """A reader that keeps every array of a long stream finds each as it was sent, after the run, too."""
    kept, keep = keeper()
    params = {"nbytes": 50_000, "count": 300}
    pipeline = penstock.Pipeline().add("in", f"{MORE}:Frames", params, executor="multiprocess")
    penstock.run(pipeline.add("out", keep).connect("in -> out", capacity=4))
    assert len(kept) == 300
    for n, data in enumerate(kept):
        array = data.as_tensor()
        assert array.min() == array.max() == n % 251
        assert not array.flags.writeable


@pytest.mark.parametrize("kind", ["S5", "U3", "M8[ns]", "m8[us]", [("a", "<i4"), ("b", "f8", (2,))]], ids=str)
def test_unusual_dtypes_cross_or_are_refused_by_name(kind):
    """Strings, times and records cross unchanged, or the error names node and dtype; never a crash or other bits."""
    datum = RuntimeData.tensor(np.zeros(4, kind))
    kept, keep = keeper()
    pipeline = penstock.Pipeline().add("in", given([datum])).add("out", keep)
    pipeline.add("echo", f"{NODES}:echo", executor="multiprocess").connect("in -> echo -> out")
    try:
        penstock.run(pipeline)
    except penstock.ServiceError as error:
        assert "'in'" in str(error)  # noqa: PT017
        assert str(datum.dtype) in str(error)  # noqa: PT017
    else:
        assert_same(kept, [datum])


def test_a_fan_out_gives_everything_to_everyone():
    """One port feeds native nodes, one in a thread and workers: all get all, in order."""
    sinks = {name: keeper() for name in ("native", "threaded", "worker", "other")}
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 200})
    for name, (_, keep) in sinks.items():
        executor = "multiprocess" if name in {"worker", "other"} else "native"
        pipeline.add(name, f"{NODES}:echo", executor=executor, thread=name == "threaded")
        pipeline.add(f"{name}-end", keep).connect(f"in -> {name} -> {name}-end", capacity=5)
    report = penstock.run(pipeline)
    assert {name: values(kept) for name, (kept, _) in sinks.items()} == dict.fromkeys(sinks, list(range(200)))
    edges = drained(report.to_json())
    assert len(edges) == 8
    assert {edge["sent"] for edge in edges.values()} == {200}


def test_a_fan_out_of_a_worker_to_many():
    """A worker with more than eight edges, which share slabs, gives large arrays to all of them."""
    sinks = [keeper() for _ in range(10)]
    pipeline = penstock.Pipeline().add("in", f"{MORE}:Frames", {"nbytes": 30_000, "count": 40}, executor="multiprocess")
    for n, (_, keep) in enumerate(sinks):
        pipeline.add(f"out{n}", keep).connect(f"in -> out{n}", capacity=3)
    report = penstock.run(pipeline)
    for kept, _ in sinks:
        assert [int(data.as_tensor()[-1]) for data in kept] == list(range(40))
    assert len(drained(report.to_json())) == 10


@BOTH
def test_a_fan_in_merges_streams(executor):
    """Two edges into one port: everything of both arrives, each in its own order, and the end waits for both."""
    kept, keep = keeper()
    left, right = [RuntimeData.json(["l", n]) for n in range(100)], [RuntimeData.json(["r", n]) for n in range(37)]
    pipeline = penstock.Pipeline().add("left", given(left)).add("right", given(right))
    pipeline.add("both", f"{NODES}:echo", executor=executor).add("count", f"{NODES}:Counter").add("out", keep)
    pipeline.add("all", keep).connect("left -> both -> all", capacity=2).connect("right -> both", capacity=1)
    report = penstock.run(pipeline.connect("both -> count -> out"))
    got = values(kept)
    assert [value for value in got if isinstance(value, list) and value[0] == "l"] == values(left)
    assert [value for value in got if isinstance(value, list) and value[0] == "r"] == values(right)
    assert got.count({"total": 137}) == 1
    assert len(drained(report.to_json())) == 5


@BOTH
def test_several_ports(executor):
    """Split sends to two outputs, Merge knows by which input each datum came."""
    kept, keep = keeper()
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 50}).add("out", keep)
    pipeline.add("split", f"{NODES}:Split", executor=executor).add("merge", f"{NODES}:Merge", executor=executor)
    pipeline.connect("in -> split").connect("merge -> out")
    pipeline.connect("split.even -> merge.right", capacity=2).connect("split.odd -> merge.left")
    report = penstock.run(pipeline)
    got = values(kept)
    assert [n for port, n in got if port == "left"] == list(range(1, 50, 2))
    assert [n for port, n in got if port == "right"] == list(range(0, 50, 2))
    assert {name: edge["sent"] for name, edge in drained(report.to_json()).items()} == {
        "in.out -> split.in": 50,
        "split.even -> merge.right": 25,
        "split.odd -> merge.left": 25,
        "merge.out -> out.in": 50,
    }


@BOTH
def test_a_port_that_nobody_reads(executor):
    """An output without an edge is no obstacle."""
    kept, keep = keeper()
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 9}).add("out", keep)
    pipeline.add("split", f"{NODES}:Split", executor=executor)
    penstock.run(pipeline.connect("in -> split").connect("split.odd -> out"))
    assert values(kept) == [1, 3, 5, 7]


@BOTH
def test_flush_generators_and_async_nodes(executor):
    """Every kind of node gives the same on every executor: several outputs, flush at the end, coroutines."""
    names = {"twice": "twice", "later": "later", "several": "several_later", "none": "none"}
    sinks = {name: keeper() for name in (*names, "count")}
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 4})
    for name, kind in names.items():
        pipeline.add(name, f"{NODES}:{kind}", executor=executor).connect(f"in -> {name}")
    pipeline.add("count", f"{NODES}:Counter", {"start": 10}, executor=executor).connect("twice -> count")
    for name, (_, keep) in sinks.items():
        pipeline.add(f"{name}-end", keep).connect(f"{name} -> {name}-end")
    penstock.run(pipeline)
    assert {name: values(kept) for name, (kept, _) in sinks.items()} == {
        "twice": [0, 0, 1, 1, 2, 2, 3, 3],
        "later": [0, 1, 2, 3],
        "several": [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3],
        "none": [],
        "count": [*range(11, 19), {"total": 18}],
    }


@BOTH
@pytest.mark.parametrize("source", [(f"{MORE}:Empty", {}), (f"{NODES}:Numbers", {"count": 0})], ids=lambda s: s[0][-7:])
def test_an_empty_stream_still_ends(executor, source):
    """No datum at all: the end travels, and every node is flushed."""
    kept, keep = keeper()
    pipeline = penstock.Pipeline().add("in", source[0], source[1], executor=executor).add("out", keep)
    pipeline.add("count", f"{NODES}:Counter", executor=executor)
    report = penstock.run(pipeline.connect("in -> count -> out"))
    assert values(kept) == [{"total": 0}]
    assert report.outcome == "completed"
    assert drained(report.to_json())["in.out -> count.in"]["sent"] == 0


def test_a_source_alone():
    """A graph of one node that nobody listens to runs to its end."""
    for executor in ("native", "multiprocess"):
        report = penstock.run(penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 5}, executor=executor))
        assert (report.outcome, report.edges, report.nodes[0].processed) == ("completed", (), 5)


@BOTH
def test_no_more_than_the_capacity_is_in_flight(executor):
    """At no time are there more data on an edge than its capacity; the ledger counts what a node has in hand."""
    seen = []
    running = []

    def look(data):
        seen.extend(edge.in_flight for edge in running[0].report().edges)
        ledgers(running[0].report().to_json())

    async def main():
        pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 300}, executor=executor)
        async with pipeline.add("look", look).connect("in -> look", capacity=3).open() as run:
            running.append(run)
            await run.wait()
        return run.report()

    report = trio.run(main)
    assert len(seen) == 300
    assert max(seen) <= 3
    assert min(seen) >= 1, "the datum that the node works on is in flight"
    assert drained(report.to_json())["in.out -> look.in"]["received"] == 300


def test_a_bound_in_bytes_holds():
    """Data that together exceed max_bytes wait for each other; one that does so alone passes alone."""
    seen, running = [], []
    sizes = [10, 10, 10, 500, 10, 10, 10, 10, 200, 200, 10]

    def look(data):
        (edge,) = running[0].report().edges
        seen.append((edge.in_flight, data.nbytes))

    async def main():
        source = given([RuntimeData.text("x" * size) for size in sizes])
        pipeline = penstock.Pipeline().add("in", source).add("look", look).connect("in -> look", max_bytes=25)
        async with pipeline.open() as run:
            running.append(run)
            await run.wait()

    trio.run(main)
    assert [size for _, size in seen] == sizes
    assert max(count for count, _ in seen) == 2
    assert all(count == 1 for count, size in seen if size > 25)


def test_a_thread_node_leaves_the_loop_to_others():
    """`thread: true` runs a node's code outside the loop, which goes on meanwhile; inline this would never end."""
    allowed, threads = threading.Event(), set()

    def wait(data):
        threads.add(threading.get_ident())
        assert allowed.wait(30)
        return data

    async def main():
        kept, keep = keeper()
        pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 3}).add("out", keep)
        pipeline.add("wait", wait, thread=True).connect("in -> wait -> out")
        async with pipeline.open() as run:
            while not threads:
                await trio.sleep(0)
            allowed.set()
            await run.wait()
        return values(kept)

    assert trio.run(main) == [0, 1, 2]
    assert threading.get_ident() not in threads


def test_generators_and_ports_in_a_thread():
    """In a thread, too, generators give several, ports are heard, and flush comes at the end."""
    kept, keep = keeper()
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 4}, thread=True)
    pipeline.add("twice", f"{NODES}:twice", thread=True).add("split", f"{NODES}:Split", thread=True)
    pipeline.add("count", f"{NODES}:Counter", thread=True).add("out", keep, thread=True)
    penstock.run(pipeline.connect("in -> twice -> split").connect("split.odd -> count -> out"))
    assert values(kept) == [1, 2, 3, 4, {"total": 4}]


def test_a_long_stream_through_everything_keeps_its_order():
    """Five thousand data through a native node and two workers arrive once each, in order."""
    kept, keep = keeper()
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 5_000}).add("out", keep)
    for name, executor in (("one", "multiprocess"), ("two", "native"), ("three", "multiprocess")):
        pipeline.add(name, f"{NODES}:echo", executor=executor)
    report = penstock.run(pipeline.connect("in -> one -> two -> three -> out"))
    assert [data.timestamp_ns for data in kept] == list(range(5_000))
    assert {edge["received"] for edge in drained(report.to_json()).values()} == {5_000}
    assert [node.processed for node in report.nodes] == [5_000] * 5


def test_the_same_graph_gives_the_same_everywhere():
    """All native, all in workers and mixed: the same numbers to the last bit."""

    def results(placing):
        kept, keep = keeper()
        values = [RuntimeData.tensor(np.sin(np.arange(n) * math.pi / 7), timestamp_ns=n) for n in range(1, 3000, 97)]
        pipeline = penstock.Pipeline().add("in", given(values)).add("out", keep)
        for name, executor in zip(("a", "b"), placing, strict=True):
            pipeline.add(name, f"{NODES}:double", {"factor": 1 / 3}, executor=executor)
        penstock.run(pipeline.connect("in -> a -> b -> out"))
        assert all(data.data_type is DataType.TENSOR for data in kept)
        return [(data.timestamp_ns, bytes(data.payload)) for data in kept]

    native = results(("native", "native"))
    assert len(native) == 31
    assert results(("multiprocess", "multiprocess")) == native
    assert results(("native", "multiprocess")) == native


def test_async_methods_of_a_thread_node_run_in_the_loop():
    """`thread: true` is for what is synchronous; coroutines and async generators are awaited in trio all the same."""
    threads = {}

    class Node:
        async def initialize(self, ctx):
            threads["initialize"] = threading.get_ident()
            await trio.sleep(0)

        async def process(self, data):
            threads["process"] = threading.get_ident()
            await trio.sleep(0)
            yield data

        def flush(self):
            async def later():
                await trio.sleep(0)
                return RuntimeData.json("end")

            threads["flush"] = threading.get_ident()
            return later()

        async def cleanup(self):
            threads["cleanup"] = threading.get_ident()

    kept, keep = keeper()
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 2}).add("out", keep)
    penstock.run(pipeline.add("node", Node, thread=True).connect("in -> node -> out"))
    assert values(kept) == [0, 1, "end"]
    assert threads.pop("flush") != threading.get_ident()
    assert threads == dict.fromkeys(("initialize", "process", "cleanup"), threading.get_ident())
