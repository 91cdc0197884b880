"""Declared cycles: data go round, and the end of stream comes when nothing can go round any more."""

import signal

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NODES, drained, manifest
from support import penstock as command

import penstock
from penstock.engine.cycles import find_cycles
from penstock.engine.declarations import EdgeDecl, NodeDecl, PortRef
from penstock.engine.ending import CycleEnding
from penstock.engine.options import RunOptions
from penstock.engine.plan import PlannedEdge, PlannedNode
from penstock.engine.problems import PipelineInvalid
from penstock.executors.contract import ExecutorType
from penstock.executors.multiprocess.delivery import Delivery

GROUPS = "nodes.groups"
PLACES = ["native", "multiprocess"]


def countdown(where, numbers, kept, *, last_words=0, **feedback):
    """source -> count -> echo, and back; what count says is kept."""
    source, count, echo = where
    pipeline = penstock.Pipeline()
    pipeline.add("s", f"{GROUPS}:Ranged", {"stamps_ms": numbers}, executor=source)
    pipeline.add("count", f"{GROUPS}:Countdown", {"last_words": last_words}, executor=count)
    pipeline.add("echo", f"{NODES}:echo", executor=echo).add("keep", lambda data: kept.append(data.as_json()))
    pipeline.connect("s -> count.in").connect("count.again -> echo").connect("count.out -> keep")
    return pipeline.connect("echo -> count.back", feedback=True, **feedback)


@pytest.mark.parametrize("echo", PLACES)
@pytest.mark.parametrize("count", PLACES)
@pytest.mark.parametrize("source", PLACES)
def test_a_cycle_runs_to_its_end(source, count, echo):
    """Wherever its nodes run: everything goes round as often as it should, then the run is complete and empty."""
    kept = []
    report = penstock.run(countdown((source, count, echo), [3, 0, 2], kept))
    assert report.outcome == "completed"
    assert [n for port, n in kept if port == "in"] == [3, 0, 2]
    assert sorted(n for port, n in kept if port == "back") == [0, 0, 1, 1, 2]
    edges = drained(report.to_json())
    assert edges["echo.out -> count.back"]["sent"] == 5


@pytest.mark.parametrize("policy", ["block", "drop_oldest", "drop_newest", "latest"])
@pytest.mark.parametrize("place", PLACES)
def test_what_a_flush_sends_round_is_dropped_and_counted(place, policy):
    """The end has been decided by then: the data are in the ledger of the edge that was ended, and nothing hangs."""
    kept = []
    report = penstock.run(countdown((place, place, place), [1], kept, last_words=3, policy=policy))
    assert kept == [["in", 1], ["back", 0], *(["flush", n] for n in range(3))]
    (edge,) = (edge for edge in report.edges if edge.name == "echo.out -> count.back")
    assert (edge.sent, edge.received, edge.dropped, edge.in_flight) == (4, 1, 3, 0)
    assert all(edge.sent == edge.received for edge in report.edges if edge.name != "echo.out -> count.back")


@pytest.mark.parametrize("place", PLACES)
def test_a_node_may_feed_itself(place):
    """One edge from a node to itself is a cycle, too."""
    kept = []
    pipeline = penstock.Pipeline().add("s", f"{GROUPS}:Ranged", {"stamps_ms": [2, 3]}, executor=place)
    pipeline.add("count", f"{GROUPS}:Countdown", executor=place).add("keep", lambda data: kept.append(data.as_json()))
    pipeline.connect("s -> count.in").connect("count.out -> keep").connect("count.again -> count.back", feedback=True)
    assert penstock.run(pipeline).outcome == "completed"
    assert sorted(n for _, n in kept) == [0, 0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("place", PLACES)
def test_a_cycle_behind_a_cycle(place):
    """The second ends after the first, which feeds it."""
    kept = []
    pipeline = countdown((place, place, place), [2, 1], [])
    pipeline.add("second", f"{GROUPS}:Countdown", executor=place)
    pipeline.add("pick", pick, executor="native").add("keep2", lambda data: kept.append(data.as_json()))
    pipeline.connect("count.out -> pick -> second.in").connect("second.out -> keep2")
    pipeline.connect("second.again -> second.back", feedback=True)
    report = penstock.run(pipeline)
    assert report.outcome == "completed"
    assert sum(port == "in" for port, _ in kept) == 5
    drained(report.to_json())


def pick(data):
    return penstock.RuntimeData.json(data.as_json()[1])


@pytest.mark.parametrize("place", PLACES)
def test_latest_of_can_see_what_came_of_the_last(place):
    """The usual loop: a stream, sampled with what the graph made of it before."""
    kept = []
    pipeline = penstock.Pipeline().add("s", f"{GROUPS}:Ranged", {"stamps_ms": list(range(20))}, executor=place)
    pipeline.add("now", "latest_of", {"inputs": ["in", "before"]}, executor=place)
    pipeline.add("merge", f"{NODES}:echo", executor=place).add("keep", lambda data: kept.append(data.as_json()))
    pipeline.add("old", lambda data: None)
    pipeline.connect("s -> now.in").connect("now.in -> merge").connect("now.unmatched_in -> merge")
    pipeline.connect("now.before -> old").connect("merge -> keep")
    pipeline.connect("merge -> now.before", feedback=True, policy="latest")
    assert penstock.run(pipeline).outcome == "completed"
    assert sorted(kept) == list(range(20))


@pytest.mark.parametrize("place", PLACES)
async def test_a_cycle_that_is_stopped_works_off_what_is_in_it(place):
    """A stop ends the sources; what goes round goes round to its end."""
    kept = []
    pipeline = countdown((place, place, place), [], kept)
    pipeline.nodes[0].node_type, pipeline.nodes[0].params = f"{NODES}:SlowNumbers", {"count": -1}
    async with pipeline.open() as run:
        while len(kept) < 30:
            await trio.sleep(0.001)
    report = run.report()
    assert report.outcome == "stopped"
    drained(report.to_json())


@pytest.mark.parametrize("place", PLACES)
async def test_a_program_may_feed_a_cycle(place):
    """The end of an external input is the end of what feeds the cycle."""
    pipeline = penstock.Pipeline().add("count", f"{GROUPS}:Countdown", executor=place)
    pipeline.input("n", "count.in").output("said", "count.out").connect("count.again -> count.back", feedback=True)
    async with pipeline.open() as run:
        await run.send("n", 2)
        assert [(await run.receive("said")).as_json() for _ in range(3)] == [["in", 2], ["back", 1], ["back", 0]]
        await run.end("n")
        await run.wait()
    assert run.report().outcome == "completed"


async def test_a_cycle_that_never_ends_is_aborted():
    """What goes round for ever is not drained: the grace period ends it."""
    kept = []
    pipeline = countdown(("native", "native", "native"), [10**9], kept)
    async with pipeline.open(RunOptions(grace_s=0.05)) as run:
        while len(kept) < 100:
            await trio.sleep(0.001)
    assert run.report().outcome == "aborted"


async def test_a_worker_that_dies_in_a_cycle_ends_the_run():
    """Its neighbours on the ring of the cycle do not wait for it."""
    pipeline = countdown(("multiprocess", "multiprocess", "multiprocess"), [1], [])
    pipeline.nodes[2].node_type = f"{NODES}:die"
    with pytest.raises(penstock.ServiceError, match=f"'echo'.*{signal.SIGKILL.name}"):
        async with pipeline.open() as run:
            await run.wait()


# The check


def test_a_cycle_has_to_be_declared():
    """The problem says how."""
    pipeline = penstock.Pipeline().add("a", f"{NODES}:echo").add("b", f"{NODES}:echo").connect("a -> b -> a")
    with pytest.raises(PipelineInvalid, match="cycle: .*feedback: true"):
        pipeline.check()


def test_one_declared_edge_does_not_excuse_another_cycle():
    """Every cycle has one."""
    pipeline = penstock.Pipeline().add("s", f"{NODES}:Numbers")
    for name in "abc":
        pipeline.add(name, f"{NODES}:echo")
    pipeline.connect("s -> a -> b -> c").connect("b -> a", feedback=True).connect("c -> b")
    with pytest.raises(PipelineInvalid, match="cycle: (b -> c -> b|c -> b -> c);"):
        pipeline.check()


def test_feedback_that_leads_nowhere_back():
    """An edge that closes no cycle is not feedback."""
    pipeline = penstock.Pipeline().add("s", f"{NODES}:Numbers").add("a", f"{NODES}:echo")
    pipeline.connect("s -> a", feedback=True)
    with pytest.raises(PipelineInvalid, match="edge s -> a: closes no cycle"):
        pipeline.check()


def test_a_cycle_that_nothing_feeds():
    """It would never begin."""
    pipeline = penstock.Pipeline().add("a", f"{NODES}:echo").add("b", f"{NODES}:echo")
    pipeline.connect("a -> b").connect("b -> a", feedback=True)
    with pytest.raises(PipelineInvalid, match="nothing feeds the cycle of a, b from outside"):
        pipeline.check()


def test_feedback_is_true_or_false():
    """Python may say anything."""
    pipeline = penstock.Pipeline().add("a", f"{NODES}:echo").connect("a -> a", feedback="yes")
    with pytest.raises(PipelineInvalid, match="feedback is true or false, not 'yes'"):
        pipeline.check()


GRAPH = f"""
    nodes:
      s: {{type: "{NODES}:Numbers", params: {{count: 3}}}}
      count: {{type: "{GROUPS}:Countdown"}}
      log: {{type: log}}
    edges:
      - s -> count.in
      - {{from: count.again, to: count.back, feedback: true}}
      - count.out -> log
    """


def test_a_manifest_may_have_cycles(tmp_path):
    """`feedback: true`; the order of the plan is that of the other edges, and `graph` draws this one dotted."""
    path = manifest(tmp_path, GRAPH)
    plan = penstock.load(path).check()
    assert [node.node_id for node in plan.nodes] == ["s", "count", "log"]
    drawn = command("graph", path).check().out
    assert 'n_count -.->|"again to back, feedback"| n_count' in drawn
    assert command("run", path, "--json").check().json()["outcome"] == "completed"


# The pieces


def graph(count, pairs):
    """Planned nodes with these edges among them."""
    native = ExecutorType.NATIVE
    nodes = [
        PlannedNode(NodeDecl(str(n), ""), "", max, "", {}, native, False, {}, {}, is_source=False, delivery=Delivery())  # noqa: FBT003
        for n in range(count)
    ]
    for source, target in pairs:
        decl = EdgeDecl(PortRef(str(source)), PortRef(str(target)))
        edge = PlannedEdge(decl, nodes[source], "", nodes[target], "")
        edge.source.edges_out.append(edge)
        edge.target.edges_in.append(edge)
    return nodes


def reachable(count, pairs):
    """For each node, those that it leads to over one edge or more."""
    reach = {n: {b for a, b in pairs if a == n} for n in range(count)}
    for _ in range(count):
        reach = {n: ends | {c for b in ends for c in reach[b]} for n, ends in reach.items()}
    return reach


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), unique=True, max_size=20))
def test_cycles_are_what_reaches_itself(pairs):
    """Nodes are on one cycle when each leads to the other; its edges are those among them, and those into them."""
    reach = reachable(7, pairs)
    expected = {frozenset(m for m in reach[n] if n in reach[m]) for n in reach if n in reach[n]}
    found = find_cycles(graph(7, pairs))
    assert {frozenset(int(node.node_id) for node in cycle.nodes) for cycle in found} == expected
    assert len(found) == len(expected)
    for cycle in found:
        members = {int(node.node_id) for node in cycle.nodes}
        ends = [(int(edge.source.node_id), int(edge.target.node_id)) for edge in cycle.inner]
        feeding = [(int(edge.source.node_id), int(edge.target.node_id)) for edge in cycle.feeding]
        assert sorted(ends) == sorted((a, b) for a, b in pairs if {a, b} <= members)
        assert sorted(feeding) == sorted((a, b) for a, b in pairs if b in members and a not in members)


class Racing:
    """A cycle of two edges in which one datum goes round, moved between any two reads of the one who looks."""

    def __init__(self, moves):
        self.moves = moves
        self.sent, self.acknowledged = [1, 0], [0, 0]
        self.rounds = 0

    def read(self, edge):
        """The counts of an edge, after the move that comes before."""
        for _ in range(next(self.moves, 2)):
            self.move()
        return Racing.Counts(self.sent[edge], self.sent[edge] - self.acknowledged[edge])

    def move(self):
        """One step of the node that has the datum: send it on, or acknowledge it."""
        at, to = self.rounds % 2, (self.rounds + 1) % 2
        if self.sent[to] == self.acknowledged[to]:
            if self.rounds < 40:
                self.sent[to] += 1
            else:
                self.acknowledged[at] = self.sent[at]
        else:
            self.acknowledged[at] = self.sent[at]
            self.rounds += 1

    class Counts:
        def __init__(self, sent, in_flight):
            self.sent, self.in_flight = sent, in_flight


class FakeCycle:
    feeding, inner, feedback = [], [0, 1], [1]


@given(st.lists(st.integers(0, 3), max_size=400))
@settings(max_examples=300)
def test_a_cycle_in_which_something_moves_is_never_called_quiet(moves):
    """However the reads and the moves of a datum interleave, the end is not seen before it is there."""
    racing = Racing(iter(moves))
    ending = CycleEnding(FakeCycle(), racing.read, lambda edge: None)
    while not ending._is_quiet():
        pass
    assert racing.sent == racing.acknowledged
    assert racing.rounds >= 40


# A crash


@pytest.mark.parametrize("when", ["round", "flush"])
def test_a_worker_of_a_cycle_that_dies_is_replaced(tmp_path, when):
    """Everything comes once, and the cycle ends; what the flush sends round is counted once."""
    kept = []
    pipeline = countdown(("multiprocess",) * 3, [2, 1], kept)
    decl = pipeline.nodes[1]
    decl.node_type = f"{GROUPS}:MortalCountdown"
    decl.params = {"path": str(tmp_path / "dead"), "when": when, "last_words": 2}
    report = penstock.run(pipeline)
    assert (tmp_path / "dead").exists()
    assert sorted(kept) == sorted(
        [["in", 2], ["in", 1], ["back", 1], ["back", 0], ["back", 0], ["flush", 0], ["flush", 1]]
    )
    edges = {edge.name: edge for edge in report.edges}
    back = edges["echo.out -> count.back"]
    assert (back.received, back.dropped, back.in_flight) == (3, 2, 0)


@pytest.mark.parametrize("when", ["round", "flush"])
def test_a_node_that_feeds_itself_and_dies(tmp_path, when):
    """Its only way back is an edge that the engine ends: its successor knows that it has not done everything."""
    kept = []
    pipeline = penstock.Pipeline().add("s", f"{GROUPS}:Ranged", {"stamps_ms": [2]})
    params = {"path": str(tmp_path / "dead"), "when": when, "last_words": 1}
    pipeline.add("count", f"{GROUPS}:MortalCountdown", params, executor="multiprocess")
    pipeline.add("keep", lambda data: kept.append(data.as_json())).connect("s -> count.in").connect("count.out -> keep")
    report = penstock.run(pipeline.connect("count.again -> count.back", feedback=True))
    assert kept == [["in", 2], ["back", 1], ["back", 0], ["flush", 0]]
    (edge,) = (edge for edge in report.edges if edge.name == "count.again -> count.back")
    assert (edge.sent, edge.received, edge.dropped) == (3, 2, 1)
