"""What a run says to workers while they run, and what becomes of data that they fail on."""

import logging
import os
import signal

import numpy as np
import pytest
import trio
from nodes.faulty import odd
from support import until
from test_control import balanced
from test_pipeline_streams import values

import penstock
from penstock.executors.contract import NodeExecution, RuntimeData, Validation

NODES = "nodes.faulty"


def worker(kind, params=None, **options):
    pipeline = penstock.Pipeline().add("node", f"{NODES}:{kind}", params, executor="multiprocess", **options)
    return pipeline.input("in", "node").output("out", "node")


# Data that a node fails on


@pytest.mark.parametrize("on_error", ["skip", "dead_letter"])
async def test_a_datum_that_fails_goes_no_further(on_error, caplog):
    """As in the engine's process: the others go on, and it is counted and handed on with its port and its error."""
    async with worker("odd", on_error=on_error).open() as run:
        for n in range(6):
            await run.send("in", RuntimeData.json(n, meta={"n": n}))
        await run.end("in")
        assert values([data async for data in run.outputs("out")]) == [1, "before 2", 3, 5]
    node = run.report().nodes[0]
    letters = [0, 2, 4] if on_error == "dead_letter" else []
    assert (run.report().outcome, node.processed, node.errors, node.dead_letters) == ("completed", 6, 3, len(letters))
    told = [(letter.port, letter.data.as_json(), letter.data.meta, letter.error.message) for letter in run.dead_letters]
    assert told == [("in", n, {"n": n}, f"{n} is even") for n in letters]
    assert all(letter.error.kind == "ValueError" for letter in run.dead_letters)
    assert all(letter.error.location.endswith(" in odd") for letter in run.dead_letters)
    assert balanced(run)["in -> node.in"].received == 6
    (warned,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "0 is even" in warned
    with pytest.raises(ValueError, match="0 is even"):
        list(odd(RuntimeData.json(0)))


async def test_without_a_word_a_datum_that_fails_fails_the_run():
    """The default."""
    with pytest.raises(NodeExecution, match="0 is even"):
        async with worker("odd").open() as run:
            await run.send("in", 0)
            await trio.sleep_forever()


@pytest.mark.parametrize("on_error", ["skip", "dead_letter"])
async def test_a_datum_that_kills_is_set_aside(on_error):
    """After it was tried again; what it had given before stays, once. Large data are dead letters as small ones are."""
    options = {"on_error": on_error, "max_redeliveries": 1, "restart": {"max": "unlimited", "backoff": 0}}
    async with worker("Frail", **options).open() as run:
        for n in range(8):
            await run.send("in", np.full(50_000, n, np.float32))
        await run.end("in")
        given = values([data async for data in run.outputs("out")])
    assert given == [n for n in range(8) for _ in range(1 if n == 5 else 2)]
    node = run.report().nodes[0]
    assert (node.restarts, node.errors, node.redelivered) == (2, 1, 1)
    assert [int(letter.data.as_tensor()[0]) for letter in run.dead_letters] == [5] * node.dead_letters
    assert node.dead_letters == (on_error == "dead_letter")
    assert all("was killed by SIGKILL" in letter.error.message for letter in run.dead_letters)
    assert balanced(run)["in -> node.in"].received == 8


@pytest.mark.parametrize("on_error", ["fail", "dead_letter"])
async def test_a_call_that_takes_too_long_ends_the_process(on_error):
    """Nothing else can end code that does not come back. The datum has failed; it is not tried again."""
    with trio.CancelScope(), pytest.raises(NodeExecution, match=r"took longer than its timeout of 0.2 s for one datum"):
        async with worker("Frail", timeout_s=0.2, on_error=on_error).open() as run:
            for n in (1, -1, 2):
                await run.send("in", np.full(3, n, np.float32))
            if on_error == "fail":
                await trio.sleep_forever()
            await run.end("in")
            assert values([data async for data in run.outputs("out")]) == [1, 1, -1, 2, 2]
        raise run.dead_letters[0].error


async def test_a_wait_for_room_is_not_the_nodes_own_time():
    """A node that is held up by whoever reads it has not taken too long."""
    async with worker("numbers", timeout_s=0.3).open() as run:
        await run.send("in", 300)
        await trio.sleep(1.0)
        await run.end("in")
        assert len([data async for data in run.outputs("out")]) == 300
    assert run.report().nodes[0].restarts == 0


# What a run says


@pytest.mark.parametrize("every", [1, 50])
async def test_a_worker_is_configured_between_two_data(every):
    """What was sent before has the old factor, what is sent after has the new; also for the process after a crash."""
    async with worker("Scaled", {"factor": 2}, snapshot_every=every).open() as run:
        await run.send("in", 1)
        assert (await run.receive("out")).as_json()["times"] == 2
        await run.configure("node", factor=10)
        await run.send("in", 1)
        answer = (await run.receive("out")).as_json()
        assert (answer["times"], answer["held"]) == (10, 2)
        with pytest.raises(NodeExecution, match="13 is no factor"):
            await run.configure("node", factor=13)
        with pytest.raises(Validation, match="factor"):
            await run.configure("node", factor="ten")
        os.kill(run.report().nodes[0].pid, signal.SIGKILL)
        await run.send("in", 1)
        again = (await run.receive("out")).as_json()
        assert (again["times"], again["held"]) == (10, 3)
    assert run.report().nodes[0].restarts == 1


async def test_a_source_in_a_worker_is_configured():
    """Between two of its data."""
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Counts", executor="multiprocess").output("out", "in", capacity=4)
    async with pipeline.open() as run:
        seen = [(await run.receive("out")).as_json() for _ in range(5)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: run.configure("in", step=1000))
            while seen[-1] - seen[-2] < 1000:
                seen.append((await run.receive("out")).as_json())
        steps = np.diff(seen).tolist()
        assert steps == [1] * (len(steps) - 1) + [1000]


async def test_an_interrupt_cuts_off_what_a_worker_has_in_hand(tmp_path):
    """A stream of outputs is closed, and the node hears of it before its next datum."""
    over = tmp_path / "over"
    pipeline = worker("Endless", {"path": str(over)})
    async with pipeline.open() as run:
        await run.send("in", 1)
        await run.receive("out")
        run.interrupt("node")
        await run.send("in", 0)
        while (await run.receive("out")).as_json() != "done":
            pass
        await trio.to_thread.run_sync(until, over.exists, "the first stream is closed")
    assert balanced(run)


async def test_a_node_in_a_worker_hears_of_an_interrupt():
    """It throws away what it holds back."""
    async with worker("Scaled").open() as run:
        for held in (1, 2):
            await run.send("in", 1)
            assert (await run.receive("out")).as_json()["held"] == held
        run.interrupt("node")
        await run.send("in", 1)
        assert (await run.receive("out")).as_json()["held"] == 1
