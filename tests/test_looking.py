"""What can be seen of a pipeline from inside: times of nodes, ages of data, the lag of the loop."""

from __future__ import annotations

import json
import logging
import time

import pytest
import trio
from support import manifest, penstock

from penstock.engine.lag import measured
from penstock.engine.local_edge import LocalEdge
from penstock.engine.pipeline import Pipeline
from penstock.executors.contract import NodeExecution, RuntimeData
from penstock.shm.ring import Policy

NODES = "nodes.looking"


def by_id(report):
    return {node.node_id: node for node in report.nodes}


def slow(executor, *, count=5, **params):
    pipeline = Pipeline().add("in", f"{NODES}:Numbers", {"count": count})
    pipeline.add("slow", f"{NODES}:Slow", params, executor=executor).add("out", lambda data: None)
    return pipeline.connect("in -> slow -> out")


@pytest.mark.parametrize("executor", ["native", "multiprocess"])
async def test_a_call_and_a_wait_are_as_long_as_they_are(executor):
    """A node that takes 20 ms says so; its data, which all came at once, are as old as its calls before them took."""
    pipeline = Pipeline().add("slow", f"{NODES}:Slow", {"ms": 20}, executor=executor).input("in", "slow")
    async with pipeline.output("out", "slow").open() as run:
        for number in range(5):
            run.send_nowait("in", number)
        for _ in range(5):
            await run.receive("out")
    node = by_id(run.report())["slow"]
    assert node.processed == 5
    assert 20_000 * 0.875 < node.p50_us <= node.p95_us <= node.p99_us
    assert node.busy_s >= 5 * 0.02
    assert 0 < node.busy_share <= 1
    assert node.queue_p99_us > 3 * 20_000 * 0.875
    assert node.queue_p50_us <= node.queue_p99_us


@pytest.mark.parametrize("executor", ["native", "multiprocess"])
async def test_nothing_was_measured_before_the_first_datum(executor):
    """A node without data has counts of zero and no times, and so has a source."""
    async with slow(executor, count=0).open() as run:
        await run.wait()
    for node in run.report().nodes:
        assert (node.processed, node.p50_us, node.p99_us, node.queue_p50_us) == (0, None, None, None)


async def test_the_work_of_a_worker_is_seen_while_it_works():
    """A report in the middle of a run has what its workers have done so far."""
    pipeline = Pipeline().add("node", f"{NODES}:Slow", {"ms": 1}, executor="multiprocess")
    async with pipeline.input("in", "node").output("out", "node").open() as run:
        for number in range(3):
            await run.send("in", number)
            await run.receive("out")
        while (node := by_id(run.report())["node"]).busy_s < 0.003:  # it notes a call when it has sent its output
            await trio.sleep(0.001)
        assert (run.report().outcome, node.processed) == ("running", 3)
        assert node.p50_us > 875


async def test_a_source_in_a_worker_counts_while_it_works():
    """What a source has made is seen before it ends."""
    pipeline = Pipeline().add("in", "counter", {"count": None}, executor="multiprocess").output("out", "in")
    async with pipeline.open() as run:
        for _ in range(100):
            await run.receive("out")
        node = by_id(run.report())["in"]
        assert node.processed >= 99
        assert node.busy_s > 0


async def test_the_work_of_a_dead_worker_is_known():
    """A worker that is killed has said nothing at its end; its page says what it did."""
    pipeline = Pipeline().add("in", f"{NODES}:Numbers", {"count": 5})
    pipeline.add("slow", f"{NODES}:Slow", {"ms": 2, "dies_at": 3}, executor="multiprocess", delivery="fail")
    with pytest.raises(NodeExecution, match="SIGKILL"):
        async with pipeline.add("out", lambda data: None).connect("in -> slow -> out").open() as run:
            await run.wait()
    node = by_id(run.report())["slow"]
    assert node.processed == 4
    assert node.busy_s >= 3 * 0.002
    assert node.p50_us > 2_000 * 0.875
    assert node.peak_rss_kib is None


async def test_work_is_summed_over_restarts(tmp_path):
    """The datum that killed a worker is given to the node twice; calls before and after the death count."""
    async with slow("multiprocess", ms=2, dies_at=3, once=str(tmp_path / "died"), count=6).open() as run:
        await run.wait()
    node = by_id(run.report())["slow"]
    assert (node.restarts, node.redelivered) == (1, 1)
    assert node.processed == 7
    assert node.busy_s >= 6 * 0.002


async def test_ages_are_of_what_was_taken():
    """What was dropped on the way has no age, and leaves none to others."""
    edge = LocalEdge("edge", 2, 1 << 20, None, Policy.DROP_OLDEST)
    same = RuntimeData.text("same")
    for number in range(10):
        await edge.send(RuntimeData.text(str(number)))
    await trio.sleep(0.02)
    assert [edge.receive_nowait().as_text() for _ in range(2)] == ["8", "9"]
    assert sum(edge.queueing.counts()) == 2
    assert edge.queueing.longest_ns >= 20_000_000
    for _ in range(2):
        edge.acknowledge()
    await edge.send(same)
    await edge.send(same)
    edge.interrupt()
    await edge.send(same)
    assert edge.receive_nowait() is same
    assert sum(edge.queueing.counts()) == 3


# The loop


def busy(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_the_lag_is_the_longest_round():
    """Whoever computes in the loop is seen; who waits, for however long, is not."""

    async def main():
        with measured() as lag:
            await trio.sleep(0.3)
            waited_ns = lag.longest_ns
            busy(0.2)
            await trio.lowlevel.checkpoint()
            return waited_ns, lag.longest_ns

    waited_ns, worked_ns = trio.run(main)
    assert waited_ns < 250_000_000
    assert worked_ns >= 200_000_000


def test_runs_in_one_loop_measure_side_by_side():
    """Each knows the lag since it began; the last one takes the instrument away."""

    async def main():
        with measured() as outer:
            busy(0.1)
            await trio.lowlevel.checkpoint()
            with measured() as inner:
                await trio.lowlevel.checkpoint()
                assert inner.longest_ns < 100_000_000 <= outer.longest_ns
                busy(0.15)
                await trio.lowlevel.checkpoint()
                assert min(inner.longest_ns, outer.longest_ns) >= 150_000_000
        instruments = trio._core._run.GLOBAL_RUN_CONTEXT.runner.instruments
        assert not instruments.get("before_io_wait")

    trio.run(main)


def heavy(data):
    busy(0.15)
    return data


def heavy_in_parts(data):
    for _ in range(3):
        busy(0.05)
        yield data


async def patient(data):
    await trio.sleep(0.15)
    return data


async def test_who_holds_the_loop_is_named_once(caplog):
    """A native node that computes for longer than 100 ms is warned of, with the remedy, and the report names it."""
    pipeline = Pipeline().add("heavy", heavy).add("patient", patient).input("in", "heavy").output("out", "patient")
    pipeline.connect("heavy -> patient")
    with caplog.at_level(logging.WARNING, "penstock"):
        async with pipeline.open() as run:
            for number in range(2):
                await run.send("in", number)
                await run.receive("out")
    report = run.report()
    assert report.holds_loop.node_id == "heavy"
    assert report.holds_loop.longest_hold_ms >= 150
    assert report.loop_lag_ms_max >= 150
    assert by_id(report)["patient"].longest_hold_ms < 150
    (said,) = (record.getMessage() for record in caplog.records if "'heavy'" in record.getMessage())
    assert "thread: true" in said
    assert not [record for record in caplog.records if "'patient'" in record.getMessage()]


async def test_a_generator_holds_the_loop_from_one_output_to_the_next():
    """Between its outputs others run: what it held is one part, and not all of its call."""
    pipeline = Pipeline().add("parts", heavy_in_parts).input("in", "parts").output("out", "parts")
    async with pipeline.open() as run:
        await run.send("in", 1)
        for _ in range(3):
            await run.receive("out")
    node = by_id(run.report())["parts"]
    assert node.longest_hold_ms >= 50
    assert node.p50_us > 0.15e6 * 0.875
    assert node.longest_hold_ms * 1000 < node.p50_us


async def test_a_node_in_a_thread_holds_nothing():
    """A thread is beside the loop."""
    pipeline = Pipeline().add("heavy", heavy, thread=True).input("in", "heavy").output("out", "heavy")
    async with pipeline.open() as run:
        await run.send("in", 1)
        await run.receive("out")
    node = by_id(run.report())["heavy"]
    assert node.longest_hold_ms < 150
    assert node.p50_us > 0.15e6 * 0.875


# As people see it


def test_the_report_shows_the_times(tmp_path):
    """The table has them with their units, and the JSON under their names."""
    path = manifest(
        tmp_path,
        f"""
        nodes:
          in: {{type: "{NODES}:Numbers", params: {{count: 4}}}}
          slow: {{type: "{NODES}:Slow", params: {{ms: 3}}, executor: multiprocess}}
          out: {{type: json_lines, params: {{path: {tmp_path}/out.jsonl}}}}
        edges: [in -> slow -> out]
        """,
    )
    done = penstock("run", path).check()
    assert done.code == 0
    row = next(line for line in done.err.splitlines() if line.startswith("slow "))
    assert "ms" in row, row
    assert "%" in row
    said = {node["node_id"]: node for node in json.loads(penstock("run", "--json", path).check().out)["nodes"]}
    assert said["slow"]["p50_us"] >= 3_000 * 0.875
    assert said["in"]["p50_us"] is None
    assert said["slow"]["queue_p99_us"] >= 0
