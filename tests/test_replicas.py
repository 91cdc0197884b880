"""Replicas: several workers share the data of a node, and what comes out is what one would have given."""

from __future__ import annotations

import json
import os
import random
import signal
from contextlib import suppress

import numpy as np
import pytest
import trio
from nodes.mortal import value
from nodes.replicated import Ending, Slow
from support import TESTS, manifest

import penstock
from penstock.engine.options import RunOptions
from penstock.engine.problems import PipelineInvalid
from penstock.engine.recording import RecordingReader
from penstock.executors.contract import NodeExecution

MORTAL = "nodes.mortal"
NODES = "nodes.replicated"
WORDS = str(TESTS / "guests" / "words.wasm")
TIRELESS = {"restart": {"max": "unlimited", "backoff": 0}, "max_redeliveries": "unlimited"}


def listing(kept):
    """A sink that keeps what it gets, in a form that compares."""

    def keep(data):
        kept.append(value(data) if data.data_type.value == "Tensor" else data.as_json())

    return keep


def exact(report):
    for edge in report.edges:
        assert edge.sent == edge.received + edge.dropped, edge
        assert edge.in_flight == 0, edge


def node_of(report, node_id):
    (node,) = (node for node in report.nodes if node.node_id == node_id)
    return node


def branching(replicas, executor, capacity=64, count=200, mortal=None):
    """A source, the replicas, and behind them a worker, two sinks of one port and one of another."""
    kept = {"one": [], "two": [], "odd": [], "behind": []}
    given = {"executor": "multiprocess", **TIRELESS}
    pipeline = penstock.Pipeline().add("in", f"{MORTAL}:Numbers", {"count": count}, executor=executor)
    pipeline.add("before", f"{MORTAL}:Twice", mortal, **{**given, "executor": executor})
    pipeline.add("replicas", f"{NODES}:Uneven", mortal, replicas=replicas, **given)
    pipeline.add("window", f"{MORTAL}:Window", mortal, **given)
    for name, into in kept.items():
        pipeline.add(name, listing(into))
    pipeline.connect("in -> before -> replicas.out -> one", capacity=capacity)
    pipeline.connect("replicas.out -> two", capacity=capacity).connect("replicas.odd -> odd", capacity=capacity)
    pipeline.connect("replicas.odd -> window.a", capacity=capacity).connect("in -> window.b", capacity=capacity)
    return pipeline.connect("window.odd -> behind", capacity=capacity), kept


def expected(count=200):
    """What a single instance gives, in this process."""
    pipeline, kept = branching(1, "native", count=count)
    report = penstock.run(pipeline, RunOptions(only_native=True))
    return kept, {edge.name: edge.sent for edge in report.edges}


@pytest.mark.parametrize("executor", ["native", "multiprocess"])
@pytest.mark.parametrize(("replicas", "capacity"), [(2, 64), (3, 4), (5, 1)])
def test_order_and_ledger_are_those_of_one_instance(executor, replicas, capacity):
    """Whatever stands before and behind, however long each datum takes, and whatever comes of it, on each edge."""
    kept, sent = expected()
    pipeline, came = branching(replicas, executor, capacity)
    report = penstock.run(pipeline)
    exact(report)
    assert {edge.name: edge.sent for edge in report.edges} == sent
    assert [came[name] for name in ("one", "two", "odd")] == [kept[name] for name in ("one", "two", "odd")]
    assert sorted(map(str, came["behind"])) == sorted(map(str, kept["behind"]))
    node = node_of(report, "replicas")
    assert len(set(node.pids)) == replicas
    assert node.pid in node.pids
    assert node.processed == sent["before.out -> replicas.in"]


def test_without_workers_it_is_one_instance():
    """`--executor native` is for the debugger."""
    pipeline, _ = branching(3, "native")
    report = penstock.run(pipeline, RunOptions(only_native=True))
    assert node_of(report, "replicas").pids == ()


def test_a_wasm_file_has_replicas(tmp_path):
    """It is taken at its user's word: what it gives is in order, and what each says at its end comes last."""
    texts = [" ".join(f"w{number}x{part}" for part in range(number % 4)) for number in range(120)]
    (tmp_path / "lines.txt").write_text("\n".join(texts))
    said = []
    for replicas in (1, 3):
        kept = []
        pipeline = penstock.Pipeline().add("in", "text_source", {"path": str(tmp_path / "lines.txt")})
        pipeline.add("words", WORDS, executor="multiprocess", replicas=replicas)
        pipeline.add(
            "out",
            lambda data, kept=kept: kept.append(data.as_json() if data.data_type.value == "Json" else data.as_text()),
        )
        report = penstock.run(pipeline.connect("in -> words -> out"))
        exact(report)
        said.append(kept)
    *words, count = said[0]
    assert said[1][: len(words)] == words
    ends = [int(number) for number in said[1][len(words) :]]
    assert len(ends) == 3
    assert sum(ends) == int(count) == len(words) > 100


async def each_tenth_comes_at_once(pipeline):
    """Every tenth of 200 data is answered, and each answer is there before the next datum is sent."""
    with trio.fail_after(60):
        async with pipeline.open() as run:
            for number in range(1, 201):
                await run.send("in", {"i": number})
                if number % 10 == 0:
                    assert (await run.receive("out")).as_json() == {"i": number}
    exact(run.report())


async def test_nothing_waits_for_a_datum_that_has_not_come():
    """What a cause had no outputs for is passed over at once: each answer is there before the next question."""
    pipeline = penstock.Pipeline().add("tenth", f"{NODES}:Tenth", executor="multiprocess", replicas=3)
    pipeline.input("in", "tenth").output("out", "tenth")
    await each_tenth_comes_at_once(pipeline)


async def test_a_worker_behind_replicas_waits_for_no_other_datum():
    """As above, where the reader is a worker, which sleeps until a replica rings it."""
    pipeline = penstock.Pipeline().add("tenth", f"{NODES}:Tenth", executor="multiprocess", replicas=3)
    pipeline.add("slow", f"{NODES}:Slow", executor="multiprocess").connect("tenth -> slow")
    pipeline.input("in", "tenth").output("out", "slow")
    await each_tenth_comes_at_once(pipeline)


@pytest.mark.parametrize("reader", ["native", "multiprocess"])
async def test_an_interrupt_leaves_the_order_and_holds_nothing_up(reader):
    """Stale data are dropped on every strand, and what is new comes at once, and in order."""
    pipeline = penstock.Pipeline().add("slow", f"{NODES}:Slow", executor="multiprocess", replicas=3)
    pipeline.add("behind", f"{NODES}:Slow", executor=reader).connect("slow -> behind")
    pipeline.input("in", "slow").output("out", "behind")
    with trio.fail_after(60):
        async with pipeline.open() as run:
            for era in range(1, 8):
                for number in range(25 + era):
                    await run.send("in", {"era": era, "i": number})
                run.interrupt("slow")
                await run.send("in", {"era": -era, "i": 0})
                seen = []
                while not seen or seen[-1] != {"era": -era, "i": 0}:
                    seen.append((await run.receive("out")).as_json())
                numbers = [said["i"] for said in seen[:-1] if said["era"] == era]
                assert numbers == sorted(numbers)
    exact(run.report())
    edges = {edge.name: edge for edge in run.report().edges}
    assert edges["in -> slow.in"].dropped > 0


@pytest.mark.parametrize("seed", range(4))
def test_wherever_workers_die_each_output_is_published_once_and_in_order(tmp_path, seed):
    """Before the replicas, among them, and behind them: at random lines of what they run of penstock."""
    kept, sent = expected(120)
    mortal = {"deaths": str(tmp_path / "deaths"), "lives": 5, "seed": seed, "within": 3000}
    pipeline, came = branching(3, "native" if seed % 2 else "multiprocess", 6, 120, mortal)
    pipeline.nodes[1].params = dict(mortal) if pipeline.nodes[1].executor.value == "Multiprocess" else {}
    report = penstock.run(pipeline)
    exact(report)
    assert {edge.name: edge.sent for edge in report.edges} == sent
    assert [came[name] for name in ("one", "two", "odd")] == [kept[name] for name in ("one", "two", "odd")]
    assert node_of(report, "replicas").restarts >= 5
    assert node_of(report, "window").restarts == 5


async def test_replicas_killed_under_load_give_everything_once_and_in_order():
    """SIGKILL from outside, at any of them, forty times."""
    kept, draw, count = [], random.Random(1), 3000
    pipeline = penstock.Pipeline().add("in", f"{MORTAL}:Numbers", {"count": count}, executor="multiprocess")
    pipeline.add("slow", f"{NODES}:Slow", executor="multiprocess", replicas=3, **TIRELESS)
    pipeline.add("out", listing(kept)).connect("in -> slow -> out", capacity=12)
    with trio.fail_after(120):
        async with pipeline.open() as run:
            for _ in range(40):
                seen = len(kept)
                while len(kept) < min(seen + 20, count):
                    await trio.sleep(0.001)
                with suppress(ProcessLookupError):
                    os.kill(draw.choice(node_of(run.report(), "slow").pids), signal.SIGKILL)
            await run.wait()
    exact(run.report())
    assert [item["i"] if isinstance(item, dict) else item for item in kept] == list(range(count))
    assert node_of(run.report(), "slow").restarts > 10


def test_a_writer_that_leaves_a_datum_out_keeps_the_turns(tmp_path):
    """It has given the first of two outputs, which is not to come again: the next datum goes to the next replica."""
    kept = []
    pipeline = penstock.Pipeline().add("in", f"{MORTAL}:Numbers", {"count": 40})
    params = {"deaths": str(tmp_path / "deaths"), "at": 23, "when": "after"}
    pipeline.add("sum", f"{MORTAL}:Total", params, executor="multiprocess", delivery="restart_fresh")
    pipeline.add("slow", f"{NODES}:Slow", executor="multiprocess", replicas=3)
    pipeline.add("out", listing(kept)).connect("in -> sum -> slow -> out")
    exact(penstock.run(pipeline))
    sums = [sum(range(number + 1)) for number in range(24)]
    assert [item["i"] for item in kept[:24]] == sums
    assert [item["i"] for item in kept[24:40]] == [sum(range(24, number + 1)) for number in range(24, 40)]


def test_a_replica_that_fails_fails_the_run():
    """With its own error, and though the others live on."""
    pipeline = penstock.Pipeline().add("in", f"{MORTAL}:Numbers", {"count": 100})
    pipeline.add("bad", f"{MORTAL}:Poison", {"number": 50}, executor="multiprocess", replicas=2, max_redeliveries=0)
    pipeline.add("out", listing([])).connect("in -> bad -> out")
    with pytest.raises(NodeExecution, match="node 'bad'|SIGKILL"):
        penstock.run(pipeline)


# Told, and looked at


async def test_replicas_fail_time_out_and_are_told_as_one_worker(tmp_path):
    """A datum that kills, or takes too long, is set aside in any of them, and told once; what it had given stays."""
    letters, kept = [], []
    pipeline = penstock.Pipeline().input("in", "frail").add("out", lambda data: kept.append(data.as_json()))
    pipeline.add(
        "frail",
        "nodes.faulty:Frail",
        executor="multiprocess",
        replicas=3,
        on_error="dead_letter",
        max_redeliveries=1,
        timeout_s=2.0,
        restart={"max": "unlimited", "backoff": 0},
    )
    options = RunOptions(on_dead_letter=letters.append, trace=tmp_path / "trace.json")
    numbers = [1, 2, 5, 3, -1, 4, 10, 6, 7]
    with trio.fail_after(60):
        async with pipeline.connect("frail -> out").open(options) as run:
            for number in numbers:
                await run.send("in", np.array([number]))
            await run.drain()
    report = run.report()
    exact(report)
    assert kept == [n for number in numbers for n in [number] * (1 if number < 0 or number % 5 == 0 else 2)]
    assert sorted(int(letter.data.as_tensor()[0]) for letter in letters) == [-1, 5, 10]
    node = node_of(report, "frail")
    assert (node.errors, node.dead_letters, node.restarts) == (3, 3, 5)  # what took too long is not given again
    trace = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = [event["args"]["name"] for event in trace if event["name"] == "process_name"]
    assert sum(name.startswith("frail (pid ") for name in names) == 3
    assert sum(event["name"] == "frail restarted" for event in trace) == 5


async def test_replicas_are_configured_all():
    """Each of them has the new value once the call returns."""
    pipeline = penstock.Pipeline().add("scale", "nodes.small:scale", executor="multiprocess", replicas=3)
    pipeline.input("in", "scale").output("out", "scale")
    with trio.fail_after(60):
        async with pipeline.open() as run:
            for factor in (2.0, 3.0):
                for number in range(6):
                    await run.send("in", number)
                    assert (await run.receive("out")).as_json() == factor * number
                await run.configure("scale", factor=3.0)


async def test_a_tap_sees_all_strands():
    """Before the replicas in the order of the source; behind them each datum once."""
    pipeline = penstock.Pipeline().input("in", "slow").output("out", "slow")
    pipeline.add("slow", f"{NODES}:Slow", executor="multiprocess", replicas=3)
    with trio.fail_after(60):
        async with (
            pipeline.open() as run,
            run.tap("in -> slow.in") as before,
            run.tap("slow.out -> out") as behind,
        ):
            for number in range(40):
                await run.send("in", {"i": number})
            for number in range(40):
                assert (await run.receive("out")).as_json() == {"i": number}
            await run.end("in")
            assert [data.as_json()["i"] async for data in before] == list(range(40))
            assert sorted([data.as_json()["i"] async for data in behind]) == list(range(40))


def test_calls_behind_replicas_are_traced_with_their_edge(tmp_path):
    """An edge of several rings is one edge of the trace, and so are its waits."""
    pipeline, _ = branching(3, "multiprocess", 4)
    penstock.run(pipeline, RunOptions(trace=tmp_path / "trace.json"))
    trace = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    calls = {event["args"]["edge"] for event in trace if event.get("cat") == "call" and event["name"] == "window"}
    assert calls == {"replicas.odd -> window.a", "in.out -> window.b"}


def test_what_leaves_replicas_is_recorded_in_order(tmp_path):
    """A recorder is one more edge out of them."""
    pipeline, kept = branching(3, "native")
    penstock.run(pipeline, RunOptions(record={"replicas.out -> one": str(tmp_path / "one.rec")}))
    with RecordingReader(tmp_path / "one.rec") as recording:
        recorded = []
        for _, data in recording:
            listing(recorded)(data)
    assert recorded == kept["one"] == expected()[0]["one"]


# What is said


@pytest.mark.parametrize(
    ("said", "edges", "fragments"),
    [
        ("replicas: 0", "in -> node", ["replicas is a whole number from 1 to 64, not 0"]),
        ("replicas: two", "in -> node", ["`replicas` is a whole number of workers, not 'two'"]),
        ("replicas: 2, executor: native", "in -> node", ["say `executor: multiprocess`, or leave replicas out"]),
        (f'replicas: 2, type: "{MORTAL}:Kept"', "in -> node", ["say `stateless = True` in the class"]),
        (f'replicas: 2, type: "{NODES}:Ending"', "in -> node", ["each replica would have a flush() of its own"]),
        (f'replicas: 2, type: "{MORTAL}:Recited"', "node -> other", ["a source has none"]),
        (f'replicas: 2, type: "{MORTAL}:Window"', "in -> node.a", ["for nodes with one input, not 2", "stateless"]),
        ("replicas: 2, snapshot_every: 3", "in -> node", ["snapshot_every is for"]),
        ("replicas: 2", "in -> node, other -> node", ["merge in a node before node"]),
        ("replicas: 2", "in -> node, node -> also", ["both nodes have replicas: put a node between them"]),
        (
            "replicas: 2",
            "{from: in, to: node, policy: drop_oldest}, {from: node, to: other, policy: latest}",
            ["say the policy drop_oldest at an edge before", "say the policy latest at an edge before"],
        ),
    ],
)
def test_what_can_not_be_is_a_problem(tmp_path, said, edges, fragments):
    """All at once, each with its remedy."""
    type_ = "" if "type:" in said else f'type: "{NODES}:Slow", '
    executor = "" if "executor:" in said else "executor: multiprocess, "
    params = "params: {deaths: x, at: 1}, " if "Kept" in said or "Recited" in said else ""
    also = f'  also: {{type: "{NODES}:Slow", executor: multiprocess, replicas: 2}}\n' if "also" in edges else ""
    text = f"nodes:\n  node: {{{type_}{executor}{params}{said}}}\n"
    text += f'  in: {{type: "{MORTAL}:Numbers", params: {{count: 1}}}}\n'
    text += f'  other: {{type: "{NODES}:Slow"}}\n{also}edges: [{edges}]\n'
    with pytest.raises(PipelineInvalid) as caught:
        penstock.load(manifest(tmp_path, text)).check()
    problems = list(map(str, caught.value.problems))
    for fragment in fragments:
        assert any(fragment in problem for problem in problems), problems
    assert len(problems) <= len(fragments) + 1


def test_python_and_yaml_say_the_same(tmp_path):
    """A function is taken at its user's word."""
    text = f'nodes:\n  node: {{type: "{NODES}:Slow", executor: multiprocess, replicas: 3}}\n'
    loaded = penstock.load(manifest(tmp_path, text + "inputs: {in: node}\n")).check()
    built = penstock.Pipeline().add("node", Slow, executor="multiprocess", replicas=3).input("in", "node").check()
    assert loaded.nodes[0].replicas == built.nodes[0].replicas == 3
    assert loaded.edges[0].strands == built.edges[0].strands == 3
    double = penstock.Pipeline().add("node", "nodes.small:double", executor="multiprocess", replicas=2)
    double.input("in", "node").check()
    assert Ending().flush().as_json() == {"i": -1}
