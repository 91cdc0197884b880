"""`open_node` on every bridge: 0..n outputs, ports, flush, failure, closing in the middle, and backpressure."""

import os
import signal

import pytest
import trio
import trio.testing
from guests.wat import guest_file, private_cache  # noqa: F401

from penstock.executors import MultiprocessExecutorBridge, NativeExecutorBridge, WasmExecutorBridge
from penstock.executors.contract import (
    BridgeClosed,
    EndOfStream,
    NodeExecution,
    NodeStream,
    RuntimeData,
    ServiceError,
    Validation,
)
from penstock.executors.multiprocess import WorkerOptions

SMALL, MORE = "nodes.small", "nodes.contract"
TEXT = RuntimeData.text("x")
HASTY = WorkerOptions(grace_s=0.1, on_output=lambda *_: None)
BRIDGES = {
    "native": NativeExecutorBridge,
    "threads": lambda: NativeExecutorBridge(threads=True),
    "multiprocess": lambda: MultiprocessExecutorBridge(options=HASTY),
}


@pytest.fixture(params=BRIDGES)
def bridge(request):
    """A bridge of each kind that runs Python nodes; the test opens it."""
    made = BRIDGES[request.param]()
    made.kind = request.param
    return made


def numbers(*values):
    return [RuntimeData.json(value, timestamp_ns=0) for value in values]


async def through(stream, data, port="in"):
    """Everything a stream gives for some data, as (port, value)."""
    async with trio.open_nursery() as nursery:

        async def send():
            for datum in data:
                await stream.send(datum, port)
            await stream.send_eof()

        nursery.start_soon(send)
        return [(out, datum.as_json()) async for out, datum in stream]


async def test_a_stream_keeps_the_protocol(bridge):
    """It is a `NodeStream`; ending and closing twice are fine."""
    async with bridge:
        stream = await bridge.open_node("n", f"{SMALL}:echo", {})
        assert isinstance(stream, NodeStream)
        async with stream:
            await stream.send(TEXT)
            for _ in range(2):
                await stream.send_eof()
            assert await stream.receive() == ("out", TEXT)
            for _ in range(2):
                with pytest.raises(EndOfStream):
                    await stream.receive()
        await stream.aclose()


async def test_any_number_of_outputs_in_order_and_what_flush_gives(bridge):
    """Two are held back and given together; the rest comes with the flush, on two ports."""
    async with bridge, await bridge.open_node("n", f"{MORE}:Batch", {}) as stream:
        came = await through(stream, numbers(*range(7)))
    assert [value for port, value in came if port == "out"] == list(range(7))
    assert [value for port, value in came if port == "count"] == [7]


@pytest.mark.parametrize(
    ("node", "outputs"), [("none", []), ("twice", [1, 1]), ("several_later", [1, 1, 1]), ("echo", [1])]
)
async def test_nodes_of_every_kind_stream(bridge, node, outputs):
    """A function that gives nothing, a generator, an async generator."""
    async with bridge, await bridge.open_node("n", f"{SMALL}:{node}", {}) as stream:
        assert await through(stream, numbers(1)) == [("out", value) for value in outputs]


async def test_outputs_say_their_port(bridge):
    """Even numbers to one, odd ones to the other."""
    async with bridge, await bridge.open_node("n", f"{SMALL}:Split", {}) as stream:
        assert await through(stream, numbers(1, 2, 3, 4)) == [("odd", 1), ("even", 2), ("odd", 3), ("even", 4)]


async def test_inputs_say_their_port(bridge):
    """A node with two is told by which one a datum came."""
    async with bridge, await bridge.open_node("n", f"{SMALL}:Merge", {}) as stream:
        for port, value in (("left", 1), ("right", 2)):
            await stream.send(numbers(value)[0], port)
            assert (await stream.receive())[1].as_json() == [port, value]


async def test_an_input_port_that_is_not_there_is_refused(bridge):
    """By name, with those there are; the stream works on."""
    async with bridge, await bridge.open_node("n", f"{SMALL}:Merge", {}) as stream:
        with pytest.raises(Validation, match="no input port 'middle'; there is left, right"):
            await stream.send(TEXT, "middle")
        await stream.send(numbers(1)[0], "left")
        assert (await stream.receive())[1].as_json() == ["left", 1]


async def test_an_output_port_that_is_not_there_is_the_nodes_mistake(bridge):
    """By name, with those there are."""
    async with bridge, await bridge.open_node("n", f"{MORE}:WrongPort", {}) as stream:
        await stream.send(TEXT)
        with pytest.raises(NodeExecution, match="no output port 'nowhere'; there is out"):
            await stream.receive()


async def test_nothing_is_sent_after_the_end(bridge):
    """`BridgeClosed`, as the contract says."""
    async with bridge, await bridge.open_node("n", f"{SMALL}:echo", {}) as stream:
        await stream.send_eof()
        with pytest.raises(BridgeClosed):
            await stream.send(TEXT)


async def test_a_closed_stream_says_so(bridge):
    """Neither side goes on."""
    async with bridge:
        stream = await bridge.open_node("n", f"{SMALL}:echo", {})
        await stream.aclose()
        with pytest.raises(BridgeClosed):
            await stream.send(TEXT)
        with pytest.raises((BridgeClosed, EndOfStream)):
            await stream.receive()


async def test_a_node_that_fails_fails_its_stream(bridge):
    """What it gave before comes first; then each side gets the node's own error."""
    async with bridge, await bridge.open_node("n", f"{MORE}:fail_late", {}) as stream:
        await stream.send(TEXT)
        assert (await stream.receive())[1] == TEXT
        for _ in range(2):
            with pytest.raises(NodeExecution, match="after one") as caught:
                await stream.receive()
            assert (caught.value.node_id, caught.value.kind) == ("n", "ValueError")
        with pytest.raises(NodeExecution, match="after one"):
            await stream.send(TEXT)


async def test_a_node_that_can_not_start_is_told_at_open(bridge):
    """And leaves nothing to close."""
    async with bridge:
        with pytest.raises(NodeExecution, match="no model here"):
            await bridge.open_node("n", f"{SMALL}:FailInit", {})
        with pytest.raises(ServiceError, match="Unknown node type: Nope"):
            await bridge.open_node("n", "Nope", {})


@pytest.mark.parametrize("how", ["flushed", "closed", "failed"])
async def test_cleanup_is_called_once_however_it_ends(bridge, how, tmp_path):
    """After the flush, in the middle, and after an error."""
    log = tmp_path / "log"
    params = {"path": str(log), "fail": "process" if how == "failed" else ""}
    async with bridge, await bridge.open_node("n", f"{MORE}:Life", params) as stream:
        await stream.send(TEXT)
        if how == "failed":
            with pytest.raises(NodeExecution, match="as told"):
                await stream.receive()
        else:
            await stream.receive()
        if how == "flushed":
            await stream.send_eof()
            with pytest.raises(EndOfStream):
                await stream.receive()
    done = log.read_text().split()
    if how != "closed":  # a worker that is closed may find the end of its input before it finds the signal
        assert ("flush" in done) == (how == "flushed")
    assert [what for what in done if what != "flush"] == ["made", "initialize", "process", "cleanup"]


async def test_closing_ends_who_waits_on_it(bridge):
    """A task that receives, and one that waits for room, are ended by another's close."""
    ended = []
    async with bridge:
        stream = await bridge.open_node("n", f"{SMALL}:echo", {})

        async def receive():
            with pytest.raises((BridgeClosed, EndOfStream)):
                await stream.receive()
            ended.append("receive")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            await stream.aclose()
    assert ended == ["receive"]


@pytest.mark.parametrize("bridge", ["native", "multiprocess"], indirect=True)
async def test_a_stuck_node_is_closed(bridge):
    """Whatever it is doing: a task that sleeps for ever, a worker that never looks up."""
    node = f"{MORE}:sleeper" if bridge.kind == "native" else f"{MORE}:Gate"
    async with bridge:
        stream = await bridge.open_node("n", node, {})
        await stream.send(RuntimeData.text("wait"))
        await trio.testing.wait_all_tasks_blocked(0.01)
        await stream.aclose()


async def test_closing_the_bridge_closes_its_streams(bridge):
    """They need not be closed one by one."""
    stream = await bridge.open_node("n", f"{SMALL}:echo", {})
    await bridge.aclose()
    with pytest.raises(BridgeClosed):
        await stream.send(TEXT)
    with pytest.raises(BridgeClosed):
        await bridge.open_node("m", f"{SMALL}:echo", {})


async def test_a_slow_reader_holds_up_the_sender(bridge):
    """Nobody reads: after a bounded number of data the sender waits; then nothing was lost, and the order is kept."""
    bound, count, sent = 64 + 64 + 4, 400, 0
    async with bridge, await bridge.open_node("n", f"{SMALL}:echo", {}) as stream:

        async def send():
            nonlocal sent
            for datum in numbers(*range(count)):
                await stream.send(datum)
                sent += 1
            await stream.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked(0.05)
            for number in range(count):
                assert sent - number <= bound
                assert (await stream.receive())[1].as_json() == number
            with pytest.raises(EndOfStream):
                await stream.receive()


async def test_a_cancelled_receive_takes_nothing(bridge):
    """Nor does a cancelled send give anything."""
    async with bridge, await bridge.open_node("n", f"{SMALL}:echo", {}) as stream:
        for _ in range(3):
            with trio.move_on_after(0.002):
                await stream.receive()
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.send(RuntimeData.text("never"))
        assert await through(stream, numbers(*range(5))) == [("out", number) for number in range(5)]


async def test_streams_and_calls_of_one_name_are_different_nodes(bridge):
    """A stream is a node of its own; its counter and that of the calls go apart."""
    kind = f"{SMALL}:Counter"
    async with bridge:
        await bridge.initialize_node("n", kind, {"start": 10})
        async with await bridge.open_node("n", kind, {}) as one, await bridge.open_node("n", kind, {}) as other:
            for stream in (one, other):
                await stream.send(TEXT)
                assert (await stream.receive())[1].as_json() == 1
            assert (await bridge.execute_node("n", kind, TEXT, {})).as_json() == 11


async def test_leaving_under_cancellation_leaves_nothing(bridge):
    """The leak fixture looks."""
    with trio.CancelScope() as scope:
        async with bridge, await bridge.open_node("n", f"{SMALL}:echo", {}) as stream:
            await stream.send(TEXT)
            scope.cancel()


# Workers alone


async def test_a_killed_worker_fails_both_sides_of_its_stream():
    """Who waits for an output, and who sends, are told by which signal and which pid."""
    async with BRIDGES["multiprocess"]() as bridge:
        stream = await bridge.open_node("n", f"{MORE}:identity", {})
        await stream.send(TEXT)
        pid = (await stream.receive())[1].as_json()["pid"]

        async def receive():
            with pytest.raises(NodeExecution, match=rf"\(pid {pid}\) was killed by SIGKILL"):
                await stream.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(NodeExecution, match="SIGKILL"):
            for _ in range(200):
                await stream.send(TEXT)


async def test_a_source_has_no_input_and_streams_to_its_end():
    """It starts by itself; a datum for it is refused."""
    async with (
        BRIDGES["multiprocess"]() as bridge,
        await bridge.open_node("n", f"{SMALL}:Numbers", {"count": 5}) as stream,
    ):
        with pytest.raises(Validation, match="no input port 'in'; there is none"):
            await stream.send(TEXT)
        assert [datum.as_json() async for _, datum in stream] == list(range(5))


async def test_a_source_that_never_ends_is_closed():
    """Also while it waits for room."""
    async with (
        BRIDGES["multiprocess"]() as bridge,
        await bridge.open_node("n", f"{SMALL}:Numbers", {"count": -1}) as stream,
    ):
        for number in range(3):
            assert (await stream.receive())[1].as_json() == number


# Wasm


async def test_a_guest_streams(tmp_path):
    """A .wasm file behind the same interface."""
    async with WasmExecutorBridge() as bridge, await bridge.open_node("n", str(guest_file(tmp_path)), {}) as stream:
        assert await through(stream, numbers(1, 2)) == [("out", 1), ("out", 2)]
