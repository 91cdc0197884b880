"""What an edge does when it is full, in whole pipelines: what is lost is counted, what is kept is in order."""

from __future__ import annotations

import re
import threading

import pytest
import trio
import trio.testing
from support import MORE, NODES, manifest

import penstock
from penstock.engine.edge import EdgeFailed
from penstock.engine.local_edge import LocalEdge
from penstock.engine.problems import PipelineInvalid
from penstock.executors.contract import NodeExecution, RuntimeData

COUNT = 300
CAPACITY = 4
PLACES = pytest.mark.parametrize(
    ("source", "sink"),
    [("native", "native"), ("native", "multiprocess"), ("multiprocess", "native"), ("multiprocess", "multiprocess")],
)


def ledger(run, name="in.out -> hold.in"):
    """The account of an edge, which is right at every moment."""
    report = run.report()
    for edge in report.edges:
        assert edge.sent == edge.received + edge.dropped + edge.in_flight, edge
        assert edge.in_flight >= 0, edge
    (edge,) = (edge for edge in report.edges if edge.name == name)
    return edge


def held_up(tmp_path, source, sink, policy, *, from_manifest, capacity=None, max_age_s=None):
    """A source, an edge with a policy, and a node that works only once there is a file; then all into a list."""
    gate, kept = tmp_path / "gate", []
    if from_manifest:
        size = (f", capacity: {capacity}" if capacity else "") + (f", max_age: {max_age_s}" if max_age_s else "")
        thread = str(sink == "native").lower()
        text = f"""
            nodes:
              in: {{type: "{NODES}:Numbers", executor: {source}, params: {{count: {COUNT}}}}}
              hold: {{type: "{NODES}:Hold", executor: {sink}, thread: {thread}, params: {{path: "{gate}"}}}}
            edges: [{{from: in, to: hold, policy: {policy}{size}}}]
            """
        pipeline = penstock.load(manifest(tmp_path, text))
    else:
        size = {"capacity": capacity} if capacity else {}
        size |= {"max_age_s": max_age_s} if max_age_s else {}
        pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": COUNT}, executor=source)
        pipeline.add("hold", f"{NODES}:Hold", {"path": str(gate)}, executor=sink, thread=sink == "native")
        pipeline.connect("in -> hold", policy=policy, **size)
    pipeline.add("out", lambda data: kept.append(data.as_json())).connect("hold -> out")
    return pipeline, gate, kept


async def run_until(pipeline, gate, enough):
    """Open the gate when the edge has seen enough; the edge's last account."""
    async with pipeline.open() as run:
        with trio.fail_after(30):
            while not enough(ledger(run)):
                await trio.sleep(0.002)
        gate.touch()
        await run.wait()
    edge = ledger(run)
    assert run.report().outcome == "completed"
    assert edge.in_flight == 0
    return edge


@PLACES
@pytest.mark.parametrize("policy", ["drop_oldest", "latest"])
async def test_the_newest_data_are_kept(tmp_path, source, sink, policy):
    """What was in hand when the edge ran over, then the last ones, in order; all others are counted as dropped."""
    room = 1 if policy == "latest" else CAPACITY
    capacity = None if policy == "latest" else CAPACITY
    pipeline, gate, kept = held_up(tmp_path, source, sink, policy, from_manifest=source != sink, capacity=capacity)
    edge = await run_until(pipeline, gate, lambda edge: edge.sent == COUNT)
    assert kept[-room:] == list(range(COUNT - room, COUNT))
    assert len(kept) <= room + 1
    assert kept == sorted(set(kept))
    assert (edge.capacity, edge.sent, edge.received, edge.dropped) == (room, COUNT, len(kept), COUNT - len(kept))


@PLACES
async def test_the_oldest_data_are_kept(tmp_path, source, sink):
    """drop_newest: what fitted first, and nothing of what came later."""
    pipeline, gate, kept = held_up(
        tmp_path, source, sink, "drop_newest", from_manifest=source == sink, capacity=CAPACITY
    )
    edge = await run_until(pipeline, gate, lambda edge: edge.sent == COUNT)
    assert kept == list(range(CAPACITY))
    assert (edge.sent, edge.received, edge.dropped) == (COUNT, CAPACITY, COUNT - CAPACITY)


@PLACES
async def test_who_blocks_loses_nothing(tmp_path, source, sink):
    """The source waits for as long as it takes."""
    pipeline, gate, kept = held_up(tmp_path, source, sink, "block", from_manifest=True, capacity=CAPACITY)
    edge = await run_until(pipeline, gate, lambda edge: edge.in_flight == CAPACITY)
    assert kept == list(range(COUNT))
    assert (edge.sent, edge.received, edge.dropped) == (COUNT, COUNT, 0)


@PLACES
async def test_a_full_edge_fails_its_sender_at_once(tmp_path, source, sink):
    """error: the run fails where the datum did not fit, and says which edge, how full it was, and what helps."""
    pipeline, gate, kept = held_up(tmp_path, source, sink, "error", from_manifest=source != sink, capacity=CAPACITY)
    with pytest.raises(NodeExecution) as caught:
        async with pipeline.open() as run:
            try:
                with trio.fail_after(30):
                    await run.wait()
            finally:
                gate.touch()  # for a thread, which a run that has failed leaves behind
    with trio.fail_after(30):
        while any("_in_thread" in thread.name for thread in threading.enumerate()):
            await trio.sleep(0.005)
    said = str(caught.value)
    assert re.match(r"node 'in': .*edge in.out -> hold.in: no room: 4 of 4 data and \d+ of 16777216 bytes", said), said
    assert "capacity" in said
    edge = ledger(run)
    assert (edge.sent, edge.dropped) == (CAPACITY, 0), "what did not fit was not sent"
    assert (run.report().outcome, kept) == ("failed", list(range(len(kept))))


@PLACES
async def test_an_edge_that_may_fail_and_need_not_is_like_any_other(tmp_path, source, sink):
    """error: where there is room nothing is lost."""
    pipeline, gate, kept = held_up(tmp_path, source, sink, "error", from_manifest=source == sink, capacity=COUNT)
    edge = await run_until(pipeline, gate, lambda edge: edge.sent == COUNT)
    assert kept == list(range(COUNT))
    assert (edge.sent, edge.received, edge.dropped) == (COUNT, COUNT, 0)


@PLACES
@pytest.mark.parametrize("policy", ["block", "drop_oldest"])
async def test_what_has_waited_for_too_long_is_dropped(tmp_path, source, sink, policy):
    """max_age: the datum in hand when the edge filled up, and nothing that waited behind it; all of it is counted."""
    pipeline, gate, kept = held_up(
        tmp_path, source, sink, policy, from_manifest=source == sink, capacity=COUNT, max_age_s=0.2
    )
    async with pipeline.open() as run:
        with trio.fail_after(30):
            while ledger(run).sent < COUNT:
                await trio.sleep(0.002)
        await trio.sleep(0.4)
        gate.touch()
        await run.wait()
    edge = ledger(run)
    assert kept in ([0], []), "the first one may have been old before its node was there"
    assert (edge.sent, edge.received, edge.dropped, edge.in_flight) == (COUNT, len(kept), COUNT - len(kept), 0)


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "latest"])
@pytest.mark.parametrize("wait", ["sleep", "spin"])
def test_at_full_speed_the_account_is_exact(policy, wait):
    """Two workers and large payloads: order is kept, the last one comes where it may, and memory does not grow."""
    kept = []

    def keep(data):
        kept.append(int(data.as_tensor()[0]))

    pipeline = penstock.Pipeline(wait=wait)
    pipeline.add("in", f"{MORE}:Frames", {"nbytes": 40_000, "count": 250}, executor="multiprocess")
    pipeline.add("hold", f"{NODES}:echo", executor="multiprocess").add("out", keep)
    pipeline.connect("in -> hold", policy=policy, **({} if policy == "latest" else {"capacity": 2}))
    report = penstock.run(pipeline.connect("hold -> out"))
    first, second = sorted(report.edges, key=lambda edge: edge.name, reverse=True)
    for edge in (first, second):
        assert edge.sent == edge.received + edge.dropped
        assert edge.in_flight == 0
    dropping, blocking = sorted((first, second), key=lambda edge: edge.name.startswith("hold"))
    assert (dropping.sent, blocking.dropped) == (250, 0)
    assert len(kept) == dropping.received == blocking.sent
    assert kept == sorted(set(kept))
    assert kept[0] == 0 if policy == "drop_newest" else kept[-1] == 249


async def test_an_edge_that_drops_beside_one_that_does_not(tmp_path):
    """A fan-out: the slow branch loses data, the other one gets them all."""
    gate, slow, fast = tmp_path / "gate", [], []
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": COUNT}, executor="multiprocess")
    pipeline.add("hold", f"{NODES}:Hold", {"path": str(gate)}, executor="multiprocess")
    pipeline.add("out", lambda data: slow.append(data.as_json())).add("all", lambda data: fast.append(data.as_json()))
    pipeline.connect("in -> hold", policy="latest").connect("hold -> out").connect("in -> all", capacity=2)
    edge = await run_until(pipeline, gate, lambda edge: edge.sent == COUNT)
    assert fast == list(range(COUNT))
    assert slow[-1] == COUNT - 1
    assert edge.dropped == COUNT - len(slow) > 0


# What is wrong with a policy

GOOD = f"""\
nodes:
  one: {{type: "{NODES}:Numbers"}}
  two: {{type: "{NODES}:echo", executor: multiprocess}}
edges:
  - {{from: one, to: two, POLICY}}
"""


@pytest.mark.parametrize(
    ("said", "fragments"),
    [
        ("policy: latset", ["no policy 'latset'", "did you mean 'latest'?"]),
        ("policy: 3", ["`policy`", "3"]),
        ("policy: [latest]", ["`policy`", "latest"]),
        ("policy: latest, timeout: 2", ["timeout is for edges that block", "latest"]),
        ("policy: drop_oldest, timeout: 2", ["timeout is for edges that block", "drop_oldest"]),
        ("policy: drop_newest, timeout: 2", ["timeout is for edges that block", "drop_newest"]),
        ("policy: error, timeout: 2", ["timeout is for edges that block", "error"]),
        ("policy: latest, capacity: 8", ["latest keeps one datum", "drop_oldest"]),
        ("policy: latest, capacity: 64", ["latest keeps one datum", "drop_oldest"]),
        ("capacity: 65536", ["capacity", "65535"]),
        ("max_age: 0", ["max_age is a number of seconds above 0"]),
        ("max_age: soon", ["`max_age` is a number of seconds", "'soon'"]),
    ],
)
def test_a_policy_that_can_not_be_is_a_problem_at_its_line(tmp_path, said, fragments):
    """One problem, the line of the edge, and the remedy."""
    path = manifest(tmp_path, GOOD.replace("POLICY", said))
    with pytest.raises(PipelineInvalid) as caught:
        penstock.load(path).check()
    (problem,) = map(str, caught.value.problems)
    assert re.match(rf"{re.escape(str(path))}:5: ", problem), problem
    assert all(fragment in problem for fragment in fragments), problem


@pytest.mark.parametrize("said", ["policy: block, timeout: 2", "policy: latest", "policy: latest, capacity: 1"])
def test_a_policy_that_can_be_is_none(tmp_path, said):
    """`latest` has the capacity of one, said or not."""
    (edge,) = penstock.load(manifest(tmp_path, GOOD.replace("POLICY", said))).check().edges
    assert edge.decl.capacity == (1 if "latest" in said else 64)


@pytest.mark.parametrize(
    ("said", "fragment"),
    [
        ({"policy": ["block"]}, "there is no policy ['block']"),
        ({"policy": "latest", "capacity": 64}, "latest keeps one datum"),
    ],
)
def test_python_is_told_what_a_manifest_is_told(said, fragment):
    """A policy that can not be is a problem of the check, at the line that asked for it."""
    pipeline = (
        penstock.Pipeline().add("one", f"{NODES}:Numbers").add("two", f"{NODES}:echo").connect("one -> two", **said)
    )
    with pytest.raises(PipelineInvalid, match=re.escape(fragment)) as caught:
        pipeline.check()
    assert str(caught.value.problems[0]).startswith(__file__)


@pytest.mark.parametrize(("said", "line"), [("wait: spni", 6), ("wait: 3", 6), ("wait: [sleep]", 6)])
def test_a_way_to_wait_that_is_none_is_a_problem_at_its_line(tmp_path, said, line):
    """With what it may have meant."""
    path = manifest(tmp_path, GOOD.replace("POLICY", "policy: block") + said + "\n")
    with pytest.raises(PipelineInvalid, match=rf":{line}: there is no way to wait .*(spin|adaptive|sleep)"):
        penstock.load(path).check()


def test_a_pipeline_refuses_a_way_to_wait_that_is_none():
    """From Python as from a manifest: it is not quietly something else."""
    pipeline = penstock.Pipeline(wait="spni").add("one", f"{NODES}:Numbers")
    with pytest.raises(PipelineInvalid, match="there is no way to wait 'spni'.*spin"):
        pipeline.check()


@pytest.mark.parametrize("wait", ["adaptive", "sleep", "spin"])
def test_a_manifest_says_how_its_processes_wait(tmp_path, wait):
    """And its pipeline has it."""
    path = manifest(tmp_path, GOOD.replace("POLICY", "policy: block") + f"wait: {wait}\n")
    assert penstock.load(path).wait == wait


@pytest.mark.parametrize("policy", ["block", "drop_oldest"])
def test_an_edge_between_processes_has_a_largest_capacity(policy):
    """Beyond it the ring could not be told from nonsense: a problem of the check, and no error of shared memory."""
    pipeline = penstock.Pipeline().add("one", f"{NODES}:Numbers").add("two", f"{NODES}:echo", executor="multiprocess")
    pipeline.connect("one -> two", capacity=1 << 16, policy=policy)
    with pytest.raises(PipelineInvalid, match="capacity .* 65535"):
        pipeline.check()
    pipeline.check(only_native=True)


# Inside one process


@pytest.mark.parametrize("room", [True, False])
def test_a_local_send_that_can_go_at_its_deadline_goes(room):
    """There is room and nobody has said so, on a clock of the test's own: after 60 s the last look decides."""

    async def main():
        edge = LocalEdge("a -> b", 1, 1 << 20, 60)
        await edge.send(RuntimeData.json(1))
        await edge.receive()

        async def make_room():
            await trio.sleep(59)
            edge._writer = trio.lowlevel.ParkingLot()  # the wake-up goes elsewhere
            edge.acknowledge()

        async with trio.open_nursery() as nursery:
            if room:
                nursery.start_soon(make_room)
                await trio.testing.wait_all_tasks_blocked()
                await edge.send(RuntimeData.json(2))
            else:
                with pytest.raises(EdgeFailed):
                    await edge.send(RuntimeData.json(2))
        statistics = edge.statistics()
        assert (statistics.sent, statistics.in_flight) == ((2, 1) if room else (1, 1))

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
