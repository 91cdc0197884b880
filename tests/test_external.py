"""External inputs and outputs: what a program sends into a running pipeline, and what it receives from it."""

import os

import numpy as np
import pytest
import trio
from support import NODES, drained, ledgers, manifest
from support import penstock as command
from test_pipeline_streams import BOTH, EVERYTHING, assert_same, values

import penstock
from penstock.engine.external import RunEnded
from penstock.engine.options import RunOptions
from penstock.executors.contract import (
    BackpressureTimeout,
    EndOfStream,
    NodeExecution,
    RuntimeData,
    TypeMismatch,
    Validation,
)


def through(node=f"{NODES}:echo", executor="native", **options):
    """A pipeline of one node between an input and an output."""
    pipeline = penstock.Pipeline().add("node", node, executor=executor)
    return pipeline.input("in", "node", **options).output("out", "node.out", **options)


async def settled():
    """Let every other task run as far as it can."""
    for _ in range(50):
        await trio.lowlevel.checkpoint()


@BOTH
@pytest.mark.parametrize("bounds", [{}, {"capacity": 1}], ids=str)
async def test_what_is_sent_is_received(executor, bounds):
    """Every datum comes back bit for bit and in order, and the stream ends when its input was ended."""
    kept = []
    async with through(executor=executor, **bounds).open() as run, trio.open_nursery() as nursery:

        async def feed():
            for data in EVERYTHING:
                await run.send("in", data)
            await run.end("in")

        nursery.start_soon(feed)
        kept += [data async for data in run.outputs("out")]
        with pytest.raises(EndOfStream):
            await run.receive("out")
    report = run.report()
    assert_same(kept, EVERYTHING)
    assert report.outcome == "completed"
    assert set(drained(report.to_json())) == {"in -> node.in", "node.out -> out"}


async def test_plain_values_become_data():
    """A str is text, an array a tensor, anything else JSON; the session is that of the run."""
    async with through().open(RunOptions(session_id="s")) as run:
        for value in ("text", np.arange(3), {"a": [1]}, None, 2.5):
            await run.send("in", value)
        got = [await run.receive("out") for _ in range(5)]
    assert [str(data.data_type) for data in got] == ["Text", "Tensor", "Json", "Json", "Json"]
    assert {data.session_id for data in got} == {"s"}
    assert (got[0].as_text(), got[1].as_tensor().tolist(), got[2].as_json()) == ("text", [0, 1, 2], {"a": [1]})


class Listens:
    inputs = {"in": "audio"}
    outputs = {"out": "text|json"}

    def process(self, data):
        return RuntimeData.json(data.as_audio().num_samples)


async def test_an_input_takes_what_its_target_takes():
    """A datum of another type is refused by name, before it is sent; so is what can not be made into one."""
    async with through(Listens).open() as run:
        with pytest.raises(TypeMismatch, match=r"expected audio \(input 'in'\), got Text"):
            await run.send("in", RuntimeData.text("hello"))
        with pytest.raises(Validation, match=r"input 'in': audio has a rate: RuntimeData.audio"):
            run.send_nowait("in", np.zeros(4, "f4"))
        with pytest.raises(Validation, match="input 'in': not JSON"):
            await run.send("in", {1, 2})
        await run.send("in", RuntimeData.audio(np.zeros(4, "f4"), sample_rate=8000))
        assert (await run.receive("out")).as_json() == 4
        for call in (lambda: run.send("im", 1), lambda: run.end("im"), lambda: run.receive("im")):
            with pytest.raises(Validation, match="there is no (in|out)put 'im': (did you mean|there is)"):
                await call()
        with pytest.raises(Validation, match="there is no output 'oat': did you mean 'out'"):
            run.outputs("oat")
    assert drained(run.report().to_json())["in -> node.in"]["sent"] == 1


@BOTH
async def test_an_output_that_nobody_reads_is_backpressure(executor):
    """Edges fill up, then `send_nowait` would block; each datum that is received makes room for one."""
    async with through(executor=executor, capacity=2).open() as run:
        for n in range(4):  # two edges of two, of which one is in the node's hands
            await run.send("in", n)
        with trio.move_on_after(0.05) as scope:
            await run.send("in", "too much")
        assert scope.cancelled_caught
        with pytest.raises(trio.WouldBlock):
            run.send_nowait("in", "too much")
        assert [(await run.receive("out")).as_json() for _ in range(4)] == list(range(4))
        with pytest.raises(trio.WouldBlock):
            run.receive_nowait("out")
    edges = drained(run.report().to_json())
    assert [edge["sent"] for edge in edges.values()] == [4, 4]


@BOTH
async def test_leaving_the_block_needs_no_reader(executor):
    """What nobody received is kept when the run stops, does not hold it up, and can be received afterwards."""
    pipeline = through(f"{NODES}:twice", executor, capacity=2)
    async with pipeline.open(RunOptions(grace_s=30)) as run:
        with trio.move_on_after(0.1):
            for n in range(100):
                await run.send("in", n)
    sent = ledgers(run.report().to_json())["in -> node.in"]["sent"]
    edge = ledgers(run.report().to_json())["node.out -> out"]
    assert run.report().outcome == "stopped"
    assert sent >= 3
    assert (edge["sent"], edge["received"], edge["in_flight"]) == (2 * sent, 0, 2 * sent)
    assert values([data async for data in run.outputs("out")]) == [n for n in range(sent) for _ in range(2)]
    assert drained(run.report().to_json())["node.out -> out"]["received"] == 2 * sent
    with pytest.raises(EndOfStream):
        run.receive_nowait("out")


@BOTH
async def test_a_reader_outside_the_block_gets_everything(executor):
    """A task that reads while the block is left misses nothing, however slow it is."""
    kept = []

    async def read(run):
        async for data in run.outputs("out"):
            kept.append(data.as_json())
            await settled()

    async with trio.open_nursery() as nursery:
        async with through(executor=executor, capacity=2).open() as run:
            nursery.start_soon(read, run)
            for n in range(20):
                await run.send("in", n)
    assert kept == list(range(20))
    assert drained(run.report().to_json())["node.out -> out"]["received"] == 20


async def test_several_inputs_and_outputs():
    """Each name is a stream of its own; a node with several ports is reached by each of them."""
    pipeline = penstock.Pipeline().add("merge", f"{NODES}:Merge").add("split", f"{NODES}:Split")
    pipeline.input("left", "merge.left").input("right", "merge.right").output("merged", "merge")
    pipeline.input("numbers", "split").output("even", "split.even").output("odd", "split.odd")
    async with pipeline.open() as run:
        await run.send("left", 1)
        await run.send("right", 2)
        assert sorted([(await run.receive("merged")).as_json() for _ in range(2)]) == [["left", 1], ["right", 2]]
        for n in range(4):
            await run.send("numbers", n)
        await run.end("numbers")
        assert values([data async for data in run.outputs("odd")]) == [1, 3]
        assert values([data async for data in run.outputs("even")]) == [0, 2]


@pytest.mark.parametrize("executors", [("native", "native"), ("native", "multiprocess"), ("multiprocess",) * 2])
async def test_an_input_for_several_nodes_sends_to_all_or_to_none(executors):
    """A send that is cancelled while one of two edges is full has put its datum into neither."""
    gate = trio.Event()

    async def slow(data):
        await gate.wait()
        return data

    first, second = executors
    pipeline = penstock.Pipeline().add("fast", f"{NODES}:echo", executor=first)
    if second == "native":
        pipeline.add("slow", slow)
    else:
        pipeline.add("slow", f"{NODES}:echo", executor=second)
    pipeline.input("in", "fast", "slow", capacity=3).output("fast", "fast", capacity=100).output("slow", "slow")
    pipeline.outputs[-1].capacity = 1  # a worker is as slow as its reader
    async with pipeline.open() as run:
        for n in range(100):
            with trio.move_on_after(0.05) as scope:
                await run.send("in", n)
            if scope.cancelled_caught:
                break
        with pytest.raises(trio.WouldBlock):
            run.send_nowait("in", -1)
        assert 3 <= n < 10
        edges = ledgers(run.report().to_json())
        assert {edges["in -> fast.in"]["sent"], edges["in -> slow.in"]["sent"]} == {n}
        gate.set()
        await run.end("in")
        assert values([data async for data in run.outputs("slow")]) == list(range(n))
        assert values([data async for data in run.outputs("fast")]) == list(range(n))


async def test_an_input_that_nobody_ends_keeps_the_run_alive():
    """`wait` waits for external inputs as for sources; ending them again changes nothing."""
    async with through().open() as run:
        with trio.move_on_after(0.02) as scope:
            await run.wait()
        assert scope.cancelled_caught
        await run.end("in")
        await run.end("in")
        await run.wait()
        with pytest.raises(RunEnded, match="input 'in' was ended: nothing can be sent"):
            await run.send("in", 1)
    with pytest.raises(RunEnded):
        run.send_nowait("in", 1)
    await run.end("in")
    assert run.report().outcome == "completed"


async def test_an_end_stands_behind_those_who_wait():
    """What waits for room when the input is ended is sent before the end; what comes later is refused."""
    refused = []
    async with through(capacity=1).open() as run, trio.open_nursery() as nursery:

        async def send(n):
            try:
                await run.send("in", n)
            except RunEnded:
                refused.append(n)

        for n in range(6):
            nursery.start_soon(send, n)
            await settled()
        nursery.start_soon(run.end, "in")
        await settled()
        nursery.start_soon(send, 6)
        await settled()
        assert values([data async for data in run.outputs("out")]) == list(range(6))
    assert refused == [6]


@BOTH
async def test_a_stop_turns_away_who_waits_to_send(executor):
    """A stop from another task: a waiting `send` raises `RunEnded` and has sent nothing; the rest is worked off."""
    async with trio.open_nursery() as nursery:
        sent = 0

        async def feed(run):
            nonlocal sent
            with pytest.raises(RunEnded, match="input 'in': the run was stopped"):
                while True:
                    await run.send("in", sent)
                    sent += 1

        async with through(executor=executor, capacity=2).open() as run:
            nursery.start_soon(feed, run)
            with trio.move_on_after(0.1):
                await trio.sleep_forever()
            assert await run.stop()
            assert await run.stop(grace_s=0)
            assert values([data async for data in run.outputs("out")]) == list(range(sent))
    assert drained(run.report().to_json())["in -> node.in"]["sent"] == sent


# Failures


FAILING = {"native": f"{NODES}:fail", "multiprocess": f"{NODES}:fail", "died": f"{NODES}:die"}


@pytest.mark.parametrize("how", FAILING)
async def test_a_failure_is_told_to_whoever_sends_or_receives(how):
    """Inside the block and outside it, waiting or not: the run's own error; the block raises it once, and bare."""
    told = []

    async def tell(call):
        try:
            while True:
                await call()
        except NodeExecution as error:
            told.append(error)
            raise

    async def outside(call):
        try:
            await tell(call)
        except NodeExecution:
            pass

    async with trio.open_nursery() as around:
        with pytest.raises(NodeExecution, match="'node'") as caught:
            pipeline = through(FAILING[how], "native" if how == "native" else "multiprocess", capacity=1)
            pipeline.add("idle", f"{NODES}:echo").input("idle", "idle").output("idle", "idle")
            async with pipeline.open() as run:
                around.start_soon(outside, lambda: run.receive("idle"))
                await settled()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(tell, lambda: run.send("in", "x"))
                    nursery.start_soon(tell, lambda: run.receive("out"))
                    await tell(lambda: run.receive("idle"))
    assert len(told) == 4
    assert all(error is caught.value for error in told)
    for call in (lambda: run.send("in", "x"), lambda: run.receive("out")):
        with pytest.raises(NodeExecution):
            await call()


async def test_an_error_of_the_block_beats_the_failure_that_it_was_made_of():
    """What the block makes of a failure comes out of it; a group keeps what else was in it."""
    with pytest.raises(LookupError):
        async with through(f"{NODES}:fail").open() as run:
            await run.send("in", "x")
            try:
                await run.receive("out")
            except NodeExecution as error:
                raise LookupError("mine") from error
    with pytest.raises(ExceptionGroup) as caught:
        async with through(f"{NODES}:fail").open() as run, trio.open_nursery() as nursery:
            nursery.start_soon(run.receive, "out")
            await settled()
            await run.send("in", "x")
            try:
                await run.receive("out")
            except NodeExecution:
                raise LookupError("mine") from None
    assert {type(error) for error in caught.value.exceptions} == {LookupError, NodeExecution}


@pytest.mark.parametrize("how", ["abort", "error", "cancel"])
@BOTH
async def test_a_run_that_ends_before_its_time_says_so_outside(executor, how):
    """Who receives outside the block when the run is given up gets `RunEnded`, not an end of stream."""
    told = []

    async def read(run):
        try:
            await run.receive("out")
        except RunEnded as error:
            told.append(str(error))

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            try:
                async with through(executor=executor).open() as run:
                    nursery.start_soon(read, run)
                    await settled()
                    if how == "error":
                        raise LookupError
                    if how == "abort":
                        run.abort()
                    else:
                        scope.cancel()
                    await trio.sleep_forever()
            except LookupError:
                pass
    assert told == ["the run was aborted" if how == "abort" else "the run has ended"]
    with pytest.raises(RunEnded):
        await run.receive("out")
    run.abort()
    assert not await run.stop()


@BOTH
async def test_no_room_in_time_is_told_to_the_sender_alone(executor):
    """An edge with a timeout that stays full raises in `send`, has taken nothing, and the run goes on."""
    pipeline = penstock.Pipeline().add("node", f"{NODES}:echo", executor=executor).output("out", "node", capacity=1)
    async with pipeline.input("in", "node", capacity=1, timeout_s=0.05).open() as run:
        sent = 0
        with pytest.raises(penstock.ServiceError, match="in -> node.in") as caught:
            while True:
                await run.send("in", sent)
                sent += 1
        assert isinstance(caught.value.__cause__, BackpressureTimeout)
        await run.end("in")
        assert values([data async for data in run.outputs("out")]) == list(range(sent))
    assert run.report().outcome == "completed"


@BOTH
async def test_a_policy_of_an_output(executor):
    """An output that keeps the latest datum alone never holds its node up, and the ledger has what was dropped."""
    pipeline = penstock.Pipeline().add("node", f"{NODES}:echo", executor=executor)
    async with pipeline.input("in", "node").output("out", "node", policy="latest").open() as run:
        for n in range(200):
            await run.send("in", n)
        await run.end("in")
        await run.wait()
        got = values([data async for data in run.outputs("out")])
    edge = run.report().to_json()["edges"][1]
    assert got[-1] == 199
    assert (edge["sent"], edge["received"], edge["dropped"]) == (200, len(got), 200 - len(got))


async def test_a_pipeline_without_ends_of_its_own_is_as_before():
    """A source, an output and no input: the source runs, and its data are received."""
    pipeline = penstock.Pipeline().add("numbers", f"{NODES}:Numbers", {"count": 5}).output("out", "numbers")
    async with pipeline.open() as run:
        assert values([data async for data in run.outputs("out")]) == [0, 1, 2, 3, 4]
        await run.wait()
    assert run.report().outcome == "completed"


# Describing


GRAPH = f"""
    inputs:
      mic: a
      both: [a.in, b.in]
      careful: {{to: b, capacity: 3, max_bytes: 1000, timeout: 2}}
    outputs:
      text: b.out
      last: {{from: a, policy: latest}}
    nodes:
      a: {{type: "{NODES}:echo"}}
      b: {{type: "{NODES}:echo"}}
"""


def test_yaml_and_python_say_the_same(tmp_path):
    """A manifest's inputs and outputs, with bounds and lists, make the plan that Python makes."""
    from_yaml = penstock.load(manifest(tmp_path, GRAPH)).check()
    pipeline = penstock.Pipeline().add("a", f"{NODES}:echo").add("b", f"{NODES}:echo")
    pipeline.input("mic", "a").input("both", "a.in", "b.in").output("text", "b.out").output(
        "last", "a", policy="latest"
    )
    pipeline.input("careful", "b", capacity=3, max_bytes=1000, timeout_s=2)

    def described(plan):
        return {(e.name, e.decl.capacity, e.decl.max_bytes, e.decl.timeout_s, e.decl.policy) for e in plan.edges}

    assert described(from_yaml) == described(pipeline.check())
    assert len(from_yaml.edges) == 6


WRONG = f"""
    inputs:
      mic: nobody
      1st: a
      none: []
      bound: {{to: a, capcity: 3}}
      split: [hears, reads]
    outputs:
      text: a.uot
      twice: {{from: a, capacity: 0}}
      deep: [a]
    nodes:
      a: {{type: "{NODES}:echo"}}
      hears: {{type: "test_external:Listens"}}
      reads: {{type: "test_external:Reads"}}
"""


class Reads(Listens):
    inputs = {"in": "text"}


def test_every_problem_of_an_input_or_output_is_told_with_its_line(tmp_path):
    """Unknown nodes and ports, names that are none, keys, bounds, types that exclude each other: all at once."""
    path = manifest(tmp_path, WRONG)
    with pytest.raises(Validation) as caught:
        penstock.load(path).check()
    told = {problem.where.line: problem.text for problem in caught.value.problems}
    assert told == {
        3: "edge mic -> nobody: there is no node 'nobody': there is a, hears, reads",
        4: "edge 1st -> a: '1st' is no name: letters, digits, _ and -, beginning with a letter",
        5: "input 'none': say where its data go, as in `none: node.port`",
        6: "input 'bound' has no key 'capcity': did you mean 'capacity'?",
        7: "edge split -> reads: takes text, which hears does not take",
        9: "edge a.uot -> text: node 'a' has no output 'uot': did you mean 'out'?",
        10: "edge a -> twice: capacity is a whole number of at least 1, not 0",
        11: "output 'deep': say where its data come from, as in `deep: node.port`",
    }


def test_one_output_of_two_nodes_is_refused():
    """Two nodes can not be read by one name: the remedy is a node that joins them."""
    pipeline = penstock.Pipeline().add("a", f"{NODES}:echo").add("b", f"{NODES}:echo").input("in", "a", "b")
    with pytest.raises(Validation, match="there is an output 'out' already: join the two by a node"):
        pipeline.output("out", "a").output("out", "b").check()
    for misuse in (lambda: penstock.Pipeline().input("x"), lambda: penstock.Pipeline().output("x", None)):
        with pytest.raises(Validation, match="needs a name and where"):
            misuse()


def test_a_command_can_not_run_what_only_a_program_can_feed(tmp_path):
    """`penstock run` and `penstock.run` refuse it with the remedy; `validate` and `graph` do not."""
    path = manifest(tmp_path, GRAPH)
    done = command("run", path).check()
    assert done.code == 2
    assert f"{path}:3: input 'mic': only a program can send to it (`await run.send('mic', data)`" in done.err
    assert "output 'last': only a program can receive from it" in done.err
    assert "connect a source to a" in done.err
    with pytest.raises(Validation, match="input 'mic': only a program"):
        penstock.run(path)
    assert command("validate", path).check().code == 0
    drawn = command("graph", path).check().out
    assert 'i_mic(["mic"])' in drawn
    assert "n_b --> o_text" in drawn
    assert os.path.exists(path)


@pytest.mark.parametrize("how", ["fail", "abort"])
@pytest.mark.parametrize("call", ["wait", "drain", "stop", "end"])
async def test_who_waits_for_the_end_is_told_that_it_does_not_come(call, how):
    """A task outside the block that waits for the end of a run that fails, or is aborted, does not wait for ever."""
    told = []

    async def slow_failure(data):
        await gate.wait()
        raise ValueError("now")

    async def ask(run):
        try:
            calls = {"wait": run.wait, "drain": run.drain, "stop": run.stop, "end": lambda: run.end("in")}
            told.append(await calls[call]())
        except (RunEnded, NodeExecution) as error:
            told.append(type(error))

    gate = trio.Event()
    async with trio.open_nursery() as nursery:
        try:
            async with through(slow_failure, capacity=1).open(RunOptions(grace_s=1e9)) as run:
                await run.send("in", 1)
                if call == "end":
                    nursery.start_soon(ask_quietly, run)
                nursery.start_soon(ask, run)
                await settled()
                if how == "fail":
                    gate.set()
                    await trio.sleep_forever()
                run.abort()
                await trio.sleep_forever()
        except NodeExecution:
            pass
    assert told == [{"stop": False, "end": None}.get(call, NodeExecution if how == "fail" else RunEnded)]


async def ask_quietly(run):
    try:
        await run.send("in", 2)
    except (RunEnded, NodeExecution):
        pass
