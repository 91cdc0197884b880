"""How runs end: at their end, stopped, cancelled, with an error; and how they live side by side."""

import os
import subprocess
import sys

import pytest
import trio
from support import NODES, drained, environment, ledgers, token_of
from test_pipeline import endless, reached
from test_pipeline_streams import BOTH, given, keeper, values

import penstock
from penstock.engine.options import RunOptions
from penstock.executors.contract import ExecutorType, NodeExecution, RuntimeData, Validation


@BOTH
async def test_leaving_the_block_stops_an_endless_source_and_drains(executor):
    """Everything that a source gave is worked off before the block is left; the outcome is `stopped`."""
    kept, pipeline = endless(executor, capacity=7)
    async with pipeline.open() as run:
        await reached(kept, 20)
    report = run.report()
    edge = drained(report.to_json())["in.out -> out.in"]
    assert report.outcome == "stopped"
    assert values(kept) == list(range(edge["sent"]))


async def test_stopping_leaves_nothing_in_the_middle():
    """A stop drains through workers, too, and flushes them: the count at the end is that of the source."""
    kept, keep = keeper()
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": -1}, executor="multiprocess")
    pipeline.add("echo", f"{NODES}:echo").add("count", f"{NODES}:Counter", executor="multiprocess").add("out", keep)
    async with pipeline.connect("in -> echo -> count -> out").open() as run:
        await reached(kept, 20)
        assert await run.stop()
        assert await run.stop(), "a second stop changes nothing"
    sent = drained(run.report().to_json())["in.out -> echo.in"]["sent"]
    assert values(kept) == [*range(1, sent + 1), {"total": sent}]


async def test_a_stop_does_not_split_a_fan_out():
    """A source that is stopped while one of two edges is full gives its last datum to both, or to none."""
    first, keep_first = keeper()
    gate = trio.Event()

    async def slow(data):
        await gate.wait()

    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": -1}).add("fast", keep_first)
    pipeline.add("slow", slow).connect("in -> fast", capacity=100).connect("in -> slow", capacity=2)
    async with pipeline.open() as run:
        await reached(first, 3)
        for _ in range(20):
            await trio.lowlevel.checkpoint()

        async def later():
            await trio.lowlevel.checkpoint()
            gate.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(later)
            await run.stop()
    edges = drained(run.report().to_json())
    assert edges["in.out -> fast.in"]["sent"] == edges["in.out -> slow.in"]["sent"]


async def test_an_abort_ends_at_once_and_says_so():
    """An aborted run has the outcome `aborted`, and a ledger that says what was in flight."""
    kept, keep = keeper()

    async def stuck(data):
        keep(data)
        await trio.sleep_forever()

    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": -1}, executor="multiprocess")
    async with pipeline.add("stuck", stuck).connect("in -> stuck", capacity=4).open() as run:
        await reached(kept, 1)
        run.abort()
    report = run.report()
    edge = ledgers(report.to_json())["in.out -> stuck.in"]
    assert (report.outcome, edge["received"]) == ("aborted", 0)
    assert edge["in_flight"] >= 1


async def test_a_stuck_node_ends_with_the_grace_period():
    """Leaving a block whose node never finishes takes the grace period; the ledger has what was in flight."""
    started = trio.Event()

    async def stuck(data):
        started.set()
        await trio.sleep_forever()

    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 3}).add("stuck", stuck)
    async with pipeline.connect("in -> stuck").open(RunOptions(grace_s=0.05)) as run:
        await started.wait()
        while run.report().edges[0].sent < 3:
            await trio.lowlevel.checkpoint()
    report = run.report()
    edge = ledgers(report.to_json())["in.out -> stuck.in"]
    assert (report.outcome, edge["sent"], edge["in_flight"]) == ("aborted", 3, 3)


ERRORS = {
    "one of theirs": lambda: ValueError("mine"),
    "interrupt": KeyboardInterrupt,
    "one of ours": lambda: Validation("mine"),
    "group": lambda: ExceptionGroup("two", [ValueError("a"), KeyError("b")]),
    "group of one": lambda: ExceptionGroup("one", [ValueError("a")]),
}


def parts(error):
    """An exception by what makes it: trio makes groups anew as they pass, their members stay."""
    group = isinstance(error, BaseExceptionGroup)
    return (error.message, [id(member) for member in error.exceptions]) if group else id(error)


@pytest.mark.parametrize("what", ERRORS)
@BOTH
def test_an_exception_in_the_block_comes_out_unchanged(executor, what):
    """What the block raised reaches the caller as it is, and the run is gone with everything that it had."""
    kept, pipeline = endless(executor)
    error = ERRORS[what]()

    async def main():
        async with pipeline.open():
            await reached(kept, 3)
            raise error

    with pytest.raises(BaseException) as caught:
        trio.run(main)
    kept.clear()  # a failure of this test keeps its frames, and the views with them
    assert parts(caught.value) == parts(error)
    assert not token_of(os.getpid())


@BOTH
async def test_cancelling_from_outside(executor):
    """A cancelled run ends as every trio program does: no exception but the cancellation, nothing left."""
    kept, pipeline = endless(executor)
    with trio.CancelScope() as scope:
        async with pipeline.open() as run:
            await reached(kept, 3)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert run.report().outcome == "aborted"
    assert values(kept) == list(range(len(kept)))
    assert not token_of(os.getpid())


EARLY = f"""
import penstock, penstock.engine.running, sys, trio

async def main():
    pipeline = penstock.Pipeline().add("in", "{NODES}:Numbers", {{"count": -1}}, executor="multiprocess")
    pipeline.add("out", "{NODES}:echo", executor="multiprocess").connect("in -> out")
    with trio.move_on_after(float(sys.argv[1])) as scope:
        async with pipeline.open():
            await trio.sleep_forever()
    assert scope.cancelled_caught

trio.run(main)
"""


@pytest.mark.parametrize("delay_s", ["0", "0.05", "0.1"])
def test_cancelling_while_workers_start(delay_s):
    """A deadline that passes before the workers are ready, or are even there, ends them and the program."""
    done = subprocess.run(
        [sys.executable, "-c", EARLY, delay_s],
        timeout=8,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("ending", ["end", "stop", "error", "cancel", "failure"])
def test_a_node_is_cleaned_up_once_however_it_ends(ending):
    """initialize comes first, cleanup last and once: at the end, after a stop, an error, a cancellation, a failure."""
    calls = []

    class Careful:
        def initialize(self, ctx):
            calls.append("initialize")

        def process(self, data):
            if not calls[1:]:
                calls.append("process")
            if ending == "failure":
                raise ValueError("now")

        def cleanup(self):
            calls.append("cleanup")

    async def main():
        count = 3 if ending == "end" else -1
        pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": count}).add("careful", Careful)
        with trio.CancelScope() as scope:
            async with pipeline.connect("in -> careful").open() as run:
                while len(calls) < 2 or ending == "failure":
                    await trio.lowlevel.checkpoint()
                if ending == "end":
                    await run.wait()
                elif ending == "error":
                    raise LookupError("mine")
                elif ending == "cancel":
                    scope.cancel()
                    await trio.sleep_forever()

    if ending in {"error", "failure"}:
        with pytest.raises((LookupError, NodeExecution)):
            trio.run(main)
    else:
        trio.run(main)
    assert calls == ["initialize", "process", "cleanup"]


# Side by side


@BOTH
async def test_two_runs_in_one_program(executor):
    """Two runs of one pipeline at the same time do not touch each other."""
    outcomes = []

    async def one(kept, pipeline, count):
        async with pipeline.open() as run:
            await reached(kept, count)
        outcomes.append(run.report())

    async with trio.open_nursery() as nursery:
        runs = [endless(executor), endless(executor)]
        for count, (kept, pipeline) in enumerate(runs, 10):
            nursery.start_soon(one, kept, pipeline, count)
    assert [report.outcome for report in outcomes] == ["stopped", "stopped"]
    for kept, _ in runs:
        assert values(kept) == list(range(len(kept)))


async def test_one_run_fails_and_the_other_goes_on():
    """A worker that dies takes its own run along, and no other."""
    kept, pipeline = endless("multiprocess")
    broken = penstock.Pipeline().add("in", given([RuntimeData.text("x")]))
    broken.add("die", f"{NODES}:die", executor="multiprocess").connect("in -> die")
    async with pipeline.open() as run:
        with pytest.raises(NodeExecution, match="'die'"):
            async with broken.open() as other:
                await other.wait()
        await reached(kept, len(kept) + 100)
    assert run.report().outcome == "stopped"
    assert values(kept) == list(range(len(kept)))


async def test_a_pipeline_can_be_opened_again():
    """A description is not used up by a run: the second starts afresh."""
    for _ in range(2):
        kept, pipeline = endless()
        pipeline.set("in", "count", 4)
        for _ in range(2):
            kept.clear()
            async with pipeline.open() as run:
                await run.wait()
            assert values(kept) == [0, 1, 2, 3]


def test_an_executor_type_is_as_good_as_its_name():
    """`executor=ExecutorType.NATIVE` and `executor="native"` are the same."""
    plan = penstock.Pipeline().add("in", f"{NODES}:Numbers", executor=ExecutorType.MULTIPROCESS).check()
    assert plan.nodes[0].executor is ExecutorType.MULTIPROCESS
