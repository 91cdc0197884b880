"""The native bridge against the contract: areas EB, NX, MT and the errors."""

import os
import threading

import numpy as np
import pytest
import trio
import trio.testing
from nodes import contract

from penstock.executors import NativeExecutorBridge
from penstock.executors.contract import (
    BridgeClosed,
    ExecutorBridge,
    ExecutorType,
    NodeExecution,
    RuntimeData,
    ServiceError,
    Validation,
)

TEXT = RuntimeData.text("x")
SMALL, MORE = "nodes.small", "nodes.contract"


async def test_it_is_a_bridge_and_says_which():
    """R-EB-01, R-EB-02, R-NX-06: the protocol, and a type that is constant for life."""
    async with NativeExecutorBridge() as bridge:
        assert isinstance(bridge, ExecutorBridge)
        assert bridge.executor_type is ExecutorType.NATIVE
        await bridge.execute_node("n", f"{SMALL}:echo", TEXT, {})
    assert bridge.executor_type is ExecutorType.NATIVE


async def test_arguments_are_given_in_order_or_by_name():
    """R-EB-01."""
    async with NativeExecutorBridge() as bridge:
        await bridge.initialize_node(node_id="n", node_type=f"{SMALL}:double", params={"factor": 3.0})
        answer = await bridge.execute_node(
            node_id="n", node_type=f"{SMALL}:double", input_data=RuntimeData.tensor([2.0]), params={}
        )
        assert answer.as_tensor().tolist() == [6]
        await bridge.cleanup_node(node_id="n")


async def test_the_answer_is_the_nodes_own_and_of_this_process():
    """R-EB-03, R-EB-04, R-NX-03, R-NX-04: transformed, here, without initialize."""
    async with NativeExecutorBridge(nodes={"affine": contract.affine}) as bridge:
        values = np.arange(1, 100, dtype="f4")
        answer = await bridge.execute_node("a", "affine", RuntimeData.tensor(values), {})
        assert np.array_equal(answer.as_tensor(), values * 2 + 1)
        said = await bridge.execute_node("p", f"{SMALL}:pid", TEXT, {})
        assert said.as_json() == {"pid": os.getpid()}


async def test_a_node_is_told_about_itself():
    """R-EB-05, R-MX-15's twin: id, type, parameters of both calls, session."""
    call = {"call": {"ä": [1, {"deep": None}]}, "both": 2}
    async with NativeExecutorBridge("s1") as bridge:
        await bridge.initialize_node("n", f"{SMALL}:Context", {"init": 1, "both": 1})
        for params in (call, {}):
            said = (await bridge.execute_node("n", f"{SMALL}:Context", TEXT, params)).as_json()
            assert said == {
                "node_id": "n",
                "node_type": f"{SMALL}:Context",
                "params": {"init": 1, "both": 1, **params},
                "session_id": "s1",
                "metadata": {},
            }


async def test_state_lives_from_initialize_to_cleanup():
    """R-EB-09, R-EB-12, R-EB-13, R-EB-15, R-NX-05: fresh afterwards, and the neighbour is not disturbed."""
    async with NativeExecutorBridge() as bridge:

        async def count(node_id):
            return (await bridge.execute_node(node_id, f"{SMALL}:Counter", TEXT, {})).as_json()

        assert [await count("a"), await count("a"), await count("b")] == [1, 2, 1]
        for _ in range(2):
            await bridge.cleanup_node("a")
        await bridge.cleanup_node("never was")
        assert [await count("a"), await count("b")] == [1, 2]


async def test_a_second_initialize_of_a_live_node_is_refused():
    """R-EB-11: and the first one lives on."""
    async with NativeExecutorBridge() as bridge:
        await bridge.initialize_node("n", f"{SMALL}:Counter", {"start": 5})
        with pytest.raises(Validation, match="'n' is initialized already: clean it up first"):
            await bridge.initialize_node("n", f"{SMALL}:Counter", {})
        assert (await bridge.execute_node("n", f"{SMALL}:Counter", TEXT, {})).as_json() == 6


@pytest.fixture
def life(monkeypatch):
    """What was done with the instances of `AsyncInit` during this test."""
    log = []
    monkeypatch.setattr(contract.AsyncInit, "log", log)
    return log


async def gather(count, function):
    """What each of several calls at once returns or raises."""
    results = []

    async def one():
        try:
            results.append(await function())
        except ServiceError as error:
            results.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return results


async def test_two_initializations_at_once_make_one_node(life):
    """R-EB-11 for tasks that run at the same time: none is made and then forgotten."""
    async with NativeExecutorBridge() as bridge:
        await gather(2, lambda: bridge.initialize_node("n", f"{MORE}:AsyncInit", {}))
    assert life.count("initialize") == life.count("cleanup")


async def test_first_calls_at_once_share_one_node(life):
    """R-EB-08, R-NX-04: a node that nobody initialized counts every call of many tasks."""
    async with NativeExecutorBridge() as bridge:
        answers = await gather(3, lambda: bridge.execute_node("n", f"{MORE}:AsyncInit", TEXT, {}))
    assert sorted(answer.as_json() for answer in answers if isinstance(answer, RuntimeData)) == [1, 2, 3]
    assert life == ["initialize", "cleanup"]


async def test_a_failed_initialize_leaves_nothing():
    """R-EB-10: it is an error with the node's own text, and the id is free."""
    async with NativeExecutorBridge() as bridge:
        with pytest.raises(NodeExecution, match="RuntimeError: no model here") as caught:
            await bridge.initialize_node("n", f"{SMALL}:FailInit", {})
        assert caught.value.node_id == "n"
        await bridge.initialize_node("n", f"{SMALL}:Counter", {})
        assert (await bridge.execute_node("n", f"{SMALL}:Counter", TEXT, {})).as_json() == 1


async def test_a_node_is_what_it_was_initialized_as():
    """Another type under the same id is a mistake that is told."""
    async with NativeExecutorBridge() as bridge:
        await bridge.initialize_node("n", f"{SMALL}:Counter", {})
        with pytest.raises(Validation, match="'n' is a nodes.small:Counter, not a nodes.small:echo"):
            await bridge.execute_node("n", f"{SMALL}:echo", TEXT, {})


@pytest.mark.parametrize("node_type", ["Nope", "ünknown"])
async def test_an_unknown_type_is_refused_before_anything_runs(node_type):
    """R-NX-01, R-NX-08: the exact text, for both calls, and the counters do not move."""
    async with NativeExecutorBridge() as bridge:
        for call in (
            bridge.initialize_node("n", node_type, {}),
            bridge.execute_node("n", node_type, TEXT, {}),
        ):
            with pytest.raises(Validation) as caught:
                await call
            assert str(caught.value) == f"Unknown node type: {node_type}"
        assert bridge.get_stats().total_executions == 0


async def test_a_nodes_exception_is_its_own():
    """R-NX-02, R-NX-07, R-ER-04: id, text, class and place of the node's error; the next call works."""
    async with NativeExecutorBridge() as bridge:
        with pytest.raises(NodeExecution) as caught:
            await bridge.execute_node("n", f"{SMALL}:fail", RuntimeData.text("42"), {})
        error = caught.value
        assert (error.node_id, error.message, error.kind) == ("n", "boom-42", "ValueError")
        assert error.location.startswith("small.py:")
        assert error.location.endswith(" in fail")
        assert "raise ValueError" in error.details
        assert isinstance(error.__cause__, ValueError)
        assert await bridge.execute_node("m", f"{SMALL}:echo", TEXT, {}) == TEXT


@pytest.mark.parametrize(("node", "count"), [("none", 0), ("twice", 2), ("several_later", 3)])
async def test_execute_gives_exactly_one_datum(node, count):
    """None or several is an error that names the remedy."""
    async with NativeExecutorBridge() as bridge:
        with pytest.raises(NodeExecution, match=f"with {count}: use open_node"):
            await bridge.execute_node("n", f"{SMALL}:{node}", TEXT, {})


@pytest.mark.parametrize("node", ["an_array", "nested"])
async def test_what_is_no_datum_never_reaches_the_caller(node):
    """A node that gives an array, or a list in a list, is told what to give."""
    async with NativeExecutorBridge() as bridge:
        with pytest.raises(NodeExecution, match="wrap it with RuntimeData"):
            await bridge.execute_node("n", f"{MORE}:{node}", TEXT, {})


async def test_async_nodes_run_in_the_loop():
    """A coroutine is awaited; another node works meanwhile."""
    async with NativeExecutorBridge() as bridge, trio.open_nursery() as nursery:
        assert await bridge.execute_node("a", f"{SMALL}:later", TEXT, {}) == TEXT
        nursery.start_soon(bridge.execute_node, "w", f"{MORE}:sleeper", RuntimeData.text("wait"), {})
        await trio.testing.wait_all_tasks_blocked()
        assert await bridge.execute_node("b", f"{SMALL}:echo", TEXT, {}) == TEXT
        nursery.cancel_scope.cancel()


async def test_what_was_emitted_before_an_error_is_not_given_to_the_next_call():
    """A call that failed leaves nothing behind for another."""
    async with NativeExecutorBridge() as bridge:
        with pytest.raises(NodeExecution, match="not yet"):
            await bridge.execute_node("n", f"{MORE}:EmitThenFail", TEXT, {})
        answer = await bridge.execute_node("n", f"{MORE}:EmitThenFail", TEXT, {})
        assert answer.as_json() == 2


async def test_a_cancelled_call_leaves_the_bridge_usable():
    """R-EB-14: the next caller gets its own answer."""
    async with NativeExecutorBridge() as bridge:
        await bridge.initialize_node("n", f"{MORE}:sleeper", {})
        with trio.move_on_after(0) as scope:
            await bridge.execute_node("n", f"{MORE}:sleeper", RuntimeData.text("wait"), {})
        assert scope.cancelled_caught
        assert await bridge.execute_node("n", f"{MORE}:sleeper", TEXT, {}) == TEXT


async def test_calls_at_once_each_get_their_own_answer():
    """R-EB-07, R-EB-08: many tasks on eight nodes, each with a nonce."""
    async with NativeExecutorBridge() as bridge:

        async def ask(number):
            datum = RuntimeData.text(str(number))
            assert await bridge.execute_node(f"n{number % 8}", f"{SMALL}:later", datum, {}) == datum

        for node in range(8):
            await bridge.initialize_node(f"n{node}", f"{SMALL}:later", {})
        async with trio.open_nursery() as nursery:
            for number in range(64):
                nursery.start_soon(ask, number)
        assert bridge.get_stats().total_executions == 64


@pytest.mark.parametrize("node_id", ["a/b", "ä", "n" * 200, "a b", "../x", "pstk-0"])
async def test_any_node_id_is_opaque(node_id):
    """R-EB-16: beside its own prefix, too."""
    async with NativeExecutorBridge() as bridge:
        for _ in range(2):
            await bridge.execute_node(node_id, f"{SMALL}:Counter", TEXT, {})
        assert (await bridge.execute_node(node_id[:1] + "!", f"{SMALL}:Counter", TEXT, {})).as_json() == 1


async def test_an_input_is_not_changed():
    """R-EB-06: not by the node, and not by its sender afterwards."""
    values = np.arange(8)
    data = RuntimeData.tensor(values.copy(), session_id="s", timestamp_ns=3)
    async with NativeExecutorBridge(threads=True) as bridge:
        await bridge.execute_node("n", f"{MORE}:affine", data, {})
    assert np.array_equal(data.as_tensor(), values)
    assert (data.session_id, data.timestamp_ns) == ("s", 3)


async def test_threads_keep_the_loop_free():
    """With `threads=True` a synchronous node runs elsewhere, in this process."""
    seen = []

    def where(data):
        seen.append(threading.current_thread())
        return data

    async with NativeExecutorBridge(nodes={"where": where}, threads=True) as bridge:
        await bridge.execute_node("n", "where", TEXT, {})
    assert seen != [threading.current_thread()]


@pytest.mark.parametrize("threads", [False, True])
async def test_cleanup_is_called_once_also_after_an_error(tmp_path, threads):
    """The life of a node, with a call that fails."""
    log = tmp_path / "log"
    node_type, params = f"{MORE}:Life", {"path": str(log), "fail": "process"}
    async with NativeExecutorBridge(threads=threads) as bridge:
        await bridge.initialize_node("n", node_type, params)
        with pytest.raises(NodeExecution, match="as told"):
            await bridge.execute_node("n", node_type, TEXT, {})
    assert log.read_text().split() == ["made", "initialize", "process", "cleanup"]


async def test_only_what_succeeds_is_counted():
    """R-MT-01, R-MT-02, R-MT-09: by node, and over all."""
    async with NativeExecutorBridge() as bridge:
        for number in range(3):
            for _ in range(5):
                await bridge.execute_node(f"n{number}", f"{SMALL}:echo", TEXT, {})
        for node in ("fail", "none"):
            with pytest.raises(NodeExecution):
                await bridge.execute_node(node, f"{SMALL}:{node}", TEXT, {})
        stats = bridge.get_stats()
    assert stats.total_executions == 15
    assert {name: node.executions for name, node in stats.per_node.items()} == {"n0": 5, "n1": 5, "n2": 5}
    assert bridge.get_stats() == stats


async def test_a_closed_bridge_says_so():
    """Every call, and closing again is fine."""
    bridge = NativeExecutorBridge()
    await bridge.initialize_node("n", f"{SMALL}:echo", {})
    await bridge.aclose()
    await bridge.aclose()
    for call in (
        bridge.initialize_node("n", f"{SMALL}:echo", {}),
        bridge.execute_node("n", f"{SMALL}:echo", TEXT, {}),
        bridge.open_node("n", f"{SMALL}:echo", {}),
    ):
        with pytest.raises(BridgeClosed, match=r"^Bridge closed$"):
            await call


async def test_a_cleanup_that_fails_does_not_keep_the_others_from_theirs(tmp_path):
    """Closing cleans up every node and tells the first error."""
    log = tmp_path / "log"
    bridge = NativeExecutorBridge()
    await bridge.initialize_node("bad", f"{SMALL}:FailCleanup", {})
    await bridge.initialize_node("good", f"{MORE}:Life", {"path": str(log)})
    with pytest.raises(ServiceError, match="the lid is stuck"):
        await bridge.aclose()
    assert log.read_text().split()[-1] == "cleanup"


async def test_leaving_under_cancellation_cleans_every_node_up(tmp_path):
    """Structured: whatever ends the block, each node is cleaned up."""
    logs = [tmp_path / str(number) for number in range(3)]
    with trio.CancelScope() as scope:
        async with NativeExecutorBridge() as bridge:
            for log in logs:
                await bridge.initialize_node(log.name, f"{MORE}:Life", {"path": str(log)})
            scope.cancel()
    assert [log.read_text().split()[-1] for log in logs] == ["cleanup"] * 3


@pytest.mark.parametrize(
    ("node_type", "params"),
    [
        pytest.param(None, {}, id="no type"),
        pytest.param(f"{SMALL}:echo", 5, id="params of a number"),
        pytest.param(f"{SMALL}:echo", [1], id="params of a list"),
        pytest.param(f"{SMALL}:Hold", {}, id="a parameter is missing"),
    ],
)
async def test_no_foreign_exception_escapes_from_initialize(node_type, params):
    """R-ER-05: whatever is passed in, what comes out is an error of the contract."""
    async with NativeExecutorBridge() as bridge:
        with pytest.raises(ServiceError):
            await bridge.initialize_node("n", node_type, params)


@pytest.mark.parametrize(
    ("node_type", "data"),
    [
        pytest.param(None, TEXT, id="no type"),
        pytest.param(f"{SMALL}:echo", 42, id="no datum"),
        pytest.param(f"{SMALL}:echo", None, id="None"),
        pytest.param(f"{SMALL}:Hold", TEXT, id="a parameter is missing"),
        pytest.param(f"{MORE}:NoProcess", TEXT, id="no process"),
    ],
)
async def test_no_foreign_exception_escapes_from_execute(node_type, data):
    """R-ER-05, R-ER-06: an error of the contract, and the next call works."""
    async with NativeExecutorBridge() as bridge:
        with pytest.raises(ServiceError) as caught:
            await bridge.execute_node("n", node_type, data, {})
        assert "open_node" not in str(caught.value)
        assert await bridge.execute_node("other", f"{SMALL}:echo", TEXT, {}) == TEXT


async def test_thirty_bridges_leave_no_thread_and_no_task():
    """R-LK-05 in one process: the slope of tasks is zero."""
    before = trio.lowlevel.current_statistics().tasks_living
    for _ in range(30):
        async with NativeExecutorBridge() as bridge:
            await bridge.execute_node("n", f"{SMALL}:Counter", TEXT, {})
            await bridge.open_node("s", f"{SMALL}:Counter", {})
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_a_node_that_quits_python_does_not_quit_the_host():
    """`sys.exit` in a node is the node's failure, not the end of the program that runs it."""
    async with NativeExecutorBridge() as bridge:
        with pytest.raises(NodeExecution, match="enough"):
            await bridge.execute_node("n", f"{MORE}:quit_python", TEXT, {})
