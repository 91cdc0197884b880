"""The wasm bridge against the contract; its inner rooms have tests of their own."""

import numpy as np
import pytest
import trio
from guests.wat import HERE, guest_file, private_cache  # noqa: F401

from penstock.executors import WasmExecutorBridge
from penstock.executors.contract import (
    BridgeClosed,
    ExecutorBridge,
    ExecutorNotInitialized,
    ExecutorType,
    NodeExecution,
    RuntimeData,
    ServiceError,
    Validation,
)
from penstock.executors.wasm import WasmLimits

TEXT = RuntimeData.text("x")
WORDS = str(HERE / "words.wasm")
TRAP = "(param i32 i32) (result i32) unreachable"
SPIN = "(param i32 i32) (result i32) (loop br 0) i32.const 1"


@pytest.fixture
def echo(tmp_path):
    """A guest that gives back what it gets."""
    return guest_file(tmp_path, "echo")


async def test_it_is_a_bridge_and_says_which(echo):
    """R-EB-01, R-EB-02: the protocol, and a type that is constant for life."""
    async with WasmExecutorBridge() as bridge:
        assert isinstance(bridge, ExecutorBridge)
        assert bridge.executor_type is ExecutorType.WASM
        await bridge.initialize_node("n", str(echo), {})
    assert bridge.executor_type is ExecutorType.WASM


async def test_data_of_every_type_make_the_round_trip(echo):
    """R-EB-03, R-EB-06: equal in everything, by a path or by a short name."""
    labels = {"session_id": "s", "timestamp_ns": 7, "meta": {"k": [1, None]}}
    async with WasmExecutorBridge(nodes={"echo": echo}) as bridge:
        for node_type in (str(echo), "echo"):
            await bridge.initialize_node(node_type, node_type, {})
            for datum in (
                RuntimeData.text("ä\0", **labels),
                RuntimeData.json({"b": 1, "a": None}, **labels),
                RuntimeData.audio(np.arange(-9, 9, dtype="i2"), sample_rate=8000, channels=2, **labels),
                RuntimeData.tensor(np.random.default_rng(1).random((3, 4)), **labels),
                RuntimeData.tensor(np.arange(1 << 18), **labels),
            ):
                assert await bridge.execute_node(node_type, node_type, datum, {}) == datum


async def test_the_answer_is_the_guests_own():
    """A guest that says words, told to shout."""
    async with WasmExecutorBridge() as bridge:
        await bridge.initialize_node("n", WORDS, {"shout": True})
        assert (await bridge.execute_node("n", WORDS, RuntimeData.text("word"), {})).as_text() == "WORD"


async def test_a_node_needs_to_be_initialized(echo):
    """R-EB-12, R-EB-15: before and after its life, with the exact text; cleanup is fine at any time."""
    async with WasmExecutorBridge() as bridge:
        for _ in range(2):
            with pytest.raises(ExecutorNotInitialized, match="^Executor not initialized: WASM$"):
                await bridge.execute_node("n", str(echo), TEXT, {})
            await bridge.initialize_node("n", str(echo), {})
            assert await bridge.execute_node("n", str(echo), TEXT, {}) == TEXT
            for _ in range(2):
                await bridge.cleanup_node("n")
        await bridge.cleanup_node("never was")


@pytest.mark.parametrize("node_type", ["Nope", "nodes.small:echo", ""])
async def test_what_is_no_file_is_an_unknown_type(node_type):
    """Only .wasm files run here."""
    async with WasmExecutorBridge() as bridge:
        with pytest.raises(Validation) as caught:
            await bridge.initialize_node("n", node_type, {})
        assert str(caught.value) == f"Unknown node type: {node_type}"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "none.wasm", "none.wasm"),
        (lambda folder: (folder / "text.wasm").write_text("no module") and folder / "text.wasm", "text.wasm"),
        (lambda folder: guest_file(folder, "half", leave_out=("ps_process",)), "ps_process"),
    ],
    ids=["missing", "no module", "no node"],
)
async def test_a_file_that_is_no_node_is_refused_by_name(make, said, tmp_path):
    """R-EB-10: with the file and the reason; the id stays free."""
    path = str(make(tmp_path))
    async with WasmExecutorBridge() as bridge:
        for call in (bridge.initialize_node, bridge.open_node):
            with pytest.raises(ServiceError, match=said):
                await call("n", path, {})
        await bridge.initialize_node("n", str(guest_file(tmp_path)), {})


async def test_wrong_parameters_are_refused():
    """Those that the guest does not describe, and those of another type."""
    async with WasmExecutorBridge() as bridge:
        for params in ({"shout": 5}, {"whisper": True}):
            with pytest.raises(ServiceError, match=next(iter(params))):
                await bridge.initialize_node("n", WORDS, params)


@pytest.mark.parametrize("body", [TRAP, SPIN], ids=["trap", "endless loop"])
async def test_a_guest_that_fails_fails_its_call_alone(body, tmp_path):
    """R-ER-06, R-MT-02: the host survives, the other node does not notice, and the next call is tried again."""
    bad, good = str(guest_file(tmp_path, "bad", ps_process=body)), str(guest_file(tmp_path, "good"))
    async with WasmExecutorBridge(limits=WasmLimits(deadline_ms=20)) as bridge:
        await bridge.initialize_node("bad", bad, {})
        await bridge.initialize_node("good", good, {})
        for _ in range(2):
            with pytest.raises(NodeExecution) as caught:
                await bridge.execute_node("bad", bad, TEXT, {})
            assert caught.value.node_id == "bad"
            assert await bridge.execute_node("good", good, TEXT, {}) == TEXT
        assert bridge.get_stats().total_executions == 2


async def test_execute_gives_exactly_one_datum():
    """Three words are three outputs: a stream's business."""
    async with WasmExecutorBridge() as bridge:
        await bridge.initialize_node("n", WORDS, {})
        with pytest.raises(NodeExecution, match="with 3: use open_node"):
            await bridge.execute_node("n", WORDS, RuntimeData.text("one two three"), {})


async def test_a_stream_gives_them_all_and_the_flush():
    """0..n outputs, and what the guest held back: how many words it saw."""
    async with WasmExecutorBridge() as bridge, await bridge.open_node("n", WORDS, {}) as stream:
        await stream.send(RuntimeData.text("one two"))
        await stream.send(RuntimeData.text(" "))
        await stream.send_eof()
        came = [datum async for _, datum in stream]
    assert [datum.as_text() for datum in came[:2]] == ["one", "two"]
    assert came[2].as_json() == 2


async def test_instances_are_their_own():
    """R-EB-09, R-EB-13: two nodes of one file share no state."""
    async with WasmExecutorBridge() as bridge:
        streams = [await bridge.open_node(name, WORDS, {}) for name in "ab"]
        for stream, text in zip(streams, ("one two three", "one"), strict=True):
            await stream.send(RuntimeData.text(text))
            await stream.send_eof()
        totals = [[datum async for _, datum in stream][-1].as_json() for stream in streams]
    assert totals == [3, 1]


async def test_calls_at_once_each_get_their_own_answer(echo):
    """R-EB-07, R-EB-08."""
    async with WasmExecutorBridge(nodes={"echo": echo}) as bridge:
        for number in range(4):
            await bridge.initialize_node(str(number), "echo", {})

        async def ask(number):
            datum = RuntimeData.text(f"nonce {number}")
            assert await bridge.execute_node(str(number % 4), "echo", datum, {}) == datum

        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(ask, number)
        assert bridge.get_stats().total_executions == 40


async def test_a_second_initialize_and_another_type_are_refused(echo):
    """R-EB-11."""
    async with WasmExecutorBridge() as bridge:
        await bridge.initialize_node("n", str(echo), {})
        with pytest.raises(Validation, match="'n' is initialized already"):
            await bridge.initialize_node("n", str(echo), {})
        with pytest.raises(Validation, match="'n' is a .*echo.wasm, not a .*words.wasm"):
            await bridge.execute_node("n", WORDS, TEXT, {})


async def test_a_closed_bridge_says_so(echo):
    """Every call; closing again is fine."""
    bridge = WasmExecutorBridge()
    await bridge.initialize_node("n", str(echo), {})
    await bridge.aclose()
    await bridge.aclose()
    for call in (
        bridge.initialize_node("n", str(echo), {}),
        bridge.execute_node("n", str(echo), TEXT, {}),
        bridge.open_node("n", str(echo), {}),
    ):
        with pytest.raises(BridgeClosed):
            await call


async def test_a_datum_that_the_frame_can_not_say_fails_its_call_alone(echo):
    """R-ER-05: an error of the contract, and the next call works."""
    async with WasmExecutorBridge() as bridge:
        await bridge.initialize_node("n", str(echo), {})
        for datum in (RuntimeData.tensor(np.zeros(3, bool)), 42, None):
            with pytest.raises(ServiceError):
                await bridge.execute_node("n", str(echo), datum, {})
        assert await bridge.execute_node("n", str(echo), TEXT, {}) == TEXT
