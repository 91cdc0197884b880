"""Data that a node fails on: `on_error`, dead letters, and the timeout of a call."""

import logging

import pytest
import trio
from support import NODES, manifest
from test_control import balanced
from test_external import settled
from test_pipeline_streams import values

import penstock
from penstock.engine.options import RunOptions
from penstock.executors.contract import NodeExecution, RuntimeData, Validation


def odd(data):
    """Fails on even numbers, of some behind its first output."""
    value = data.as_json()
    if value % 4 == 2:
        yield RuntimeData.json(f"before {value}")
    if value % 2 == 0:
        raise ValueError(f"{value} is even")
    yield data


def faulty(node=odd, **options):
    return penstock.Pipeline().add("node", node, **options).input("in", "node").output("out", "node")


@pytest.mark.parametrize("thread", [False, True])
@pytest.mark.parametrize("on_error", ["skip", "dead_letter"])
async def test_a_datum_that_fails_goes_no_further(on_error, thread, caplog):
    """The others go on; what it had given before stays; it is counted, and a warning says so once."""
    async with faulty(on_error=on_error, thread=thread).open() as run:
        for n in range(6):
            await run.send("in", n)
        await run.end("in")
        assert values([data async for data in run.outputs("out")]) == [1, "before 2", 3, 5]
    node = run.report().nodes[0]
    letters = [0, 2, 4] if on_error == "dead_letter" else []
    assert (run.report().outcome, node.processed, node.errors, node.dead_letters) == ("completed", 6, 3, len(letters))
    assert [(letter.node_id, letter.port, letter.data.as_json()) for letter in run.dead_letters] == [
        ("node", "in", n) for n in letters
    ]
    assert all(letter.error.message == f"{letter.data.as_json()} is even" for letter in run.dead_letters)
    assert balanced(run)["in -> node.in"].received == 6
    warned = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 1
    assert f"node 'node': ValueError: 0 is even (test_faults.py:23 in odd); on_error: {on_error}" in warned[0]


async def test_dead_letters_go_where_the_options_say():
    """Each goes to `on_dead_letter`; without one the newest hundred are kept, and the count is exact."""
    got = []
    async with faulty(on_error="dead_letter").open(RunOptions(on_dead_letter=got.append)) as run:
        await run.send("in", 0)
        await run.drain()
    assert [letter.data.as_json() for letter in got] == [0]
    assert not run.dead_letters
    async with faulty(on_error="dead_letter").open() as run:
        for n in range(0, 240, 4):
            await run.send("in", n)
            await run.send("in", n)
        await run.drain()
    assert len(run.dead_letters) == 100
    assert run.report().nodes[0].dead_letters == 120
    assert run.dead_letters[-1].data.as_json() == 236


async def test_what_is_not_the_nodes_own_error_still_fails_the_run():
    """`skip` is for what a node raises on a datum: its initialize and flush, and its edges, are not skipped."""

    class FailsLater:
        def process(self, data):
            return data

        def flush(self):
            raise ValueError("in flush")

    with pytest.raises(NodeExecution, match="in flush"):
        async with faulty(FailsLater, on_error="skip").open() as run:
            await run.drain()
    pipeline = penstock.Pipeline().add("node", f"{NODES}:echo", on_error="skip").input("in", "node")
    with pytest.raises(NodeExecution, match="edge node.out -> out: no room"):
        async with pipeline.output("out", "node", policy="error", capacity=1).open() as run:
            for n in range(5):
                await run.send("in", n)
            await trio.sleep_forever()


@pytest.mark.parametrize("on_error", ["fail", "skip", "dead_letter"])
async def test_a_call_that_takes_too_long(on_error):
    """An async call past its timeout is cancelled where it waits, and is an error like any other."""
    closed = []

    async def slow(data):
        try:
            yield data
            await trio.sleep(data.as_json())
            yield data
        finally:
            closed.append(data.as_json())

    with trio.CancelScope(), pytest.raises(NodeExecution, match=r"node 'node': took longer than its timeout of 0.05 s"):
        async with faulty(slow, timeout_s=0.05, on_error=on_error).open() as run:
            for seconds in (0, 3600, 0):
                await run.send("in", seconds)
            if on_error == "fail":
                await trio.sleep_forever()
            await run.end("in")
            assert values([data async for data in run.outputs("out")]) == [0, 0, 3600, 0, 0]
            assert closed == [0, 3600, 0]
        assert run.report().nodes[0].errors == 1
        if on_error == "dead_letter":
            raise run.dead_letters[0].error
        raise NodeExecution("node", "took longer than its timeout of 0.05 s")


async def test_a_wait_for_room_is_not_the_nodes_own_time():
    """A node that is held up by its reader for longer than its timeout has not failed."""

    async def twice(data):
        yield data
        yield data

    pipeline = penstock.Pipeline().add("node", twice, timeout_s=0.1).input("in", "node")
    async with pipeline.output("out", "node", capacity=1).open() as run:
        for n in range(3):
            await run.send("in", n)
        await trio.sleep(0.3)
        await run.end("in")
        assert values([data async for data in run.outputs("out")]) == [0, 0, 1, 1, 2, 2]


async def test_a_thread_that_takes_too_long_fails_the_run():
    """It is named; that the thread goes on is nobody's concern."""

    def stuck(data):
        trio.from_thread.run(trio.sleep, 3600)

    with pytest.raises(NodeExecution, match="node 'node': took longer"):
        async with faulty(stuck, thread=True, timeout_s=0.05).open() as run:
            await run.send("in", 1)
            await trio.sleep_forever()
    await settled()


GRAPH = f"""
    nodes:
      good: {{type: "{NODES}:later", on_error: dead_letter, timeout: 2.5}}
      name: {{type: "{NODES}:later", on_error: skipp}}
      sync: {{type: "{NODES}:echo", timeout: 1}}
      zero: {{type: "{NODES}:later", timeout: 0}}
      kind: {{type: "{NODES}:later", timeout: soon}}
      thread: {{type: "{NODES}:echo", thread: true, timeout: 1, on_error: skip}}
      source: {{type: "{NODES}:Numbers", timeout: 1, on_error: skip}}
    edges: [source -> good -> name -> sync -> zero -> kind -> thread]
"""


SYNC = "timeout can not interrupt synchronous code in the engine's process: make it async, or say `thread: true`"
THREAD = "timeout can not end a thread, which would be at work beside the next datum: leave on_error or thread out"


def test_what_can_not_be_is_told_by_the_check(tmp_path):
    """Names, values, and what can not be interrupted, each with its line and its remedy; Python says the same."""
    with pytest.raises(Validation) as caught:
        penstock.load(manifest(tmp_path, GRAPH)).check()
    told = sorted((problem.where.line, problem.text) for problem in caught.value.problems)
    assert told == [
        (4, "node 'name': there is no on_error 'skipp': did you mean 'skip'?"),
        (5, f"node 'sync': {SYNC}"),
        (6, "node 'zero': timeout is a number of seconds above 0, not 0"),
        (7, "`timeout` is a number of seconds, not 'soon'"),
        (8, f"node 'thread': {THREAD}"),
        (9, "node 'source': on_error is for nodes that are given data: a source that fails has no more"),
        (9, "node 'source': timeout is for one call of process(), which a source has not"),
    ]
    decl = penstock.load(manifest(tmp_path, GRAPH)).nodes[0]
    assert (decl.on_error, decl.timeout_s) == ("dead_letter", 2.5)
    with pytest.raises(Validation, match="there is no on_error 'ignore'"):
        faulty(on_error="ignore").check()
