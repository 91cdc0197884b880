"""Many sessions side by side in one program, of different rates, one of them stuck."""

import random

import pytest
import trio
from support import NODES, ledgers
from test_pipeline_streams import values

import penstock
from penstock.engine.options import RunOptions
from penstock.executors.contract import Validation


async def stuck_on_minus_one(data):
    if data.as_json() == -1:
        await trio.sleep_forever()
    return data


def session(executor):
    """Two nodes in a row; the first one can be made to hang."""
    pipeline = penstock.Pipeline().add("first", stuck_on_minus_one)
    for name in ("second", "third"):
        pipeline.add(name, f"{NODES}:echo", executor=executor)
    return pipeline.connect("first -> second -> third").input("in", "first").output("out", "third")


@pytest.mark.parametrize(("executor", "sessions"), [("native", 100), ("multiprocess", 4)])
async def test_sessions_do_not_touch_each_other(executor, sessions):
    """Each gets back exactly its own data, whatever its rate is; a stuck one holds nobody up, and is named."""
    plan = session(executor).check()
    reports = {}
    all_done = trio.Event()

    async def lively(number, task_status=trio.TASK_STATUS_IGNORED):
        rate = random.Random(number)
        async with plan.open(RunOptions(session_id=f"s{number}")) as run, trio.open_nursery() as nursery:

            async def feed():
                for n in range(20):
                    await run.send("in", [number, n])
                    if rate.random() < 0.5:
                        await trio.sleep(rate.random() / 200)
                await run.end("in")

            task_status.started()
            nursery.start_soon(feed)
            data = [data async for data in run.outputs("out")]
        assert values(data) == [[number, n] for n in range(20)]
        assert {each.session_id for each in data} == {f"s{number}"}
        reports[number] = run.report()
        if len(reports) == sessions:
            all_done.set()

    async def stuck():
        async with plan.open(RunOptions(grace_s=0.1, stall_after_s=0.2)) as run:
            for n in (0, -1, 1):
                await run.send("in", n)
            await run.receive("out")
            while not run.stalls():
                await trio.sleep(0.05)
            (stall,) = run.stalls()
            assert (stall.edge, stall.holder, stall.in_flight) == ("in -> first.in", "first", 2)
            await all_done.wait()
        reports["stuck"] = run.report()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stuck)
        for number in range(sessions):
            nursery.start_soon(lively, number)
    assert reports.pop("stuck").outcome == "aborted"
    assert {report.outcome for report in reports.values()} == {"completed"}
    for report in reports.values():
        assert {(edge["sent"], edge["in_flight"]) for edge in ledgers(report.to_json()).values()} == {(20, 0)}


async def test_a_plan_is_opened_without_another_check(monkeypatch):
    """A checked pipeline can be opened many times, also side by side; where its nodes run is settled."""
    plan = session("native").check()
    monkeypatch.setattr("penstock.engine.opening.check", None)
    async with plan.open() as one, plan.open() as two:
        for run in (one, two):
            await run.send("in", 1)
        assert [(await run.receive("out")).as_json() for run in (one, two)] == [1, 1]
    with pytest.raises(Validation, match=r"say pipeline.check\(only_native=True\)"):
        session("multiprocess").check().open(RunOptions(only_native=True))
    monkeypatch.undo()
    async with session("multiprocess").check(only_native=True).open(RunOptions(only_native=True)) as run:
        assert {node.pid for node in run.report().nodes} == {0}
