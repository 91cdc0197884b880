"""Pipelines from Python: describe, check, run, and what is told about a run."""

import json
import os

import psutil
import pytest
import trio
from support import MORE, NODES, drained, ledgers, token_of
from test_pipeline_streams import BOTH, keeper, values

import penstock
from penstock.engine.options import RunOptions
from penstock.engine.problems import PipelineInvalid
from penstock.executors.contract import Validation


def endless(executor="native", **options):
    """Numbers for ever into a sink that keeps them."""
    kept, keep = keeper()
    pipeline = penstock.Pipeline("endless").add("in", f"{NODES}:Numbers", {"count": -1}, executor=executor)
    return kept, pipeline.add("out", keep).connect("in -> out", **options)


async def reached(kept, count):
    with trio.fail_after(30):
        while len(kept) < count:
            await trio.sleep(0.001)


# Describing and checking


def test_problems_of_a_python_pipeline_name_the_line():
    """What is wrong is shown where it was written, in the user's own file."""
    pipeline = penstock.Pipeline()
    pipeline.add("a", f"{NODES}:ecco")
    pipeline.add("b", f"{NODES}:echo", {"x": 1})
    pipeline.connect("b -> nobody")
    with pytest.raises(PipelineInvalid) as caught:
        pipeline.check()
    first = caught.value.problems[0].where.line
    assert {(problem.where.file, problem.where.line - first) for problem in caught.value.problems} == {
        (__file__, 0),
        (__file__, 1),
        (__file__, 2),
    }


def test_a_name_twice():
    """The second node of a name is the problem."""
    pipeline = penstock.Pipeline().add("a", f"{NODES}:Numbers").add("a", f"{NODES}:Numbers")
    with pytest.raises(Validation, match="node 'a': there is a node of this name already"):
        pipeline.check()


def test_what_a_worker_can_not_import_is_refused():
    """A function made inside another one runs natively only, and the check says what to do."""
    _, keep = keeper()
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers").connect("in -> out")
    pipeline.add("out", keep, executor="multiprocess")
    with pytest.raises(Validation, match="'out': keep can not be found by a worker: define it at the top of a module"):
        pipeline.check()


def test_a_thread_in_a_worker_is_refused():
    """`thread` means nothing to a worker."""
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", executor="multiprocess", thread=True)
    with pytest.raises(Validation, match="`thread` is for native nodes"):
        pipeline.check()


def test_checking_starts_nothing():
    """A check runs no node, makes no process and no shared memory."""
    before = psutil.Process().children(recursive=True)
    pipeline = penstock.Pipeline().add("in", f"{MORE}:Frames", executor="multiprocess")
    plan = pipeline.add("out", f"{MORE}:FailConstruct").connect("in -> out").check()
    assert [node.node_id for node in plan.nodes] == ["in", "out"]
    assert psutil.Process().children(recursive=True) == before
    assert not token_of(os.getpid())


def misuses():
    """Pipelines that a slip of the pen makes, and what must be said about them."""

    def sound():
        return penstock.Pipeline().add("a", f"{NODES}:Numbers").add("b", f"{NODES}:echo")

    return {
        "executor": (lambda: sound().add("c", f"{NODES}:echo", executor="multiproces"), "multiproces"),
        "one step": (lambda: sound().connect("a -> b").connect("b"), "b"),
        "no step": (lambda: sound().connect("a -> b").connect(), "connect"),
        "empty step": (lambda: sound().connect("a -> b").connect("a -> "), "a"),
        "capacity of a kind": (lambda: sound().connect("a -> b", capacity="8"), "capacity"),
        "capacity of a fraction": (lambda: sound().connect("a -> b", capacity=2.5), "capacity"),
        "max_bytes of a kind": (lambda: sound().connect("a -> b", max_bytes=None), "max_bytes"),
        "timeout of a kind": (lambda: sound().connect("a -> b", timeout_s="5"), "timeout"),
        "number as type": (lambda: sound().connect("a -> b -> c").add("c", 3), "'c'"),
        "number as name": (lambda: sound().connect("a -> b").add(3, f"{NODES}:Numbers"), "3"),
        "parameters that are no mapping": (lambda: sound().connect("a -> b").add("c", f"{NODES}:Numbers", [3]), "c"),
        "parameter that JSON can not say": (
            lambda: (
                sound().connect("a -> b -> c").add("c", f"{NODES}:Context", {"x": object()}, executor="multiprocess")
            ),
            "'x'",
        ),
    }


@pytest.mark.parametrize("what", list(misuses()))
def test_a_slip_in_python_is_a_validation(what):
    """Whatever a program says wrong is `Validation` with the thing in its text, at the latest by the check."""
    build, fragment = misuses()[what]
    with pytest.raises(Validation, match=fragment):
        build().check()


# Running


def test_native_nodes_make_no_process_and_no_shared_memory():
    """While a pipeline of native nodes runs there is nothing but the program."""
    seen = []

    def look(data):
        seen.append((psutil.Process().children(recursive=True), token_of(os.getpid())))

    before = psutil.Process().children(recursive=True)
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 2}).add("look", look)
    report = penstock.run(pipeline.connect("in -> look"))
    assert seen == [(before, "")] * 2
    assert [node.pid for node in report.nodes] == [0, 0]


def test_each_worker_is_a_process_of_its_own():
    """Two nodes with `executor: multiprocess` run in two other processes, which the report names."""
    kept, keep = keeper()
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 3}).add("out", keep)
    for name in ("one", "two"):
        pipeline.add(name, f"{MORE}:OnePid", executor="multiprocess")
    report = penstock.run(pipeline.connect("in -> one -> two -> out"))
    pids = {node.node_id: node.pid for node in report.nodes if node.executor == "multiprocess"}
    assert len({os.getpid(), *pids.values()}) == 3
    assert values(kept) == [[[n, pids["one"]], pids["two"]] for n in range(3)]


def test_only_native_runs_everything_here():
    """`only_native` puts every Python node into this process."""
    kept, keep = keeper()
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 1}, executor="multiprocess")
    pipeline.add("pid", f"{NODES}:pid", executor="multiprocess").add("out", keep).connect("in -> pid -> out")
    penstock.run(pipeline, RunOptions(only_native=True))
    assert values(kept) == [{"pid": os.getpid()}]


@BOTH
def test_a_node_is_told_who_it_is(executor):
    """The context has the node's name, its parameters and the session of the run, on every executor."""
    kept, keep = keeper()
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 1}).add("out", keep)
    pipeline.add("who", f"{NODES}:Context", executor=executor).connect("in -> who -> out")
    penstock.run(pipeline, RunOptions(session_id="call-7"))
    (said,) = values(kept)
    assert (said["node_id"], said["session_id"], said["params"]) == ("who", "call-7", {})
    assert said["node_type"] == f"{NODES}:Context"


def test_what_a_worker_prints_reaches_the_program():
    """`on_output` gets the lines of workers with the name of the node; nothing is printed then."""
    lines = []
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 2})
    pipeline.add("talk", f"{NODES}:chatty", executor="multiprocess").connect("in -> talk")
    penstock.run(pipeline, RunOptions(on_output=lambda *line: lines.append(line)))
    assert lines == [("talk", "stdout", "a print of a node")] * 2


def test_a_report_is_plain_data():
    """A report says what was done, can be made JSON, and adds up."""
    kept, pipeline = endless("multiprocess")
    pipeline.nodes[0].params["count"] = 10
    report = penstock.run(pipeline)
    said = json.loads(json.dumps(report.to_json()))
    assert (said["name"], said["outcome"], said["error"]) == ("endless", "completed", None)
    source, sink = said["nodes"]
    assert (source["executor"], source["processed"], sink["processed"]) == ("multiprocess", 10, 10)
    assert source["peak_rss_kib"] > 1000
    assert sink["peak_rss_kib"] is None
    assert 0 <= sink["busy_s"] <= said["duration_s"]
    assert drained(said)["in.out -> out.in"]["sent_bytes"] == sum(data.nbytes for data in kept)


async def test_a_run_can_be_watched():
    """A report may be had at any time: running, with a ledger that adds up."""
    kept, pipeline = endless()
    async with pipeline.open() as run:
        await reached(kept, 10)
        report = run.report()
        assert report.outcome == "running"
        assert ledgers(report.to_json())["in.out -> out.in"]["sent"] >= 10
    assert run.report().outcome == "stopped"
    assert run.report().duration_s >= report.duration_s
