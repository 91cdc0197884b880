"""Nodes that wait for each other for want of room: an edge grows, or the run fails and names it."""

from __future__ import annotations

import os
import select
import signal
from types import SimpleNamespace

import pytest
import trio
from support import MORE, NODES, manifest, until
from traced import forked

import penstock
from penstock.engine import watch
from penstock.engine.activity import WORKING, Activity
from penstock.engine.deadlock import circles, narrowest, stuck
from penstock.engine.declarations import EdgeDecl, NodeDecl, PortRef
from penstock.engine.options import RunOptions
from penstock.engine.plan import PlannedEdge, PlannedNode, PlannedPort
from penstock.engine.problems import PipelineInvalid
from penstock.engine.watch import Deadlock
from penstock.executors.contract import ExecutorType
from penstock.executors.multiprocess.asleep import is_asleep
from penstock.executors.multiprocess.delivery import Delivery
from penstock.executors.multiprocess.wiring import Wiring
from penstock.shm.doorbell import Doorbell
from penstock.shm.ring import Word

COUNT = 120
CAPACITY = 4
NATIVE, WORKER = "native", "multiprocess"
PLACES = pytest.mark.parametrize(
    ("source", "batch", "joint"),
    [(NATIVE, NATIVE, NATIVE), (WORKER, WORKER, WORKER), (NATIVE, WORKER, NATIVE), (WORKER, NATIVE, WORKER)],
)


def lopsided(source=NATIVE, batch=NATIVE, joint=NATIVE, *, capacity=CAPACITY, **said):
    """Source -> zip beside source -> batches of 10 -> zip: the straight way has to hold nine while a batch fills."""
    left, right = [], []
    pipeline = penstock.Pipeline(**said).add("in", f"{NODES}:Numbers", {"count": COUNT}, executor=source)
    pipeline.add("batch", f"{MORE}:Batch", {"size": 10}, executor=batch)
    pipeline.add("zip", "zip", {"inputs": ["left", "right"]}, executor=joint)
    pipeline.add("a", lambda data: left.append(data.as_json())).add("b", lambda data: right.append(data.as_json()))
    pipeline.connect("in -> zip.left", capacity=capacity).connect("in -> batch -> zip.right", capacity=capacity)
    pipeline.connect("zip.left -> a").connect("zip.right -> b")
    return pipeline, left, right


def edges_of(report):
    for edge in report.edges:
        assert edge.sent == edge.received + edge.dropped + edge.in_flight, edge
    return {edge.name: edge for edge in report.edges}


@PLACES
def test_a_graph_that_would_stand_still_finishes(source, batch, joint, caplog):
    """The edge that is too narrow grows as often as it has to, no other one does, and the report says so."""
    pipeline, left, right = lopsided(source, batch, joint)
    report = penstock.run(pipeline)
    assert (report.outcome, left, right) == ("completed", list(range(COUNT)), list(range(COUNT)))
    edges = edges_of(report)
    grown = {name: (edge.grown_from, edge.capacity) for name, edge in edges.items() if edge.grown_from is not None}
    assert grown == {"in.out -> zip.left": (4, 16)}
    assert "edge in.out -> zip.left grew from 4 to 8 data" in caplog.text
    assert report.to_json()["edges"][0].keys() >= {"capacity", "grown_from"}


@PLACES
def test_with_growth_forbidden_it_fails_and_names_the_edge(source, batch, joint):
    """Who waits for what, and what helps."""
    pipeline, _, _ = lopsided(source, batch, joint, max_growth=0)
    with pytest.raises(Deadlock) as caught:
        penstock.run(pipeline)
    said = str(caught.value)
    assert said.startswith("edge in.out -> zip.left is full with a capacity of 4, and nodes wait for each other: ")
    assert "in waits for room on in.out -> zip.left, batch waits for data on in.out -> batch.in" in said
    assert "zip waits for data on batch.out -> zip.right" in said
    assert "larger capacity" in said
    assert "max_growth" in said


def test_a_run_may_forbid_what_its_pipeline_allows_and_growth_has_an_end():
    """The option of the run stands over the pipeline's; a limit that is too low names what was reached."""
    pipeline, _, _ = lopsided(max_growth=5)
    with pytest.raises(Deadlock, match="capacity of 8, .*may not grow beyond 8 data"):
        penstock.run(pipeline, RunOptions(max_growth=1))


@pytest.mark.parametrize("place", [NATIVE, WORKER])
def test_an_edge_that_is_full_by_bytes_grows_too(place):
    """Capacity is not all that can be short."""
    pipeline, left, _ = lopsided(place, place, place, capacity=64)
    for edge in pipeline.edges:
        edge.max_bytes = 6
    assert penstock.run(pipeline).outcome == "completed"
    assert left == list(range(COUNT))


@pytest.mark.parametrize(("loop", "echo"), [(NATIVE, NATIVE), (WORKER, WORKER), (NATIVE, WORKER), (WORKER, NATIVE)])
def test_a_cycle_whose_edges_are_full_goes_on(loop, echo):
    """A -> B -> A: the one waits to give, the other to give back."""
    done = []
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 3})
    pipeline.add("loop", f"{MORE}:Loop", {"times": 12}, executor=loop).add("echo", f"{NODES}:echo", executor=echo)
    pipeline.add("out", lambda data: done.append(data.as_json()))
    pipeline.connect("in -> loop.in").connect("loop.out -> echo", capacity=2).connect("loop.done -> out")
    pipeline.connect("echo -> loop.back", capacity=3, feedback=True)
    report = penstock.run(pipeline)
    assert report.outcome == "completed"
    assert sorted(done) == sorted([*range(3)] * 12)
    assert any(edge.grown_from for edge in edges_of(report).values())


def test_a_manifest_says_how_often_an_edge_may_grow(tmp_path):
    """A whole number; anything else is a problem at its line, or of the check."""
    text = f'nodes:\n  a: {{type: "{NODES}:Numbers"}}\nmax_growth: '
    assert penstock.load(manifest(tmp_path, text + "3\n")).max_growth == 3
    with pytest.raises(PipelineInvalid, match=r":3: `max_growth` is a whole number, not 'much'"):
        penstock.load(manifest(tmp_path, text + "much\n")).check()
    for wrong in (-1, 16, True, None):
        with pytest.raises(PipelineInvalid, match=r"max_growth is a whole number from 0 to 15"):
            penstock.Pipeline(max_growth=wrong).add("a", f"{NODES}:Numbers").check()


# What is no deadlock


@pytest.fixture
def restless(monkeypatch):
    """A watch that looks all the time, and believes at once what it sees; how often it has looked for circles."""
    looks = []
    for name in ("_FIRST_PAUSE_S", "_PAUSE_S", "_LONGEST_PAUSE_S"):
        monkeypatch.setattr(watch, name, 0.001)
    resolve = watch.Watch._resolve
    monkeypatch.setattr(watch.Watch, "_resolve", lambda self, *args: (looks.append(1), resolve(self, *args))[1])
    return looks


@pytest.mark.parametrize("place", [NATIVE, WORKER])
def test_a_graph_that_is_merely_busy_does_not_grow(restless, place):
    """Edges of one datum that are full most of the time, and somebody who can always go on."""
    pipeline, left, _ = lopsided(place, place, place, capacity=1, max_growth=0)
    pipeline.set("batch", "size", 1).set("in", "count", 2000)
    report = penstock.run(pipeline)
    assert (report.outcome, left) == ("completed", list(range(2000)))
    assert restless


@pytest.mark.parametrize("place", [NATIVE, WORKER])
async def test_a_run_that_waits_for_its_user_is_not_deadlocked(restless, place):
    """One input of a zip is full and the other one the program's; then the program does not receive."""
    pipeline = penstock.Pipeline(max_growth=0).add("zip", "zip", {"inputs": ["left", "right"]}, executor=place)
    pipeline.add("in", f"{NODES}:Numbers", {"count": 20}, executor=place)
    pipeline.connect("in -> zip.left", capacity=2).input("right", "zip.right").output("both", "zip.left", capacity=2)
    pipeline.add("sink", lambda data: None).connect("zip.right -> sink")

    async def looked():
        begin = len(restless)
        with trio.fail_after(30):
            while len(restless) < begin + 50:
                await trio.sleep(0.001)

    async with pipeline.open() as run:
        await looked()
        for number in range(10):
            with trio.fail_after(30):
                await run.send("right", number)
        await looked()
        assert run.failure is None
        for number in range(10):
            assert (await run.receive("both")).as_json() == number


async def test_an_edge_grows_while_its_neighbours_are_killed(tmp_path):
    """kill -9 of the node that reads one edge and writes the next, which grow meanwhile: everything comes, once."""
    pipeline, left, right = lopsided(WORKER, NATIVE, WORKER, capacity=2)
    pipeline.set("batch", "size", 40)
    pipeline.edges.pop(0)
    pipeline.add("via", f"{NODES}:echo", executor=WORKER, delivery="replay", restart={"max": 100})
    pipeline.connect("in -> via -> zip.left", capacity=2)
    async with pipeline.open() as run:

        async def kill():
            for _ in range(6):
                before = sum(edge.sent for edge in run.report().edges)
                while sum(edge.sent for edge in run.report().edges) == before:
                    await trio.sleep(0.001)
                (pid,) = (node.pid for node in run.report().nodes if node.node_id == "via")
                if pid:
                    os.kill(pid, signal.SIGKILL)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kill)
                await run.wait()
                nursery.cancel_scope.cancel()
    report = run.report()
    assert (report.outcome, left, right) == ("completed", list(range(COUNT)), list(range(COUNT)))
    assert any(edge.grown_from for edge in edges_of(report).values())
    assert sum(node.restarts for node in report.nodes) > 0


# The pieces


def test_who_spins_or_was_rung_is_not_asleep():
    """As its kernel sees it: in a wait, and with nothing to read at its doorbell."""
    with Doorbell.create() as bell:

        def sleep():
            bell.wait()
            while True:
                pass

        with forked(sleep) as pid:
            until(lambda: is_asleep(pid, bell), "the child sleeps")
            bell.ring()
            until(lambda: not is_asleep(pid, bell), "the child spins")
            until(lambda: not select.select([bell.fileno()], [], [], 0)[0], "it has heard the bell")
            assert not is_asleep(pid, bell)
            bell.ring()
            assert not is_asleep(pid, bell)
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["lost", "wake_neighbours"])
def test_the_dead_wait_for_nothing(how):
    """What a process said of itself when it was killed in its sleep is not believed of the one after it."""
    with Wiring("a test") as wiring:
        party = wiring.party("node")
        links = wiring.link("a -> b", wiring.engine, party), wiring.link("b -> c", party, wiring.engine)
        for link in links:
            link.ring.words[Word.READER_WAITING] = link.ring.words[Word.WRITER_WAITING] = 1
        getattr(wiring, how)(party)
        into, out_of = (link.statistics() for link in links)
        assert (into.reader_waiting, into.writer_waiting) == (False, True)
        assert (out_of.reader_waiting, out_of.writer_waiting) == (True, False)


def graph(*pairs):
    """Nodes and edges from pairs of names; a name in capitals is the program's."""
    ends = {}
    for name in {name for pair in pairs for name in pair}:
        decl = NodeDecl(name, "")
        ends[name] = (
            PlannedPort(name)
            if name.isupper()
            else PlannedNode(
                decl, "", max, "", {}, ExecutorType.NATIVE, False, {}, {}, is_source=False, delivery=Delivery()
            )  # noqa: FBT003
        )
    edges = {
        source + target: PlannedEdge(EdgeDecl(PortRef(source), PortRef(target)), ends[source], "", ends[target], "")
        for source, target in pairs
    }
    return SimpleNamespace(**ends), SimpleNamespace(**edges)


def names(nodes):
    return "".join(sorted(node.node_id for node in nodes))


def test_who_waits_behind_a_circle_is_stuck_and_not_in_it():
    """a waits for room at b, which is in a circle with c and d; only their edges are asked."""
    n, e = graph("ab", "bd", "bc", "cd", "dx")
    waits = {
        n.a: Activity(room_on=e.ab),
        n.b: Activity(room_on=e.bd),
        n.c: Activity(data_on=(e.bc,)),
        n.d: Activity(data_on=(e.cd,)),
        n.x: Activity(data_on=(e.dx,)),
    }
    assert names(stuck(waits)) == "abcdx"
    (circle,) = circles(waits)
    assert names(circle) == "bcd"
    assert narrowest(circle, waits, {e.ab: 1, e.bd: 4}) is e.bd


def test_whoever_can_be_helped_is_not_stuck():
    """By one of several who might send, by a program, by a reader who works."""
    n, e = graph("ac", "bc", "cd", "Pd", "dQ")
    waits = {n.a: Activity(room_on=e.ac), n.b: WORKING, n.c: Activity(data_on=(e.ac, e.bc)), n.d: WORKING}
    assert stuck(waits) == set()
    waits = {
        n.a: Activity(room_on=e.ac),
        n.b: Activity(room_on=e.bc),
        n.c: Activity(room_on=e.cd),
        n.d: Activity(data_on=(e.cd, e.Pd)),
    }
    assert stuck(waits) == set()
    assert stuck({**waits, n.d: Activity(room_on=e.dQ)}) == set()
    assert names(stuck({**waits, n.d: Activity(data_on=(e.cd,))})) == "abcd"


def test_two_circles_are_two():
    """Each has its own narrowest edge; one in which nobody waits for room has none."""
    n, e = graph("ab", "ba", "cd", "dc", "bc")
    waits = {
        n.a: Activity(room_on=e.ab),
        n.b: Activity(room_on=e.ba),
        n.c: Activity(data_on=(e.dc,)),
        n.d: Activity(data_on=(e.cd,)),
    }
    first, second = circles(waits)
    assert (names(first), names(second)) == ("ab", "cd")
    assert narrowest(first, waits, {e.ab: 8, e.ba: 4}) is e.ba
    assert narrowest(second, waits, {}) is None
