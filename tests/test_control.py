"""Control of a run: other parameters while it runs, and interrupts."""

import threading

import numpy as np
import pytest
import trio
from support import NODES
from test_external import settled, through
from test_pipeline_streams import given, values

import penstock
from penstock.executors.contract import NodeExecution, RuntimeData, Validation
from penstock.shm import trio_doorbell


def balanced(run):
    """The edges of a run by name, after a look at their sums."""
    edges = {edge.name: edge for edge in run.report().edges}
    for edge in edges.values():
        assert edge.sent == edge.received + edge.dropped + edge.in_flight, edge
    return edges


# Parameters


class Scale:
    def __init__(self, factor: int = 2, *, offset: int = 0) -> None:
        self.factor = factor
        self.offset = offset

    def initialize(self, ctx):
        self.ctx = ctx

    async def process(self, data):
        await trio.lowlevel.checkpoint()
        return RuntimeData.json([data.as_json() * self.factor + self.offset, dict(self.ctx.params)])

    def configure(self, **params):
        for name, value in params.items():
            setattr(self, name, value)


def scaled(data, *, factor: int = 2):
    return RuntimeData.json(data.as_json() * factor)


async def test_a_class_is_configured_by_its_method():
    """`configure` gets what was changed, checked and converted; the context has all of the parameters."""
    pipeline = penstock.Pipeline().add("node", Scale, {"offset": 1}).input("in", "node").output("out", "node")
    async with pipeline.open() as run:
        await run.send("in", 1)
        assert (await run.receive("out")).as_json() == [3, {"offset": 1}]
        await run.configure("node", factor=10)
        await run.send("in", 1)
        assert (await run.receive("out")).as_json() == [11, {"offset": 1, "factor": 10}]


async def test_a_function_has_new_parameters_with_its_next_datum():
    """What is on its way already is worked on with what is said now."""
    async with through(scaled).open() as run:
        await run.send("in", 1)
        assert (await run.receive("out")).as_json() == 2
        await run.configure("node", factor=7)
        await run.send("in", 1)
        assert (await run.receive("out")).as_json() == 7


async def test_a_node_is_configured_between_two_data():
    """Who configures a node that is in a call waits for the end of that call, and its next one waits for him."""
    order = []
    gates = {name: trio.Event() for name in ("call", "configure")}

    class Slow:
        async def process(self, data):
            order.append("begin")
            await gates["call"].wait()
            order.append("end")

        async def configure(self, *, level: int):
            order.append(f"level {level}")
            await gates["configure"].wait()
            order.append("set")

    pipeline = penstock.Pipeline().add("node", Slow).input("in", "node")
    async with pipeline.open() as run, trio.open_nursery() as nursery:
        await run.send("in", 1)
        await settled()
        nursery.start_soon(lambda: run.configure("node", level=3))
        await settled()
        assert order == ["begin"]
        gates["call"].set()
        await settled()
        await run.send("in", 2)
        await settled()
        assert order == ["begin", "end", "level 3"]
        gates["configure"].set()
        await run.end("in")
        await run.wait()
    assert order == ["begin", "end", "level 3", "set", "begin", "end"]


class Fussy:
    def process(self, data):
        return data

    def configure(self, *, level: int):
        raise ValueError(f"level {level} is too loud")


async def test_what_can_not_be_configured_is_refused_and_the_run_goes_on():
    """Unknown nodes and names, wrong types, nodes without `configure`, workers, and what a node itself refuses."""
    pipeline = through(Scale).add("plain", given([])).add("fussy", Fussy)
    pipeline.add("worker", f"{NODES}:double", executor="multiprocess")
    pipeline.input("a", "fussy").input("b", "worker").add("sink", f"{NODES}:none").connect("plain -> sink")
    async with pipeline.open() as run:
        for node_id, params, text in [
            ("nod", {"factor": 1}, "there is no node 'nod': did you mean 'node'?"),
            ("node", {"facto": 1}, "node 'node': Scale has no parameter 'facto': did you mean 'factor'?"),
            ("node", {"factor": "x"}, "node 'node': parameter 'factor': expected int, got str"),
            ("fussy", {"volume": 1}, "node 'fussy': Fussy has no parameter 'volume': did you mean|there is level"),
            ("plain", {"x": 1}, r"node 'plain': Given has no configure\(\)"),
            ("worker", {"factors": 3}, "has no parameter 'factors': did you mean 'factor'?"),
        ]:
            with pytest.raises(Validation, match=text):
                await run.configure(node_id, **params)
        with pytest.raises(NodeExecution, match="node 'fussy': ValueError: level 11 is too loud"):
            await run.configure("fussy", level=11)
        await run.send("in", 2)
        assert (await run.receive("out")).as_json() == [4, {}]


async def test_a_node_that_never_waits_is_configured_after_the_call_in_hand(monkeypatch):
    """Whoever configures a node does not stand back for the thousands of data that it could go on with."""
    monkeypatch.setattr(trio_doorbell, "_BURST_NS", 1 << 60)  # turns by their number alone
    counts = []

    class Busy:
        def __init__(self, level: int = 1) -> None:
            self.count = 0

        async def process(self, data):
            self.count += 1
            if self.count == 10:
                asked.set()
            for _ in range(31):  # and one receive: others have their turn within a call, and never between two
                yield data

        def configure(self, **params):
            counts.append(self.count)

    asked = trio.Event()
    source = given([RuntimeData.json(n) for n in range(3000)])
    pipeline = (
        penstock.Pipeline().add("in", source).add("node", Busy, {"level": 1}).connect("in -> node", capacity=4000)
    )
    async with pipeline.open() as run:
        await asked.wait()
        await run.configure("node", level=2)
        await run.wait()
    assert 10 <= counts[0] <= 12


async def test_a_source_is_configured_while_it_waits():
    """A source that paces itself need not give its next datum first."""

    class Source:
        inputs = {}

        def __init__(self, value: int = 0):
            self.value = value

        async def produce(self):
            while True:
                yield RuntimeData.json(self.value)
                await changed.wait()

        def configure(self, *, value: int):
            self.value = value
            changed.set()

    changed = trio.Event()
    async with penstock.Pipeline().add("node", Source).output("out", "node").open() as run:
        assert (await run.receive("out")).as_json() == 0
        await run.configure("node", value=5)
        assert (await run.receive("out")).as_json() == 5


# Interrupts


class Speak:
    """Says each text in so many pieces, one at a time; told of an interrupt, and of how its generator ends."""

    def __init__(self, pieces: int = 3):
        self.pieces = pieces
        self.log = []

    async def process(self, data):
        try:
            for n in range(self.pieces):
                yield RuntimeData.json([data.as_json(), n])
                await trio.lowlevel.checkpoint()
        finally:
            self.log.append(("closed", data.as_json()))

    def interrupt(self):
        self.log.append("interrupted")


async def test_an_interrupt_drops_what_waits_and_stops_what_is_in_hand():
    """Data at and behind the node are gone and counted as dropped, its generator is closed; what comes then is new."""
    node = Speak(100)

    class Made(Speak):
        def __new__(cls):
            return node

        def __init__(self):
            pass

    async with through(Made, capacity=4).open() as run:
        for n in range(4):
            await run.send("in", n)
        await settled()
        assert (await run.receive("out")).as_json() == [0, 0]
        await settled()
        run.interrupt("node")
        edges = balanced(run)
        assert edges["node.out -> out"].in_flight == 0
        assert edges["in -> node.in"].in_flight == 1  # in hand, until its generator is closed
        await settled()
        assert balanced(run)["in -> node.in"].in_flight == 0
        assert node.log == [("closed", 0), "interrupted"]
        with pytest.raises(trio.WouldBlock):
            run.receive_nowait("out")
        await run.send("in", -1)
        assert [(await run.receive("out")).as_json() for _ in range(3)] == [[-1, n] for n in range(3)]
    edges = balanced(run)
    assert (edges["in -> node.in"].sent, edges["in -> node.in"].dropped) == (5, 4)
    assert edges["node.out -> out"].dropped > 0


async def test_an_interrupt_reaches_what_is_behind_and_nothing_else():
    """A node before the interrupted one, and a branch beside it, lose nothing; everything behind it does."""
    gate = trio.Event()
    seen = []

    async def slow(data):
        seen.append(data.as_json())
        await gate.wait()
        return data

    pipeline = penstock.Pipeline()
    for name in ("before", "node", "beside"):
        pipeline.add(name, f"{NODES}:echo")
    pipeline.add("behind", slow).connect("before -> node -> behind").connect("before -> beside")
    pipeline.input("in", "before").output("out", "behind").output("other", "beside")
    async with pipeline.open() as run:
        for n in range(3):
            await run.send("in", n)
        await settled()
        run.interrupt("node")
        await run.send("in", 3)
        await settled()
        gate.set()
        await run.end("in")
        assert values([data async for data in run.outputs("out")]) == [3]
        assert values([data async for data in run.outputs("other")]) == [0, 1, 2, 3]
    edges = balanced(run)
    assert seen == [0, 3]
    assert edges["before.out -> node.in"].dropped == 0
    assert (edges["node.out -> behind.in"].sent, edges["node.out -> behind.in"].dropped) == (4, 3)
    assert run.report().outcome == "completed"


async def test_a_node_may_shield_what_must_not_be_interrupted():
    """A call that shields itself comes to its end; what it gives is not sent any more."""
    done = []
    gate = trio.Event()

    async def careful(data):
        with trio.CancelScope(shield=True):
            await gate.wait()
            done.append(data.as_json())
        return data

    async with through(careful).open() as run:
        await run.send("in", 1)
        await settled()
        run.interrupt("node")
        await run.send("in", 2)
        gate.set()
        await run.end("in")
        assert values([data async for data in run.outputs("out")]) == [2]
    assert done == [1, 2]
    assert balanced(run)["in -> node.in"].dropped == 1


async def test_a_thread_is_not_listened_to_any_more():
    """A node in a thread comes to the end of its call before it gets its next datum; what it still gives is nowhere."""
    release = threading.Event()
    entered = threading.Event()
    calls = []

    class InThread:
        busy = False

        def process(self, data):
            assert not self.busy, "one call at a time"
            self.busy = True
            entered.set()
            release.wait(30)
            calls.append(data.as_json())
            self.busy = False
            yield data
            yield data

        def interrupt(self):
            assert not self.busy
            calls.append("interrupted")

    pipeline = penstock.Pipeline().add("node", InThread, thread=True).input("in", "node").output("out", "node")
    async with pipeline.open() as run:
        await run.send("in", 1)
        await trio.to_thread.run_sync(entered.wait)
        run.interrupt("node")
        await run.send("in", 2)
        await settled()
        release.set()
        await run.end("in")
        assert values([data async for data in run.outputs("out")]) == [2, 2]
    assert calls == [1, "interrupted", 2]
    assert balanced(run)["in -> node.in"].dropped == 1


async def test_a_node_may_interrupt_another_one_or_itself():
    """Barge-in from inside the graph: the caller is cut off where it next waits, if it is behind itself."""
    runs = []

    async def listen(data):
        if data.as_json() == -1:
            runs[0].interrupt("node")
        return data

    pipeline = penstock.Pipeline().add("listen", listen).add("node", f"{NODES}:echo").connect("listen -> node")
    pipeline.input("in", "listen").output("out", "node", capacity=2)
    async with pipeline.open() as run:
        runs.append(run)
        for value in (1, 2, 3):
            await run.send("in", value)
        await settled()
        await run.send("in", -1)
        await settled()
        await run.end("in")
        assert values([data async for data in run.outputs("out")]) == [-1]


async def test_an_interrupt_across_workers_keeps_the_ledger():
    """Rings at and behind the node are emptied by their readers, what is lost is counted, and new data come through."""
    pipeline = penstock.Pipeline()
    for name in ("a", "b"):
        pipeline.add(name, f"{NODES}:echo", executor="multiprocess")
    pipeline.connect("a -> b", capacity=4).input("in", "a", capacity=4).output("out", "b", capacity=4)
    async with pipeline.open() as run:
        sent = 0
        with trio.move_on_after(0.2):
            while True:
                await run.send("in", sent)
                sent += 1
        run.interrupt("a")
        await run.send("in", -1)
        await run.end("in")
        got = values([data async for data in run.outputs("out")])
        await run.wait()
    edges = balanced(run)
    assert got[-1] == -1
    assert len(got) <= 4  # those that the workers had in their hands
    assert sum(edge.dropped for edge in edges.values()) == sent + 1 - len(got)
    assert all(edge.in_flight == 0 for edge in edges.values())


@pytest.mark.parametrize("way", ["one", "two"])
async def test_an_interrupt_and_several_inputs(way):
    """Of a node with two inputs only that one is stale whose data come through the interrupted node."""
    gate = trio.Event()
    log = []

    class Both:
        inputs = {"left": "any", "right": "any"}
        outputs = {}

        async def process(self, data, port):
            await gate.wait()
            log.append((port, data.as_json()))

        def interrupt(self):
            log.append("interrupted")

    pipeline = penstock.Pipeline().add("node", f"{NODES}:echo").add("both", Both)
    pipeline.connect("node -> both.left").input("left", "node").input("right", "both.right")
    async with pipeline.open() as run:
        first, second = ("left", "right") if way == "one" else ("right", "left")
        await run.send(first, 1)
        await settled()
        await run.send(second, 2)
        await settled()
        run.interrupt("node")
        await settled()
        await run.send("left", 3)
        gate.set()
        await run.drain()
    assert sorted(log, key=str) == sorted([("right", 2 if way == "one" else 1), "interrupted", ("left", 3)], key=str)
    assert balanced(run)["node.out -> both.left"].dropped == 1


@pytest.mark.parametrize("room_first", [True, False])
async def test_a_datum_that_waited_for_the_room_of_an_interrupt_is_stale(room_first):
    """A node that waits for room when everything behind it is dropped does not put its old datum there."""
    async with through(capacity=1).open() as run:
        for n in range(2):  # one at the output, one in the hands of the node
            await run.send("in", n)
            await settled()
        if room_first:
            assert (await run.receive("out")).as_json() == 0
        run.interrupt("node")
        await settled()
        with pytest.raises(trio.WouldBlock):
            run.receive_nowait("out")
        await run.send("in", 3)
        assert (await run.receive("out")).as_json() == 3


async def test_builtin_nodes_throw_away_what_they_hold_back():
    """Half a piece of audio from before an interrupt is not the beginning of the first one after it."""
    pipeline = penstock.Pipeline().add("node", "chunk", {"samples": 4}).input("in", "node").output("out", "node")
    async with pipeline.open() as run:
        await run.send("in", RuntimeData.audio(np.full(6, 1, "f4"), sample_rate=8000))
        await settled()
        run.interrupt("node")
        await settled()
        await run.send("in", RuntimeData.audio(np.full(4, 2, "f4"), sample_rate=8000))
        assert (await run.receive("out")).as_audio().samples.tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("thread", [False, True])
@pytest.mark.parametrize("steps", range(7))
async def test_nothing_old_begins_after_an_interrupt(steps, thread):
    """However far a datum has come, when the interrupt is over no node begins with it and no reader gets it."""
    seen, got = [], []

    def node(data):
        seen.append(data.as_json())
        return data

    async def read(run):
        async for data in run.outputs("out"):
            got.append(data.as_json())  # noqa: PERF401  each as it comes

    pipeline = penstock.Pipeline().add("first", f"{NODES}:echo").add("node", node, thread=thread)
    pipeline.connect("first -> node").input("in", "first").output("out", "node")
    async with trio.open_nursery() as nursery:
        async with pipeline.open() as run:
            nursery.start_soon(read, run)
            for n in range(30):
                await settled()
                run.send_nowait("in", n)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                run.interrupt("first")
                before = (n in seen or thread, list(got))
                await settled()
                assert (n in seen or thread, got) == before
    balanced(run)
