"""A worker that dies is replaced: every output is published once, or the run says why it can not be."""

from __future__ import annotations

import numpy as np
import pytest
import trio
from nodes.mortal import value
from support import manifest

import penstock
from penstock.engine.options import RunOptions
from penstock.engine.problems import PipelineInvalid
from penstock.executors.contract import NodeExecution, RuntimeData
from penstock.executors.state import decode_state, encode_state

NODES = "nodes.mortal"
TIRELESS = {"restart": {"max": "unlimited", "backoff": 0}, "max_redeliveries": "unlimited"}


def listing(kept):
    """A sink that keeps what it gets, in a form that compares."""

    def keep(data):
        kept.append(value(data) if data.data_type.value == "Tensor" else data.as_json())

    return keep


def node_of(report, node_id):
    (node,) = (node for node in report.nodes if node.node_id == node_id)
    return node


def exact(report):
    for edge in report.edges:
        assert edge.sent == edge.received + edge.dropped, edge
        assert edge.in_flight == 0, edge


# At every line


def branching(folder, seed, lives, *, count=150, capacity=6):
    """Two stateless workers, a window over both with snapshots and two ports; everything dies now and then."""
    mortal = {"deaths": str(folder / f"deaths{seed}"), "lives": lives, "seed": seed}
    kept = {"windows": [], "odd": [], "twice": []}
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": count})
    for name, kind in (("one", "Twice"), ("two", "Twice"), ("window", "Window")):
        pipeline.add(name, f"{NODES}:{kind}", mortal if lives else {}, executor="multiprocess", **TIRELESS)
    for name, into in kept.items():
        pipeline.add(name, listing(into))
    pipeline.connect("in -> one -> window.a", capacity=capacity).connect("in -> two -> window.b", capacity=capacity)
    pipeline.connect("window.out -> windows", capacity=capacity).connect("window.odd -> odd", capacity=capacity)
    return pipeline.connect("two -> twice", capacity=capacity), kept


@pytest.mark.parametrize("seed", range(3))
def test_wherever_workers_die_each_output_is_published_once(tmp_path, seed):
    """At random lines of the loop, the rings, the slabs and the journal itself: the sinks see nothing of it."""
    plain, expected = branching(tmp_path, seed, 0)
    penstock.run(plain)
    mortal, kept = branching(tmp_path, seed, 8)
    report = penstock.run(mortal)
    exact(report)
    assert [node_of(report, name).restarts for name in ("one", "two", "window")] == [8, 8, 8]
    assert kept["twice"] == expected["twice"]
    history = []
    for window in kept["windows"][:-1]:
        history.append(window["window"][-1])
        assert window["window"] == history[-3:]
    for port in "ab":
        of_port = [number for name, number in history if name == port]
        assert of_port == [
            window["window"][-1][1] for window in expected["windows"][:-1] if window["window"][-1][0] == port
        ]
    assert kept["windows"][-1] == {"count": len(history)} == expected["windows"][-1]
    assert [number for _, number in history if number % 2] == [
        item["i"] if isinstance(item, dict) else item for item in kept["odd"]
    ]


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "latest"])
def test_behind_an_edge_that_drops_a_snapshot_is_taken_for_each_datum(tmp_path, policy):
    """Its windows fit together, and each datum that was received is in them once."""
    mortal = {"deaths": str(tmp_path / "deaths"), "lives": 8, "seed": 3, "within": 1500}
    kept = []
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 300})
    for name in ("a", "b"):
        pipeline.add(name, f"{NODES}:Twice", mortal if name == "a" else {}, executor="multiprocess", **TIRELESS)
    pipeline.add("window", f"{NODES}:Window", mortal, executor="multiprocess", **TIRELESS).add("out", listing(kept))
    pipeline.connect("in -> a", capacity=8).connect("in -> b", capacity=8).connect("window.out -> out")
    size = {} if policy == "latest" else {"capacity": 4}
    report = penstock.run(pipeline.connect("a -> window.a", policy=policy, **size).connect("b -> window.b"))
    exact(report)
    edges = {edge.name: edge for edge in report.edges}
    history = []
    for window in kept[:-1]:
        history.append(window["window"][-1])
        assert window["window"] == history[-3:]
    assert kept[-1] == {"count": len(history)}
    for port in "ab":
        numbers = [number for name, number in history if name == port]
        assert len(numbers) == edges[f"{port}.out -> window.{port}"].received
        assert numbers == sorted(numbers)
    assert node_of(report, "window").restarts == 8


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "latest"])
@pytest.mark.parametrize("seed", range(2))
def test_an_edge_that_drops_gives_nothing_twice_and_all_in_order(tmp_path, policy, seed):
    """What arrives is a part of what was sent, and the account is exact, though both sides die."""
    mortal = {"deaths": str(tmp_path / "deaths"), "lives": 6, "seed": seed, "within": 2000}
    kept = []
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 200})
    pipeline.add("one", f"{NODES}:Twice", mortal, executor="multiprocess", **TIRELESS)
    pipeline.add("two", f"{NODES}:Twice", mortal, executor="multiprocess", **TIRELESS)
    pipeline.add("out", listing(kept)).connect("in -> one", capacity=8)
    pipeline.connect("one -> two", policy=policy, **({} if policy == "latest" else {"capacity": 4}))
    report = penstock.run(pipeline.connect("two -> out"))
    exact(report)
    numbers = [item["i"] if isinstance(item, dict) else item for item in kept]
    assert numbers == sorted(numbers)
    edges = {edge.name: edge for edge in report.edges}
    assert edges["one.out -> two.in"].sent == edges["in.out -> one.in"].received + sum(1 for i in range(200) if i % 3)
    assert edges["two.out -> out.in"].received == len(numbers)


# At a datum


def summed(tmp_path, kind, when, kept, count=40, **options):
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": count})
    params = {"deaths": str(tmp_path / "deaths"), "at": 23, "when": when}
    pipeline.add("sum", f"{NODES}:{kind}", params, executor="multiprocess", **options)
    return pipeline.add("out", listing(kept)).connect("in -> sum -> out")


@pytest.mark.parametrize("when", ["before", "after", "flush"])
@pytest.mark.parametrize("every", [None, 1, 5])
def test_a_sum_goes_on_from_its_snapshot(tmp_path, when, every):
    """Whether the process dies before its output, after it, or between two outputs of its flush."""
    kept = []
    report = penstock.run(summed(tmp_path, "Kept", when, kept, snapshot_every=every))
    exact(report)
    sums = np.cumsum(range(40)).tolist()
    assert kept == [*({"i": total} for total in sums), {"total": sums[-1]}, {"end": True}]
    assert node_of(report, "sum").restarts == 1


def test_without_a_word_of_its_author_a_crash_fails_the_run(tmp_path):
    """It would lose what it knew, silently: that is not the default."""
    with pytest.raises(NodeExecution, match="was killed by SIGKILL"):
        penstock.run(summed(tmp_path, "Total", "before", []))


def test_restart_fresh_goes_on_and_counts_what_is_forgotten(tmp_path):
    """23 inputs were in the sum, which begins again at nothing."""
    kept = []
    report = penstock.run(summed(tmp_path, "Total", "before", kept, delivery="restart_fresh"))
    exact(report)
    assert [item["i"] for item in kept if "i" in item][23:] == np.cumsum(range(23, 40)).tolist()
    node = node_of(report, "sum")
    assert (node.restarts, node.state_lost, node.redelivered) == (1, 23, 1)


def test_restart_fresh_publishes_nothing_twice(tmp_path):
    """An input of which something was published is not given to the node again."""
    kept = []
    report = penstock.run(summed(tmp_path, "Total", "after", kept, delivery="restart_fresh"))
    exact(report)
    assert [item["i"] for item in kept if "i" in item] == [
        *np.cumsum(range(24)).tolist(),
        *np.cumsum(range(24, 40)).tolist(),
    ]


@pytest.mark.parametrize(
    ("kind", "what"), [("Moody", "is not what it was before the crash"), ("Fewer", "did not come again")]
)
def test_a_replay_that_is_none_is_told(tmp_path, kind, what):
    """Two different runs of a node are never merged: the run fails, and names the edge."""
    kept = []
    with pytest.raises(NodeExecution, match=f"edge sum.out -> out.in: .*{what}"):
        penstock.run(summed(tmp_path, kind, "", kept))
    assert len(kept) == 24


def test_a_source_recites(tmp_path):
    """It begins at its beginning, and what was published is kept back."""
    kept = []
    pipeline = penstock.Pipeline().add("out", listing(kept))
    params = {"deaths": str(tmp_path / "deaths"), "count": 50, "at": 20}
    pipeline.add("in", f"{NODES}:Recited", params, executor="multiprocess")
    exact(penstock.run(pipeline.connect("in -> out")))
    assert kept == [{"i": i} for i in range(50)]


# How often


def through(kind, params=None, **options):
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 20})
    pipeline.add("bad", f"{NODES}:{kind}", params, executor="multiprocess", **options)
    return pipeline.add("out", listing([])).connect("in -> bad -> out")


def test_a_datum_that_kills_is_named():
    """It is given to the node again as often as that may be, and then the run fails."""
    with pytest.raises(NodeExecution, match=r"the 2 before it, with datum 5 of edge in.out -> bad.in in hand"):
        penstock.run(through("Poison", {"number": 5}, max_redeliveries=2))


def test_a_node_that_gets_nothing_done_is_given_up():
    """Restarts are bounded within a time."""
    with pytest.raises(NodeExecution, match=r"after 2 restarts within 30 s: no more"):
        penstock.run(through("Frail", restart={"max": 2, "window": 30, "backoff": 0.01}, max_redeliveries="unlimited"))


async def test_a_stop_between_two_lives_ends_the_run():
    """Whoever stops does not wait for the next life."""
    pipeline = through("Frail", restart={"max": "unlimited", "backoff": 3600}, max_redeliveries="unlimited")
    options = RunOptions(grace_s=0.2)
    with trio.fail_after(30):
        async with pipeline.open(options) as run:
            while node_of(run.report(), "bad").restarts < 1:
                await trio.sleep(0.01)
    assert run.report().outcome == "aborted"


# What is said


@pytest.mark.parametrize(
    ("said", "fragment"),
    [
        ("delivery: repaly", "there is no delivery 'repaly': did you mean 'replay'?"),
        ("delivery: replay", "say `stateless = True` in its class"),
        ("max_redeliveries: -1", "max_redeliveries is a whole number, or unlimited, not -1"),
        ("max_redeliveries: often", "max_redeliveries is a whole number, or unlimited, not 'often'"),
        ("snapshot_every: 3", "snapshot_every is for nodes with snapshot() and restore()"),
        ("restart: {maximum: 3}", "restart has no 'maximum'"),
        ("restart: {max: 1.5}", "max of restart is a whole number"),
        ("restart: {window: soon}", "window of restart is a number of seconds"),
    ],
)
def test_what_can_not_be_is_a_problem_at_its_line(tmp_path, said, fragment):
    """One problem, with the remedy."""
    params = "params: {deaths: x, at: 1}"
    text = f'nodes:\n  sum: {{type: "{NODES}:Total", executor: multiprocess, {params}, {said}}}\n'
    text += f'  in: {{type: "{NODES}:Numbers", params: {{count: 1}}}}\nedges: [in -> sum]\n'
    path = manifest(tmp_path, text)
    with pytest.raises(PipelineInvalid) as caught:
        penstock.load(path).check()
    (problem,) = map(str, caught.value.problems)
    assert problem.startswith(f"{path}:2: ")
    assert fragment in problem


# Snapshots


def test_a_state_comes_back_as_it_was():
    """Numbers, texts, bytes, arrays of every kind, data, nested; arrays are writable."""
    data = RuntimeData.tensor(np.arange(6, dtype=">i2").reshape(2, 3), timestamp_ns=7, meta={"a": 1})
    state = {
        "none": None,
        "list": [1, -(2**70), 1.5, float("inf"), "ä", True],
        "bytes": b"\x00\xff",
        "arrays": [np.array(3.0), np.zeros((0, 2), np.complex64), np.arange(4)[::2]],
        "data": data,
    }
    again = decode_state(encode_state(state))
    assert again["list"] == state["list"]
    assert (again["none"], again["bytes"]) == (None, b"\x00\xff")
    for before, after in zip(state["arrays"], again["arrays"], strict=True):
        np.testing.assert_array_equal(before, after)
        assert (before.dtype, before.shape) == (after.dtype, after.shape)
        after[...] = 1
    assert (again["data"].timestamp_ns, again["data"].meta, again["data"].dtype) == (7, {"a": 1}, data.dtype)
    np.testing.assert_array_equal(again["data"].as_tensor(), data.as_tensor())


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ({"a": [object()]}, r"snapshot\['a'\]\[0\] is object"),
        ({1: 2}, "the keys of a snapshot are texts"),
        (np.array([object()]), "only plain numbers can be kept"),
    ],
)
def test_a_state_that_can_not_be_kept_is_refused(state, where):
    """With the place in it."""
    with pytest.raises(TypeError, match=where):
        encode_state(state)


def test_chunk_goes_on_in_the_middle_of_a_piece():
    """Its snapshot has what waits for the rest of its piece, and the clock: the same pieces, the same stamps."""
    from penstock.engine.nodes.chunk import Chunk

    samples = np.random.default_rng(3).normal(size=2000).astype(np.float32)
    pieces = [
        RuntimeData.audio(samples[at : at + 130], sample_rate=16000, timestamp_ns=at * 62_500 + (at > 900) * 7_000_000)
        for at in range(0, 2000, 130)
    ]

    def cut(replaced_at):
        node, given = Chunk(ms=20), []
        for number, piece in enumerate(pieces):
            if number == replaced_at:
                state = decode_state(encode_state(node.snapshot()))
                node = Chunk(ms=20)
                node.restore(state)
            given += node.process(piece)
        return [(out.timestamp_ns, out.as_audio().samples.tolist()) for out in [*given, node.flush()]]

    assert all(cut(at) == cut(None) for at in range(1, len(pieces)))


@pytest.mark.parametrize("kind", ["zip", "latest_of"])
def test_a_node_over_two_streams_is_replaced(tmp_path, kind):
    """The order of its inputs and of their ends is in its journal."""
    mortal = {"deaths": str(tmp_path / "deaths"), "lives": 4, "seed": 5, "within": 3000}
    kept = []
    pipeline = penstock.Pipeline()
    for name in ("in", "in_b"):
        pipeline.add(name, f"{NODES}:Numbers", {"count": 120})
    pipeline.add("one", f"{NODES}:Twice", mortal, executor="multiprocess", **TIRELESS)
    pipeline.add("both", f"{NODES}:Mortal{kind.title().replace('_', '')}", mortal, executor="multiprocess", **TIRELESS)
    for port in "ab":
        pipeline.add(f"out_{port}", lambda data, port=port: kept.append((port, data.meta["group"], value(data))))
    pipeline.connect("in -> one -> both.a", capacity=6).connect("in_b -> both.b", capacity=6)
    report = penstock.run(pipeline.connect("both.a -> out_a").connect("both.b -> out_b"))
    exact(report)
    assert [node_of(report, name).restarts for name in ("one", "both")] == [4, 4]
    groups = {port: [(group, number) for name, group, number in kept if name == port] for port in "ab"}
    for of_port in groups.values():
        assert [group for group, _ in of_port] == list(range(len(of_port)))
    doubled = [i for i in range(120) for _ in range(2 if i % 3 else 1)]
    if kind == "zip":
        assert [number for _, number in groups["a"]] == doubled[:120]
        assert [number for _, number in groups["b"]] == list(range(120))
    else:
        assert [number for _, number in groups["a"]] == doubled[-len(groups["a"]) :]
        numbers = [number for _, number in groups["b"]]
        assert numbers == sorted(numbers)
