"""A run inside other people's programs: cancelled at every step, in threads, in guest mode, side by side."""

import collections
import os
import queue
import threading

import pytest
import trio
from support import NODES, drained, ledgers, token_of
from test_external import settled, through
from test_pipeline_streams import BOTH, values

from penstock.conformance.pending import cancelled_at_each_step
from penstock.engine.options import RunOptions
from penstock.executors.contract import EndOfStream, NodeExecution


class Careful:
    """Counts what is called of it, over all instances; an async node that waits in each of its methods."""

    calls = collections.Counter()

    async def initialize(self, ctx):
        await trio.lowlevel.checkpoint()
        self.calls["initialize"] += 1

    async def process(self, data):
        await trio.lowlevel.checkpoint()
        return data

    async def cleanup(self):
        await trio.lowlevel.checkpoint()
        self.calls["cleanup"] += 1


async def whole_life(pipeline, options=None):
    """Open, send, receive, end, leave."""
    async with pipeline.open(options) as run:
        await run.send("in", 1)
        assert (await run.receive("out")).as_json() == 1
        await run.send("in", 2)
        await run.end("in")
        assert values([data async for data in run.outputs("out")]) == [2]
        await run.wait()


async def test_a_run_cancelled_at_each_step_of_its_life():
    """Wherever the cancellation strikes, opening to leaving, each node that was initialized is cleaned up, once."""
    Careful.calls.clear()

    async def look(ended):
        await settled()
        assert Careful.calls["cleanup"] == Careful.calls["initialize"], Careful.calls

    steps = await cancelled_at_each_step(lambda: whole_life(through(Careful)), look, most=200)
    assert 10 < steps < 200
    assert Careful.calls["initialize"] > steps - 5


async def test_a_run_with_a_worker_cancelled_at_each_step_of_its_life():
    """Likewise with a process and shared memory: no step leaves a segment or a process behind."""

    async def look(ended):
        assert not token_of(os.getpid())

    pipeline = through(executor="multiprocess")
    steps = await cancelled_at_each_step(lambda: whole_life(pipeline), look, most=60)
    assert steps > 5


@BOTH
async def test_a_send_cancelled_at_each_step_has_sent_nothing(executor):
    """Exactly those data arrive whose `send` came to its end, also when it waited for room, and behind others."""
    sent, got = [], []

    async with through(executor=executor, capacity=1).open() as run, trio.open_nursery() as nursery:

        async def read():
            async for data in run.outputs("out"):
                got.append(data.as_json())
                await trio.sleep(0.001)

        async def send():
            number = next(numbers)
            await run.send("in", number)
            sent.append(number)

        async def others():
            for n in range(-30, 0):
                await run.send("in", n)
                await trio.sleep(0)

        async def look(ended):
            pass

        numbers = iter(range(1000))
        nursery.start_soon(read)
        nursery.start_soon(others)
        steps = sum([await cancelled_at_each_step(send, look, most=12) for _ in range(10)])
        while ledgers(run.report().to_json())["in -> node.in"]["sent"] < len(sent) + 30:
            await trio.sleep(0.001)
        await run.end("in")
    assert steps > 10
    assert [n for n in got if n >= 0] == sent
    assert [n for n in got if n < 0] == list(range(-30, 0))
    assert drained(run.report().to_json())["in -> node.in"]["sent"] == len(sent) + 30


@BOTH
async def test_a_receive_cancelled_at_each_step_has_taken_nothing(executor):
    """Nothing is missing in what comes after it, whether it found its datum or waited for it."""
    got = []
    async with through(executor=executor).open() as run:
        for n in range(5):
            await run.send("in", n)

        async def receive():
            got.append((await run.receive("out")).as_json())

        async def waits():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(later)
                await receive()

        async def later():
            with trio.CancelScope(shield=True):
                await settled()
                await run.send("in", len(got))

        async def look(ended):
            pass

        while len(got) < 5:
            await cancelled_at_each_step(receive, look, most=8)
        for _ in range(5):
            await cancelled_at_each_step(waits, look, most=12)
        await run.end("in")
        got += values([data async for data in run.outputs("out")])
        with pytest.raises(EndOfStream):
            await run.receive("out")
    sent = drained(run.report().to_json())["in -> node.in"]["sent"]
    assert len(got) == sent
    assert got[:5] == list(range(5))


@pytest.mark.parametrize("call", ["stop", "drain", "end"])
async def test_ending_cancelled_at_each_step(call):
    """A `stop`, `drain` or `end` that is cancelled can be called again, and then does its work."""
    kept = []

    async def life():
        async with through(capacity=2).open() as run, trio.open_nursery() as nursery:
            for n in range(3):
                await run.send("in", n)

            async def look(ended):
                pass

            async def read():
                kept.extend(values([data async for data in run.outputs("out")]))

            calls = {"stop": run.stop, "drain": run.drain, "end": lambda: run.end("in")}
            await cancelled_at_each_step(calls[call], look, most=6)
            nursery.start_soon(read)
            await calls[call]()
            await run.end("in")
        return run.report()

    report = await life()
    assert kept == [0, 1, 2]
    assert report.outcome in {"completed", "stopped"}
    drained(report.to_json())


# Where it runs


def in_thread(function):
    """Run a function in a thread of its own, and give what it gives or raises."""
    result = queue.Queue()

    def work():
        try:
            result.put((function(), None))
        except BaseException as error:
            result.put((None, error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    value, error = result.get()
    if error is not None:
        raise error
    return value


@BOTH
def test_outside_the_main_thread(executor):
    """A whole life, and a failure, in a trio program that is not in the main thread."""
    in_thread(lambda: trio.run(whole_life, through(executor=executor)))
    with pytest.raises(NodeExecution):
        in_thread(lambda: trio.run(whole_life, through(f"{NODES}:fail", executor)))


@BOTH
def test_two_programs_in_one_process(executor):
    """Two trio programs in two threads run the same pipeline at the same time; each has its own data."""
    pipeline = through(executor=executor)
    both_open = threading.Barrier(2, timeout=30)
    got = {}

    async def one(name):
        async with pipeline.open() as run:
            await trio.to_thread.run_sync(both_open.wait)
            for n in range(50):
                await run.send("in", [name, n])
            await run.end("in")
            got[name] = values([data async for data in run.outputs("out")])

    threads = [threading.Thread(target=trio.run, args=(one, name)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {name: [[name, n] for n in range(50)] for name in ("a", "b")}


@BOTH
def test_as_a_guest(executor):
    """Inside another loop, by `trio.lowlevel.start_guest_run`."""
    calls = queue.Queue()
    outcomes = []

    def done(outcome):
        outcomes.append(outcome)
        calls.put(None)

    trio.lowlevel.start_guest_run(
        whole_life,
        through(executor=executor),
        run_sync_soon_threadsafe=calls.put,
        done_callback=done,
        host_uses_signal_set_wakeup_fd=True,
    )
    while (call := calls.get(timeout=30)) is not None:
        call()
    outcomes[0].unwrap()


@BOTH
async def test_runs_opened_and_closed_in_any_order(executor):
    """Runs that overlap without being nested: each ends when its own block is left, the others go on."""
    opened, close = {}, {}
    async with trio.open_nursery() as nursery:

        async def hold(name, task_status):
            async with through(executor=executor).open() as opened[name]:
                close[name] = trio.Event()
                task_status.started()
                await close[name].wait()

        for name in "abc":
            await nursery.start(hold_with_status(hold, name))
        for name in "bac":
            for other, run in opened.items():
                if not close[other].is_set():
                    await run.send("in", other)
                    assert (await run.receive("out")).as_text() == other
            close[name].set()
            while opened[name].report().outcome == "running":
                await trio.sleep(0.001)


def hold_with_status(hold, name):
    async def held(task_status):
        await hold(name, task_status)

    return held


async def test_a_cleanup_that_fails_in_a_cancelled_run_is_told_after_it():
    """A cancellation stays one; an error that the run itself had first is not lost to it."""
    with trio.CancelScope() as scope:
        with pytest.raises(NodeExecution, match="the lid is stuck"):
            async with through(f"{NODES}:FailCleanup").open(RunOptions(grace_s=1)) as run:
                await run.send("in", 1)
                await run.end("in")
                await run.wait()
    assert not scope.cancelled_caught
    ledgers(run.report().to_json())


@pytest.mark.parametrize("call", ["wait", "receive", "nursery", "send", "mine"])
async def test_an_abort_leaves_the_block_without_an_error(call):
    """Whatever the block does when the run is aborted, it is left; an error of its own still comes out."""
    async with trio.open_nursery() as around:

        async def abort(run):
            await settled()
            run.abort()

        async def main():
            async with through().open() as run:
                around.start_soon(abort, run)
                if call == "wait":
                    await run.wait()
                elif call == "receive":
                    await run.receive("out")
                elif call == "nursery":
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(run.receive, "out")
                        nursery.start_soon(trio.sleep_forever)
                        await run.wait()
                elif call == "send":
                    while True:
                        await run.send("in", 1)
                        await run.receive("out")
                else:
                    try:
                        await run.wait()
                    finally:
                        raise LookupError
            assert run.report().outcome == "aborted"

        if call == "mine":
            with pytest.raises(LookupError):
                await main()
        else:
            await main()
