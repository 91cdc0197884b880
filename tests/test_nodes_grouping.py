"""`zip` and `latest_of`, and what nodes of several inputs can say: their ports, what they want, what has ended."""

import itertools
import logging

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support import NODES, drained

import penstock
from penstock.engine.nodes.latest_of import LatestOf
from penstock.engine.nodes.zip import Zip
from penstock.engine.options import RunOptions
from penstock.engine.problems import PipelineInvalid
from penstock.executors.contract import NodeContext, NodeExecution, RuntimeData, Validation

GROUPS = "nodes.groups"
BOTH = pytest.mark.parametrize("executor", ["native", "multiprocess"])
NAMES = ["a", "b"]


class Driven:
    """A node outside any graph, and what it gave on each port."""

    def __init__(self, node):
        self.node = node
        self.given = {}
        node.initialize(NodeContext("z", "zip", emit=self.emit))

    def emit(self, port, data):
        self.given.setdefault(port, []).append(data)

    def put(self, port, *stamps):
        for stamp in stamps:
            self.node.process(RuntimeData.json(f"{port}{stamp}", timestamp_ns=stamp, session_id=port), port)

    def said(self, port):
        return [data.as_json() for data in self.given.get(port, [])]

    def groups(self):
        """Which data of the first and the second input have the same number."""
        first, second = ({d.meta["group"]: d.as_json() for d in self.given.get(name, [])} for name in NAMES)
        assert first.keys() == second.keys()
        return [(first[n], second[n]) for n in sorted(first)]


def by_time(tolerance_ms=0.0, names=NAMES):
    return Zip(inputs=list(names), by="timestamp", tolerance_ms=tolerance_ms)


# By order


def test_by_order_the_nth_belongs_to_the_nth():
    """Whatever their time stamps, and whoever is ahead."""
    driven = Driven(Zip(inputs=NAMES))
    driven.put("a", 5, 1, 9)
    assert driven.given == {}
    driven.put("b", 7, 8)
    assert driven.groups() == [("a5", "b7"), ("a1", "b8")]


def test_data_of_a_group_are_as_they_came_but_for_the_number():
    """Session, time stamp, type, bytes and own fields stay; `meta` says the group."""
    driven = Driven(Zip(inputs=NAMES))
    text = RuntimeData.text("x", session_id="s", timestamp_ns=3, meta={"mine": [1]})
    audio = RuntimeData.audio([0.5, 0.25], sample_rate=8000, channels=2, session_id="t", timestamp_ns=4)
    driven.node.process(text, "a")
    driven.node.process(audio, "b")
    (left,), (right,) = driven.given["a"], driven.given["b"]
    text.meta = {"mine": [1], "group": 0}
    audio.meta = {"group": 0}
    assert (left, right) == (text, audio)
    assert right.payload is audio.payload  # not copied


def test_what_is_left_at_the_end_has_no_partner(caplog):
    """It comes out of the port of its name, and the log says how many there were."""
    driven = Driven(Zip(inputs=NAMES))
    driven.put("a", 1, 2, 3)
    driven.put("b", 1)
    with caplog.at_level(logging.WARNING):
        driven.node.flush()
    assert (driven.said("unmatched_a"), driven.said("unmatched_b")) == (["a2", "a3"], [])
    assert caplog.messages == ["data without a partner: 2 of a, 0 of b"]


# By time stamp


def test_by_timestamp_equal_stamps_belong_together():
    """Without tolerance, data of different stamps have no partner."""
    driven = Driven(by_time())
    driven.put("a", 1, 2, 4)
    driven.put("b", 2, 3, 4)
    assert driven.groups() == [("a2", "b2"), ("a4", "b4")]
    assert (driven.said("unmatched_a"), driven.said("unmatched_b")) == (["a1"], ["b3"])


def test_the_tolerance_belongs_to_the_group():
    """Stamps that far apart belong together, those a nanosecond further do not."""
    driven = Driven(by_time(0.001))
    driven.put("a", 0, 5000)
    driven.put("b", 1000, 6001)
    driven.node.flush()
    assert driven.groups() == [("a0", "b1000")]
    assert (driven.said("unmatched_a"), driven.said("unmatched_b")) == (["a5000"], ["b6001"])


def test_a_datum_goes_as_soon_as_its_partner_can_not_come():
    """A newer one of the other input is enough: nothing waits for the end."""
    driven = Driven(by_time())
    driven.put("a", 10)
    driven.put("b", 10, 30)
    driven.put("a", 20)
    assert driven.said("unmatched_a") == ["a20"]
    assert driven.node.wants("a")
    assert not driven.node.wants("b")


def test_three_inputs_belong_together_or_not_at_all():
    """A group has one of each."""
    driven = Driven(by_time(0.001, ["a", "b", "c"]))
    driven.put("a", 0, 2000)
    driven.put("b", 900, 2500)
    driven.put("c", 1800, 2900)
    assert driven.said("unmatched_a") == ["a0"]
    assert [driven.said(name) for name in "abc"] == [["a2000"], ["b2500"], ["c1800"]]
    assert driven.said("unmatched_b") == ["b900"]
    assert driven.said("unmatched_c") == []


def test_after_the_end_of_an_input_nothing_is_kept():
    """What comes of the others has no partner, at once."""
    driven = Driven(by_time())
    driven.put("a", 1)
    driven.node.ended("b")
    driven.put("a", 2)
    assert driven.said("unmatched_a") == ["a1", "a2"]


STAMPS = st.lists(st.integers(0, 30), max_size=12).map(sorted)


def everything(node, events):
    """What a node gives on each port for inputs in this order."""
    driven = Driven(node)
    for name, stamp in events:
        if stamp is None:
            driven.node.ended(name)
        else:
            driven.put(name, stamp)
    driven.node.flush()
    return {port: [(d.as_json(), d.meta.get("group")) for d in data] for port, data in driven.given.items()}


@given(st.lists(STAMPS, min_size=2, max_size=3), st.sampled_from([0.0, 0.000002]), st.booleans(), st.data())
def test_what_zip_gives_depends_on_each_input_and_not_on_their_order(inputs, tolerance_ms, by_order, data):
    """However the inputs and their ends interleave, each output port gives the same; and no datum is lost."""
    names = ["a", "b", "c"][: len(inputs)]
    queues = {name: [*stamps, None] for name, stamps in zip(names, inputs, strict=True)}
    in_turn = [(name, stamp) for name, stamps in queues.items() for stamp in stamps]

    def node():
        return Zip(inputs=names) if by_order else by_time(tolerance_ms, names)

    mixed = []
    rest = {name: list(stamps) for name, stamps in queues.items()}
    while any(rest.values()):
        name = data.draw(st.sampled_from([name for name in names if rest[name]]))
        mixed.append((name, rest[name].pop(0)))
    given_in_turn = everything(node(), in_turn)
    assert everything(node(), mixed) == given_in_turn
    assert sum(map(len, given_in_turn.values())) == sum(map(len, inputs))


@given(STAMPS, STAMPS, st.integers(0, 24), st.sampled_from(["order", "timestamp", "latest"]))
def test_a_snapshot_goes_on_where_it_was_made(left, right, at, kind):
    """A new node that is given the snapshot gives what the old one would have given."""

    def make():
        if kind == "latest":
            return LatestOf(inputs=NAMES)
        return Zip(inputs=NAMES, by=kind)

    events = [("a", s) for s in left] + [("b", s) for s in right]
    events.sort(key=lambda event: event[1])
    whole, first, second = Driven(make()), Driven(make()), Driven(make())
    for name, stamp in events:
        whole.put(name, stamp)
    for name, stamp in events[:at]:
        first.put(name, stamp)
    state = first.node.snapshot()
    second.given = first.given
    second.node.restore(state)
    for name, stamp in events[at:]:
        second.put(name, stamp)
    whole.node.flush()
    second.node.flush()
    assert second.given == whole.given


# latest_of


def test_latest_of_samples_the_others():
    """Each datum of the first input comes with the newest of the others; before there is one, without a partner."""
    driven = Driven(LatestOf(inputs=NAMES))
    driven.put("a", 0)
    driven.put("b", 1, 2)
    driven.put("a", 3, 4)
    driven.put("b", 5)
    driven.put("a", 6)
    assert driven.groups() == [("a3", "b2"), ("a4", "b2"), ("a6", "b5")]
    assert driven.said("unmatched_a") == ["a0"]


# In graphs


def grouped(executor, node_type, left, right, params=None, outputs=("left", "right"), **edge):
    """The node behind two sources; the values of each output, and the report."""
    kept = {port: [] for port in outputs}
    pipeline = penstock.Pipeline()
    pipeline.add("l", f"{GROUPS}:Ranged", {"stamps_ms": left}, executor=executor)
    pipeline.add("r", f"{GROUPS}:Ranged", {"stamps_ms": right}, executor=executor)
    pipeline.add("z", node_type, params, executor=executor)
    pipeline.connect("l -> z.left", **edge).connect("r -> z.right", **edge)
    for port in outputs:
        pipeline.add(f"keep_{port}", lambda data, port=port: kept[port].append(data))
        pipeline.connect(f"z.{port} -> keep_{port}")
    report = penstock.run(pipeline)
    drained(report.to_json())
    return kept, report


@BOTH
@pytest.mark.parametrize("capacity", [1, 64])
def test_zip_in_a_graph(executor, capacity):
    """By time stamp, in one process and across processes, with room for one datum and for many."""
    params = {"inputs": {"left": "json", "right": "json"}, "by": "timestamp", "tolerance_ms": 2}
    left, right = list(range(0, 300, 3)), list(range(1, 300, 7))
    ports = ("left", "right", "unmatched_left", "unmatched_right")
    kept, _ = grouped(executor, "zip", left, right, params, ports, capacity=capacity)
    expected = everything(by_time(0.000002), [("a", s) for s in left] + [("b", s) for s in right])
    for port, name in (("left", "a"), ("right", "b"), ("unmatched_left", "unmatched_a")):
        said = [(f"{name[-1]}{data.as_json()}", data.meta.get("group")) for data in kept[port]]
        assert said == expected.get(name, [])
    assert all(data.meta["own"] == data.as_json() and data.session_id == "s" for data in kept["left"])


@BOTH
async def test_zip_holds_up_who_is_ahead(tmp_path, executor):
    """It takes no more of an input than it can use: what waits, waits on the edge, and fills it."""
    kept, flag = [], tmp_path / "go"
    pipeline = penstock.Pipeline()
    pipeline.add("l", f"{NODES}:Numbers", {"count": 40}, executor=executor)
    pipeline.add("r", f"{NODES}:Numbers", {"count": 20}).add("hold", f"{NODES}:Hold", {"path": str(flag)}, thread=True)
    pipeline.add("z", f"{GROUPS}:Pair", executor=executor).add("keep", lambda data: kept.append(data.as_json()))
    pipeline.connect("l", "z.left", capacity=4).connect("r -> hold -> z.right").connect("z -> keep")
    async with pipeline.open() as run:

        def ahead():
            (edge,) = (edge for edge in run.report().edges if edge.name == "l.out -> z.left")
            return edge

        while ahead().in_flight < 4:
            await trio.sleep(0.001)
        for _ in range(20):
            await trio.sleep(0.001)
            assert ahead().received <= 1
            assert ahead().in_flight <= 4
        flag.touch()
        await run.wait()
    assert kept == [*([n, n] for n in range(20)), *(["left", n] for n in range(20, 40))]


@BOTH
def test_latest_of_in_a_graph(executor):
    """Every datum of the first input comes out once, with or without a partner."""
    params = {"inputs": ["left", "right"]}
    kept, _ = grouped(executor, "latest_of", list(range(50)), [7], params, ("left", "right", "unmatched_left"))
    values = [data.as_json() for data in kept["unmatched_left"] + kept["left"]]
    assert values == list(range(50))
    assert {data.as_json() for data in kept["right"]} <= {7}
    assert len(kept["left"]) == len(kept["right"])


@BOTH
def test_a_node_takes_what_it_wants(executor):
    """All of one input, then the other; it is told when each has ended, once, before it is flushed."""
    kept, _ = grouped(executor, f"{GROUPS}:FirstLeft", list(range(9)), list(range(9)), outputs=("out",), capacity=2)
    assert [data.as_json() for data in kept["out"]] == [
        *(["left", n] for n in range(9)),
        "no more left",
        *(["right", n] for n in range(9)),
        "no more right",
    ]


@BOTH
def test_a_port_has_ended_when_all_its_edges_have(executor):
    """Two sources into one port: the node is told once, behind the last datum of both."""
    kept = []
    pipeline = penstock.Pipeline()
    for name in ("l", "m", "r"):
        pipeline.add(name, f"{GROUPS}:Ranged", {"stamps_ms": [1, 2, 3]}, executor=executor)
    pipeline.add("z", f"{GROUPS}:FirstLeft", executor=executor).add("keep", lambda data: kept.append(data.as_json()))
    pipeline.connect("l -> z.left").connect("m -> z.left").connect("r -> z.right").connect("z -> keep")
    penstock.run(pipeline)
    assert sorted(kept[:6]) == sorted(["left", n] for n in (1, 1, 2, 2, 3, 3))
    assert kept[6:] == ["no more left", *(["right", n] for n in (1, 2, 3)), "no more right"]


@BOTH
def test_a_node_that_wants_nothing_fails_by_name(executor):
    """It would wait for ever; the run fails instead and says why."""
    with pytest.raises(NodeExecution, match="'z'.*wants none of the inputs that are left: left, right"):
        grouped(executor, f"{GROUPS}:WantsNothing", [1], [1], outputs=("out",))


@BOTH
def test_ports_can_depend_on_parameters(executor):
    """A node type may say its ports for its parameters; edges are checked against them."""
    kept = {label: [] for label in "xyz"}
    pipeline = penstock.Pipeline()
    pipeline.add("n", f"{NODES}:Numbers", {"count": 9}).add(
        "s", f"{GROUPS}:Labels", {"labels": list("xyz")}, executor=executor
    )
    pipeline.connect("n -> s")
    for label in "xyz":
        pipeline.add(label, lambda data, label=label: kept[label].append(data.as_json()))
        pipeline.connect(f"s.{label} -> {label}")
    penstock.run(pipeline)
    assert kept == {"x": [0, 3, 6], "y": [1, 4, 7], "z": [2, 5, 8]}


WRONG = {
    "no inputs": ({}, "inputs are the names of two or more ports"),
    "one input": ({"inputs": ["left"]}, "inputs are the names of two or more ports, not ['left']"),
    "twice": ({"inputs": ["left", "left"]}, "inputs has a name twice: left, left"),
    "no name": ({"inputs": ["left", "ri.ght"]}, "'ri.ght' is no name for a port"),
    "taken name": ({"inputs": ["left", "unmatched_left"]}, "'unmatched_left' is no name for a port"),
    "type": ({"inputs": {"left": "json", "right": "jsn"}}, "port 'right' of zip has the type 'jsn'"),
    "by": ({"inputs": ["left", "right"], "by": "time"}, "parameter 'by'"),
    "tolerance": ({"inputs": ["left", "right"], "tolerance_ms": 3}, "tolerance_ms is for by: timestamp"),
    "negative": ({"inputs": ["left", "right"], "by": "timestamp", "tolerance_ms": -3}, "tolerance_ms must be at least"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_zip_that_can_not_be(what):
    """Every mistake in its parameters is found by the check."""
    params, text = WRONG[what]
    with pytest.raises(PipelineInvalid) as caught:
        penstock.Pipeline().add("z", "zip", params).check()
    assert any(text in problem.text for problem in caught.value.problems), caught.value.problems


def test_the_types_of_a_zip_are_checked():
    """Where its inputs have types, so have its outputs."""
    pipeline = penstock.Pipeline().add("z", "zip", {"inputs": {"left": "json", "right": "text"}})
    pipeline.add("l", f"{NODES}:Numbers").add("r", f"{NODES}:Numbers").connect("l -> z.left").connect("r -> z.right")
    with pytest.raises(PipelineInvalid, match=r"r\.out gives json, but z\.right takes text"):
        pipeline.check()


def test_outside_a_graph_zip_needs_its_inputs():
    """The class says so itself."""
    with pytest.raises(Validation, match="names of two or more ports"):
        Zip()


def test_a_stream_of_a_bridge_can_not_be_chosen_from():
    """A stream has one way in: what comes too early is kept, and nothing is lost."""
    driven = Driven(Zip(inputs=NAMES))
    for n, name in itertools.product(range(3), "a"):
        driven.put(name, n)
    driven.put("b", 0, 1, 2)
    assert driven.groups() == [("a0", "b0"), ("a1", "b1"), ("a2", "b2")]


def test_all_of_it_in_one_process():
    """`--executor native` runs the same graph."""
    pipeline = penstock.Pipeline()
    kept = []
    pipeline.add("l", f"{GROUPS}:Ranged", {"stamps_ms": [1, 2]}).add("r", f"{GROUPS}:Ranged", {"stamps_ms": [1, 2]})
    pipeline.add("z", f"{GROUPS}:Pair", executor="multiprocess").add("keep", lambda data: kept.append(data.as_json()))
    pipeline.connect("l -> z.left").connect("r -> z.right").connect("z -> keep")
    penstock.run(pipeline, RunOptions(only_native=True))
    assert kept == [[1, 1], [2, 2]]


# A crash


@pytest.mark.parametrize("when", ["group", "ended left", "ended right", "behind"])
def test_a_zip_whose_process_dies_gives_everything_once(tmp_path, when):
    """Whether it dies between data, when it hears of an end, or behind it: the next process goes on exactly there."""
    params = {"path": str(tmp_path / "dead"), "when": when}
    kept, report = grouped("multiprocess", f"{GROUPS}:MortalPair", list(range(20)), list(range(12)), params, ("out",))
    assert (tmp_path / "dead").exists()
    assert [data.as_json() for data in kept["out"]] == [
        *([n, n] for n in range(12)),
        *(["left", n] for n in range(12, 20)),
    ]
    assert report.outcome == "completed"
