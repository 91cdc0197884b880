"""A trace of a run: what each node did when, in a file that trace viewers read."""

from __future__ import annotations

import json
import logging

import pytest
import trio
from support import manifest, penstock

from penstock.engine.options import RunOptions
from penstock.engine.pipeline import Pipeline
from penstock.executors.contract import NodeExecution, Validation
from penstock.executors.trace import Event, Trace, What

NODES = "nodes.looking"


# The buffer


def test_a_buffer_keeps_the_newest_and_says_what_it_lost():
    """It never holds more than it has room for, and one less, as the oldest may be half overwritten."""
    memory = bytearray(Trace.bytes_for(4))
    trace = Trace(memory)
    for number in range(10):
        trace.add(What.CALL, number, 100 * number, 100 * number + number)
        kept = list(Trace(memory).events())
        assert kept[-1] == Event(100 * number, number, What.CALL, number)
        assert len(kept) + trace.lost == number + 1
    assert [event.number for event in trace.events()] == [7, 8, 9]


def test_a_successor_goes_on_in_the_same_buffer():
    """What its predecessor noted stays, and half an event of it is never seen."""
    memory = bytearray(Trace.bytes_for(4))
    for number in range(4):
        Trace(memory).add(What.WAIT, number, number, number)
    words = memoryview(memory).cast("Q")
    words[8:11] = memoryview(b"\xff" * 24).cast("Q")  # the fifth was begun, in the place of the first
    assert [event.number for event in Trace(memory).events()] == [1, 2, 3]


# The file


def read(path):
    """A trace, after a look at its schema (the Trace Event Format)."""
    said = json.loads(path.read_text())
    assert said.keys() == {"displayTimeUnit", "traceEvents", "otherData"}
    tracks = {(event["pid"], event["tid"]) for event in said["traceEvents"] if event["name"] == "thread_name"}
    for event in said["traceEvents"]:
        assert event["ph"] in "MXi"
        assert isinstance(event["pid"], int)
        assert isinstance(event["name"], str)
        assert (event["pid"], event["tid"]) in tracks
        if event["ph"] == "M":
            assert event["name"] in {"process_name", "process_sort_index", "thread_name"}
            assert event["args"]
        else:
            assert event["ts"] >= 0
            assert event["ph"] == "i" or event["dur"] >= 0
    return said


def events(said, process, category):
    """The events of a node, by the begin of its name."""
    (pid,) = {
        event["pid"]
        for event in said["traceEvents"]
        if event["name"] == "process_name" and event["args"]["name"].startswith(process)
    }
    return [event for event in said["traceEvents"] if event["pid"] == pid and event.get("cat") == category]


def chain(executor, *, count=20, **params):
    pipeline = Pipeline().add("in", f"{NODES}:Numbers", {"count": count}, executor=executor)
    pipeline.add("slow", f"{NODES}:Slow", params, executor=executor).add("out", lambda data: None)
    return pipeline.connect("in -> slow", capacity=2).connect("slow -> out")


@pytest.mark.parametrize("executor", ["native", "multiprocess"])
async def test_a_trace_has_every_call_and_every_wait(tmp_path, executor):
    """Calls of each node, as long as they were; waits of a source for its slow reader; one clock for all of them."""
    path = tmp_path / "folder" / "trace.json"
    async with chain(executor, ms=3).open(RunOptions(trace=path)) as run:
        await run.wait()
    said = read(path)
    calls, made = events(said, "slow", "call"), events(said, "in", "produce")
    assert len(calls) == 20
    assert len(made) == 20
    assert all(call["dur"] >= 3000 for call in calls)
    assert {call["args"]["edge"] for call in calls} == {"in.out -> slow.in"}
    assert len(events(said, "out", "call")) == 20
    assert events(said, "in", "wait")
    assert len(events(said, "slow", "initialize")) == 1
    for before, call in zip(made, calls, strict=True):
        assert before["ts"] + before["dur"] <= call["ts"]
    for call, after in zip(calls, calls[1:], strict=False):
        assert call["ts"] + call["dur"] <= after["ts"]
    assert said["otherData"] == {"pipeline": "pipeline", "lost_events": {}}


async def test_a_trace_survives_its_workers(tmp_path):
    """What a worker did before it was killed is there, and when another one took its place."""
    path, once = tmp_path / "trace.json", str(tmp_path / "died")
    async with chain("multiprocess", ms=1, dies_at=7, once=once).open(RunOptions(trace=path)) as run:
        await run.wait()
    said = read(path)
    (restart,) = events(said, "slow", "restart")
    calls = events(said, "slow", "call")
    before = [call for call in calls if call["ts"] < restart["ts"]]
    assert len(before) == 7
    assert len(calls) == 20
    assert len(events(said, "slow", "initialize")) == 2


async def test_a_run_that_fails_leaves_its_trace(tmp_path):
    """It is then that one wants to see it."""
    path = tmp_path / "trace.json"

    def fail(data):
        raise ValueError("no")

    pipeline = chain("multiprocess").add("fail", fail).connect("slow -> fail")
    with pytest.raises(NodeExecution, match="no"):
        async with pipeline.open(RunOptions(trace=path)) as run:
            await run.wait()
    assert len(events(read(path), "fail", "call")) == 1


async def test_waits_of_the_program_are_traced(tmp_path):
    """Who sends into an edge that is full waits on a track of the input's."""
    path = tmp_path / "trace.json"
    pipeline = (
        Pipeline()
        .add("near", f"{NODES}:Slow", {"ms": 2}, thread=True)
        .add("far", f"{NODES}:Slow", {"ms": 2}, executor="multiprocess")
    )
    pipeline.input("a", "near", capacity=1).input("b", "far", capacity=1)
    async with pipeline.open(RunOptions(trace=path)) as run, trio.open_nursery() as nursery:

        async def feed(name):
            for number in range(5):
                await run.send(name, number)
            await run.end(name)

        nursery.start_soon(feed, "a")
        nursery.start_soon(feed, "b")
    for name in ("input a", "input b"):
        assert events(read(path), name, "wait"), name


async def test_a_long_run_keeps_the_newest(tmp_path, monkeypatch, caplog):
    """A trace that had to let go of something says of whom and how much, in the file and in the log."""
    monkeypatch.setattr("penstock.engine.tracing.EVENTS", 10)
    path = tmp_path / "trace.json"
    with caplog.at_level(logging.WARNING, "penstock"):
        async with chain("native").open(RunOptions(trace=path)) as run:
            await run.wait()
    said = read(path)
    assert len(events(said, "slow", "call")) == 9
    assert said["otherData"]["lost_events"]["slow"] == 20 + 1 - 9
    assert "of slow" in caplog.text


async def test_a_trace_that_can_not_be_written_is_said_before_the_start(tmp_path):
    """A folder in the place of the file is a mistake that costs no run."""
    with pytest.raises(Validation, match="is a directory"):
        async with chain("native").open(RunOptions(trace=tmp_path)):
            pass


def test_the_command_writes_a_trace(tmp_path):
    """`--trace FILE`, also with `--json`."""
    path = manifest(
        tmp_path,
        """
        nodes:
          in: {type: counter, params: {count: 3}}
          out: {type: json_lines, executor: multiprocess}
        edges: [in -> out]
        """,
    )
    assert penstock("run", "--trace", tmp_path / "t.json", "--json", path).check().code == 0
    assert len(events(read(tmp_path / "t.json"), "out", "call")) == 3
    refused = penstock("run", "--trace", "/dev/null/t.json", path).check()
    assert refused.code == 1
    assert "can not be made" in refused.err
