"""What goes wrong in a run: nodes that fail, workers that die. It is told clearly, and nothing stays."""

import os
import re
import signal
from pathlib import Path

import pytest
import trio
from support import MORE, NODES, ROOT, Started, drained, ledgers, manifest, segments, until
from test_pipeline_streams import BOTH, given, keeper

from penstock import Pipeline, run
from penstock.engine.options import RunOptions
from penstock.executors.contract import NodeExecution, RuntimeData

WORD = RuntimeData.text("x")


def failure(pipeline, options=None):
    with pytest.raises(NodeExecution) as caught:
        run(pipeline, options)
    return caught.value


def fed(node, executor, params=None):
    """A source of one word into a node of which some misfortune is expected."""
    pipeline = Pipeline().add("in", given([WORD])).add("bad", node, params, executor=executor)
    return pipeline.connect("in -> bad")


def started(folder, text, grace_s=0.3):
    """`penstock run --json` of a manifest with this text; a run that is to drain has to have time for it."""
    return Started("run", "--json", f"--grace={grace_s}", manifest(folder, text))


def gone(process):
    """Everything that a command has started is gone."""
    until(lambda: not process.relatives(), "no process of the run is left")


# Nodes that fail


@BOTH
def test_what_a_node_raises_is_told_with_its_place(executor):
    """The error has the node, the class, the text, and file and line of the node's own code."""
    error = failure(fed(f"{NODES}:fail", executor))
    assert (error.node_id, error.kind, error.message) == ("bad", "ValueError", "boom-x")
    line = next(
        n for n, text in enumerate((ROOT / "tests/nodes/small.py").read_text().splitlines(), 1) if "boom-" in text
    )
    assert error.location == f"small.py:{line} in fail"
    assert "boom-x" in error.details


FAILING = {
    f"{MORE}:FailConstruct": "ValueError: no weights in x.bin",
    f"{NODES}:FailInit": "RuntimeError: no model here",
    f"{NODES}:FailCleanup": "RuntimeError: the lid is stuck",
    f"{MORE}:FailFlush": "KeyError: 'nothing to flush'",
    f"{NODES}:nonsense": "TypeError: a node gives RuntimeData",
    f"{MORE}:wild_port": "TypeError: a node gives RuntimeData",
}


@BOTH
@pytest.mark.parametrize("node", FAILING)
def test_a_node_that_fails_anywhere_ends_the_run(executor, node):
    """Constructor, initialize, process, flush, cleanup: the same text on every executor, with the node's name."""
    error = failure(fed(node, executor))
    assert error.node_id == "bad"
    assert f"node 'bad': {FAILING[node]}" in str(error)
    assert ".py:" in str(error) or "a node gives RuntimeData" in str(
        error
    )  # there no line of the node's own is at fault


@BOTH
def test_a_source_that_fails(executor):
    """What a source raises ends the run; what it gave before was passed on."""
    kept, keep = keeper()
    error = failure(
        Pipeline().add("mic", f"{MORE}:BrokenSource", executor=executor).add("out", keep).connect("mic -> out")
    )
    assert "node 'mic': OSError: the microphone was unplugged (more.py:" in str(error)
    assert [data.as_json() for data in kept] == [0, 1, 2][: len(kept)]


@BOTH
def test_a_datum_of_the_wrong_type_names_the_node(executor):
    """A text where a tensor is wanted is the error of the node that wanted it."""
    error = failure(fed(f"{NODES}:double", executor))
    assert error.node_id == "bad"
    assert "Type mismatch: expected Tensor, got Text" in str(error)


@pytest.mark.parametrize("placing", ["native native", "native multiprocess", "multiprocess multiprocess"])
def test_a_timeout_names_the_edge(placing, tmp_path):
    """An edge that stays full longer than its timeout fails the run, and is named."""
    source, sink = placing.split()
    pipeline = Pipeline().add("in", f"{NODES}:Numbers", {"count": -1}, executor=source)
    pipeline.add("hold", f"{MORE}:later_than", {"path": str(tmp_path / "never")}, executor=sink)
    error = failure(pipeline.connect("in -> hold", capacity=2, timeout_s=0.1), RunOptions(grace_s=0.1))
    assert "0.1" in str(error)
    assert "in.out -> hold.in" in str(error)


# Workers that die


DEATHS = {
    f"{NODES}:crash": "exited with code 13 before its work was done",
    f"{NODES}:die": "was killed by SIGKILL",
    f"{NODES}:segfault": "was killed by SIGSEGV",
    f"{MORE}:ExitInit": "exited with code 7 before its work was done",
}


@pytest.mark.parametrize("node", DEATHS)
def test_a_worker_that_dies_is_told_with_its_pid(node):
    """Exit, SIGKILL, segmentation fault, exit in initialize: node, pid and what happened, as NodeExecution."""
    error = failure(fed(node, "multiprocess"))
    assert error.node_id == "bad"
    assert re.fullmatch(rf"node 'bad': its process \(pid \d+\) {DEATHS[node]}.*", str(error), re.DOTALL), str(error)


def graph(folder, *, source="multiprocess", sink="Drain", middle="Pass"):
    """An endless stream through one worker, which makes the file `reached`, into another."""
    params = f"params: {{folder: {folder}}}"
    return f"""
        nodes:
          in: {{type: "{MORE}:Ticks", executor: {source}, {params}}}
          mark: {{type: "{MORE}:{middle}", executor: multiprocess, {params}}}
          out: {{type: "{MORE}:{sink}", executor: multiprocess, {params}}}
        edges:
          - {{from: in, to: mark, capacity: 4}}
          - {{from: mark, to: out, capacity: 4}}
        """


def slow_to_start(folder, **more):
    """A worker that makes the file `begun` and never gets ready."""
    options = "".join(f", {key}: {value}" for key, value in more.items())
    return f"""
        nodes:
          in: {{type: "{NODES}:Numbers"}}
          slow: {{type: "{MORE}:SlowInit", executor: multiprocess, params: {{path: {folder / "begun"}}}{options}}}
        edges: [in -> slow]
        """


def pid_of(folder, node):
    """The process of a `Told` node."""
    return int(until(lambda: (folder / node).exists() and (folder / node).read_text(), f"{node} runs"))


@pytest.mark.parametrize("victim", ["in", "mark", "out"])
def test_kill_9_of_a_worker_in_mid_run(tmp_path, victim):
    """Whichever worker is killed: its node, SIGKILL and its pid, exit code 1, no process and no segment left."""
    with started(tmp_path, graph(tmp_path)) as process:
        until((tmp_path / "reached").exists, "data flow")
        token, pid = process.token(), pid_of(tmp_path, victim)
        assert segments(token)
        os.kill(pid, signal.SIGKILL)
        done = process.finish().check()
        gone(process)
    report = done.json()
    assert (done.code, report["outcome"]) == (1, "failed")
    assert f"error: node '{victim}': its process (pid {pid}) was killed by SIGKILL" in done.err
    assert report["error"] in done.err
    assert next(node["pid"] for node in report["nodes"] if node["node_id"] == victim) == pid
    ledgers(report)
    assert not segments(token)


def test_a_worker_that_is_killed_while_it_waits_for_room(tmp_path):
    """A worker that sleeps on a full edge can be killed like any other."""
    with started(tmp_path, graph(tmp_path, source="native", sink="Stuck")) as process:
        until((tmp_path / "stuck").exists, "the reader is stuck")
        pid = pid_of(tmp_path, "mark")
        until(lambda: "poll" in Path(f"/proc/{pid}/wchan").read_text(), "the middle waits in the kernel")
        os.kill(pid, signal.SIGKILL)
        done = process.finish().check()
        gone(process)
    assert done.code == 1
    assert f"node 'mark': its process (pid {pid}) was killed by SIGKILL" in done.err
    assert ledgers(done.json())["mark.out -> out.in"]["in_flight"] == 4


def test_a_worker_that_is_killed_while_it_initializes(tmp_path):
    """Before it is ready, too, a dead worker is an error at once, and not a wait for init_timeout."""
    with started(tmp_path, slow_to_start(tmp_path)) as process:
        until((tmp_path / "begun").exists, "the node initializes")
        (pid,) = process.workers()
        os.kill(pid, signal.SIGKILL)
        done = process.finish().check()
    assert done.code == 1
    assert f"node 'slow': its process (pid {pid}) was killed by SIGKILL" in done.err
    assert done.json()["outcome"] == "failed"


def test_a_worker_that_is_not_ready_in_time(tmp_path):
    """init_timeout ends a node that does not come to an end, and says what to do."""
    with started(tmp_path, slow_to_start(tmp_path, init_timeout=0.5)) as process:
        done = process.finish().check()
        gone(process)
    assert done.code == 1
    assert re.search(r"node 'slow': was not ready within 0.5 s \(pid \d+\); give it more with init_timeout", done.err)


def test_a_worker_that_is_told_to_end_from_outside(tmp_path):
    """SIGTERM by somebody else is no crash, but the run can not go on, and says so."""
    with started(tmp_path, graph(tmp_path)) as process:
        until((tmp_path / "reached").exists, "data flow")
        pid = pid_of(tmp_path, "mark")
        os.kill(pid, signal.SIGTERM)
        done = process.finish().check()
    assert done.code == 1
    assert f"error: node 'mark': its process (pid {pid}) was told to end by SIGTERM" in done.err


def test_a_source_that_is_told_to_end_from_outside(tmp_path):
    """SIGTERM ends a source's stream: what it gave is worked off, and nobody takes it for the end of the work."""
    with started(tmp_path, graph(tmp_path)) as process:
        until((tmp_path / "reached").exists, "data flow")
        os.kill(pid_of(tmp_path, "in"), signal.SIGTERM)
        done = process.finish().check()
    assert done.code == 1, "an endless source that is told to end from outside has not completed"
    drained(done.json())


def test_the_children_of_a_worker_end_with_it(tmp_path):
    """Processes that a node has started are gone, too, when its worker is killed."""
    with started(tmp_path, graph(tmp_path, sink="Child")) as process:
        until((tmp_path / "reached").exists, "data flow")
        until(lambda: len(process.relatives()) > len(process.workers()) == 3, "three workers and a child")
        os.kill(pid_of(tmp_path, "out"), signal.SIGKILL)
        assert process.finish().check().code == 1
        gone(process)


def test_a_worker_that_does_not_exit_is_ended():
    """A node that leaves a thread behind has done its work; its process gets the grace period."""
    report = run(
        Pipeline()
        .add("in", f"{NODES}:Numbers")
        .add("n", f"{MORE}:Lingers", executor="multiprocess")
        .connect("in -> n"),
        RunOptions(grace_s=0.2),
    )
    assert report.outcome == "completed"


def test_an_emitting_source_stops_between_two_data():
    """`ctx.emit` reaches all edges of a fan-out or none, whenever the stop comes."""

    async def main():
        pipeline = Pipeline().add("in", f"{MORE}:EmitFan", executor="multiprocess")
        pipeline.add("a", f"{NODES}:none").add("b", f"{NODES}:none").connect("in -> a").connect("in -> b")
        async with pipeline.open() as run:
            while run.report().edges[0].sent < 20:
                await trio.sleep(0.001)
        return run.report()

    report = trio.run(main)
    assert report.outcome == "stopped"
    assert len({edge.sent for edge in report.edges}) == 1
