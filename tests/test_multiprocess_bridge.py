"""The multiprocess bridge against the contract: areas EB, MX, MT, ER and LK."""

import gc
import os
import resource
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
import trio
import trio.testing
from nodes import contract, small

from penstock.executors import MultiprocessExecutorBridge
from penstock.executors.contract import (
    BridgeClosed,
    ExecutorBridge,
    ExecutorNotInitialized,
    ExecutorType,
    Internal,
    NodeExecution,
    RuntimeData,
    ServiceError,
    Validation,
)
from penstock.executors.multiprocess import WorkerOptions

TEXT = RuntimeData.text("x")
SMALL, MORE = "nodes.small", "nodes.contract"
QUIET = WorkerOptions(on_output=lambda *_: None)
HASTY = WorkerOptions(grace_s=0.1, on_output=lambda *_: None)


def open_bridge(session_id="", options=QUIET, **nodes):
    return MultiprocessExecutorBridge(session_id, nodes=nodes, options=options)


async def gather(count, function):
    """What each of several calls at once returns or raises."""
    results = [None] * count

    async def one(number):
        try:
            results[number] = await function(number)
        except ServiceError as error:
            results[number] = error

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)
    return results


async def test_a_bridge_that_is_not_used_starts_nothing():
    """R-MX-01: constant type, and neither a process nor a segment before the first node."""
    bridge = MultiprocessExecutorBridge(session_id="s")
    assert isinstance(bridge, ExecutorBridge)
    assert bridge.executor_type is ExecutorType.MULTIPROCESS
    assert psutil.Process().children() == [] or all(
        "resource_tracker" in " ".join(child.cmdline()) for child in psutil.Process().children()
    )
    await bridge.aclose()
    assert bridge.executor_type is ExecutorType.MULTIPROCESS


async def test_each_node_has_a_process_of_its_own_and_no_longer_than_its_life():
    """R-EB-04, R-MX-02, R-MX-03, R-MX-10: another pid, a pid each, and reaped when cleaned up."""
    async with open_bridge() as bridge:
        pids = []
        for node_id in ("a", "b"):
            await bridge.initialize_node(node_id, f"{MORE}:identity", {})
            said = (await bridge.execute_node(node_id, f"{MORE}:identity", TEXT, {})).as_json()
            assert said["ppid"] == os.getpid()
            assert said["pgrp"] == said["pid"]
            assert bridge.worker_pids(node_id) == [said["pid"]]
            pids.append(said["pid"])
        assert len({os.getpid(), *pids}) == 3
        await bridge.cleanup_node("a")
        assert [psutil.pid_exists(pid) for pid in pids] == [False, True]
    assert not psutil.pid_exists(pids[1])


async def test_a_node_is_told_about_itself():
    """R-EB-05, R-MX-04, R-MX-15: id, type, parameters of both calls, session, and no metadata."""
    call = {"call": {"ä": [1, {"deep": None}]}, "both": 2}
    async with open_bridge("s1") as bridge:
        await bridge.initialize_node("n/1", f"{SMALL}:Context", {"init": "ü", "both": 1})
        for params in (call, {}):
            said = (await bridge.execute_node("n/1", f"{SMALL}:Context", TEXT, params)).as_json()
            assert said == {
                "node_id": "n/1",
                "node_type": f"{SMALL}:Context",
                "params": {"init": "ü", "both": 1, **params},
                "session_id": "s1",
                "metadata": {},
            }


async def test_every_kind_of_datum_makes_the_round_trip():
    """R-EB-03, R-EB-06: bit for bit, with session, time and meta; inline, in a slab, empty."""
    labels = {"session_id": "s", "timestamp_ns": 7, "meta": {"k": [1, None]}}
    rng = np.random.default_rng(1)
    async with open_bridge() as bridge:
        await bridge.initialize_node("n", f"{SMALL}:echo", {})
        for datum in (
            RuntimeData.text("ä\0", **labels),
            RuntimeData.text("", **labels),
            RuntimeData.json({"b": 2**53 + 1, "a": None}, **labels),
            RuntimeData.audio(rng.integers(-9, 9, (480, 2), "i2"), sample_rate=48000, **labels),
            RuntimeData.tensor(rng.random((3, 0, 2)), **labels),
            RuntimeData.tensor(np.frombuffer(rng.bytes(1 << 20), ">f4"), **labels),
            RuntimeData.tensor(rng.random((2, 2, 2, 2, 2, 9000)), **labels),
        ):
            assert await bridge.execute_node("n", f"{SMALL}:echo", datum, {}) == datum


async def test_the_size_of_an_answer_does_not_depend_on_that_of_its_input():
    """R-MX-18: 1 byte in, 8 MiB out, nothing out."""
    async with open_bridge() as bridge:
        await bridge.initialize_node("n", f"{MORE}:bloat", {})
        for size in (1, 8 << 20, 0, 5):
            answer = await bridge.execute_node("n", f"{MORE}:bloat", RuntimeData.text(str(size)), {})
            assert np.array_equal(answer.as_tensor(), np.arange(size, dtype=np.uint32).astype(np.uint8))


async def test_an_answer_that_is_kept_is_not_overwritten():
    """Views of more answers than there are slabs each keep their own contents, also after the bridge is closed."""
    async with open_bridge() as bridge:
        await bridge.initialize_node("n", f"{MORE}:affine", {})
        kept = []
        for number in range(40):
            datum = RuntimeData.tensor(np.full(20_000, number, np.int32))
            kept.append((await bridge.execute_node("n", f"{MORE}:affine", datum, {})).as_tensor())
    assert [int(view[0]) for view in kept] == [2 * number + 1 for number in range(40)]
    assert all((view == view[0]).all() for view in kept)


async def test_calls_at_once_each_get_their_own_answer():
    """R-EB-07, R-EB-08, R-MT-01: more tasks on two nodes than a ring has slots."""
    async with open_bridge(echo=small.echo) as bridge:
        for node in ("a", "b"):
            await bridge.initialize_node(node, "echo", {})

        async def ask(number):
            datum = RuntimeData.text(f"nonce {number}", timestamp_ns=number)
            return await bridge.execute_node("ab"[number % 2], "echo", datum, {}) == datum

        assert all(await gather(200, ask))
        stats = bridge.get_stats()
        assert stats.total_executions == 200
        assert {name: node.executions for name, node in stats.per_node.items()} == {"a": 100, "b": 100}


async def test_state_lives_from_initialize_to_cleanup():
    """R-EB-09, R-EB-11, R-EB-12, R-EB-13, R-EB-15, R-MX-12."""
    kind = f"{SMALL}:Counter"
    async with open_bridge() as bridge:
        with pytest.raises(ExecutorNotInitialized, match="^Executor not initialized: Multiprocess$"):
            await bridge.execute_node("a", kind, TEXT, {})
        for node in ("a", "b"):
            await bridge.initialize_node(node, kind, {})

        async def count(node_id):
            return (await bridge.execute_node(node_id, kind, TEXT, {})).as_json()

        assert [await count("a"), await count("a"), await count("b")] == [1, 2, 1]
        pids = bridge.worker_pids("a")
        with pytest.raises(Validation, match="'a' is initialized already"):
            await bridge.initialize_node("a", kind, {})
        assert bridge.worker_pids("a") == pids
        with pytest.raises(Validation, match="'a' is a nodes.small:Counter, not a nodes.small:echo"):
            await bridge.execute_node("a", f"{SMALL}:echo", TEXT, {})
        for _ in range(2):
            await bridge.cleanup_node("a")
        await bridge.cleanup_node("never was")
        with pytest.raises(ExecutorNotInitialized):
            await count("a")
        await bridge.initialize_node("a", kind, {})
        assert [await count("a"), await count("b")] == [1, 2]


async def test_two_initializations_at_once_start_one_worker():
    """R-EB-11 for tasks that run at the same time."""
    async with open_bridge() as bridge:
        results = await gather(2, lambda _: bridge.initialize_node("n", f"{SMALL}:echo", {}))
        assert sorted(type(result).__name__ for result in results) == ["NoneType", "Validation"]
        assert len(bridge.worker_pids("n")) == 1


@pytest.mark.parametrize(
    ("node_type", "params", "said"),
    [
        (f"{SMALL}:FailInit", {}, "no model here"),
        ("Nope", {}, "Unknown node type: Nope"),
        ("nodes.nowhere:X", {}, "Unknown node type: nodes.nowhere:X (there is no module 'nodes.nowhere')"),
        (f"{SMALL}:Hold", {}, "Hold.__init__() missing 1 required positional argument: 'path'"),
    ],
)
async def test_a_failed_initialize_leaves_nothing(node_type, params, said):
    """R-EB-10, R-MX-05, D-50: the exact prefix and the cause, and the id is free."""
    async with open_bridge() as bridge:
        with pytest.raises(NodeExecution) as caught:
            await bridge.initialize_node("n", node_type, params)
        assert caught.value.message == f"Initialization failed: {said}"
        assert caught.value.node_id == "n"
        assert bridge.worker_pids("n") == []
        with pytest.raises(ExecutorNotInitialized):
            await bridge.execute_node("n", node_type, TEXT, {})


async def test_a_node_that_raises_fails_its_call_and_lives_on():
    """R-MX-09, R-MT-02, R-ER-04, R-ER-06: id, text, class, place, traceback; the state of the worker is as it was."""
    async with open_bridge() as bridge:
        await bridge.initialize_node("n", f"{SMALL}:fail", {})
        pids = bridge.worker_pids("n")
        for nonce in ("1", "ü"):
            with pytest.raises(NodeExecution) as caught:
                await bridge.execute_node("n", f"{SMALL}:fail", RuntimeData.text(nonce), {})
            error = caught.value
            assert (error.node_id, error.message, error.kind) == ("n", f"boom-{nonce}", "ValueError")
            assert error.location.startswith("small.py:")
            assert "raise ValueError" in error.details
        assert bridge.worker_pids("n") == pids
        assert bridge.get_stats().total_executions == 0


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (f"{SMALL}:none", "answered one datum with 0: use open_node"),
        (f"{SMALL}:twice", "answered one datum with 2: use open_node"),
        (f"{SMALL}:several_later", "answered one datum with 3: use open_node"),
        (f"{SMALL}:nonsense", "not int: wrap it with RuntimeData"),
        (f"{MORE}:an_array", "not ndarray: wrap it with RuntimeData"),
        (f"{MORE}:nested", ""),
        (f"{MORE}:fail_late", "after one"),
        pytest.param(f"{MORE}:WrongPort", "there is no output port 'nowhere'; there is out"),
        (f"{MORE}:NoProcess", "has no process()"),
    ],
)
async def test_what_is_no_answer_is_an_error_and_the_worker_lives_on(node, said):
    """None, several, and what is no datum: the error says what to do, and the next call is heard."""
    async with open_bridge() as bridge:
        await bridge.initialize_node("n", node, {})
        for _ in range(2):
            with pytest.raises(NodeExecution) as caught:
                await bridge.execute_node("n", node, TEXT, {})
            assert said in caught.value.message
        assert bridge.worker_pids("n") != []


async def test_async_nodes_answer():
    """A coroutine works in a worker, too."""
    async with open_bridge() as bridge:
        await bridge.initialize_node("n", f"{SMALL}:later", {})
        for number in range(3):
            datum = RuntimeData.text(str(number))
            assert await bridge.execute_node("n", f"{SMALL}:later", datum, {}) == datum


@pytest.mark.parametrize(
    ("node", "what"),
    [("crash", "exited with code 13"), ("die", "was killed by SIGKILL"), ("segfault", "was killed by SIGSEGV")],
)
async def test_a_crash_fails_the_call_and_nobody_else(node, what):
    """R-MX-07, R-MX-13: the text says how it died and which pid; the neighbour keeps its state; the id can be used."""
    async with open_bridge() as bridge:
        await bridge.initialize_node("bad", f"{SMALL}:{node}", {})
        await bridge.initialize_node("good", f"{SMALL}:Counter", {})
        await bridge.execute_node("good", f"{SMALL}:Counter", TEXT, {})
        (pid,) = bridge.worker_pids("bad")
        with pytest.raises(NodeExecution) as caught:
            await bridge.execute_node("bad", f"{SMALL}:{node}", TEXT, {})
        assert caught.value.message.startswith("IPC receive failed: ")
        assert f"(pid {pid}) {what}" in caught.value.message
        with pytest.raises(ExecutorNotInitialized):
            await bridge.execute_node("bad", f"{SMALL}:{node}", TEXT, {})
        assert (await bridge.execute_node("good", f"{SMALL}:Counter", TEXT, {})).as_json() == 2
        await bridge.cleanup_node("bad")
        await bridge.initialize_node("bad", f"{SMALL}:echo", {})
        assert await bridge.execute_node("bad", f"{SMALL}:echo", TEXT, {}) == TEXT


async def test_every_call_in_flight_fails_when_its_worker_is_killed():
    """R-MX-06, R-MX-07: those that wait for an answer, and those that wait for room."""
    async with open_bridge() as bridge:
        await bridge.initialize_node("n", f"{MORE}:Gate", {})
        (pid,) = bridge.worker_pids("n")

        async def ask(number):
            if number == 99:
                await trio.testing.wait_all_tasks_blocked()
                os.kill(pid, signal.SIGKILL)
            return await bridge.execute_node("n", f"{MORE}:Gate", RuntimeData.text("/nowhere"), {})

        results = await gather(100, ask)
        assert {type(result) for result in results} <= {NodeExecution, ExecutorNotInitialized}
        texts = {result.message.split(":")[0] for result in results if isinstance(result, NodeExecution)}
        assert texts == {"IPC send failed", "IPC receive failed"}


async def test_an_idle_worker_that_is_killed_fails_the_next_call():
    """R-MX-06: before its death was noticed, or after; then it can be initialized anew."""
    async with open_bridge() as bridge:
        await bridge.initialize_node("n", f"{SMALL}:echo", {})
        os.kill(bridge.worker_pids("n")[0], signal.SIGKILL)
        with pytest.raises((NodeExecution, ExecutorNotInitialized)) as caught:
            await bridge.execute_node("n", f"{SMALL}:echo", TEXT, {})
        if isinstance(caught.value, NodeExecution):
            assert caught.value.message.startswith(("IPC send failed: ", "IPC receive failed: "))
            with pytest.raises(ExecutorNotInitialized):
                await bridge.execute_node("n", f"{SMALL}:echo", TEXT, {})
        await bridge.initialize_node("n", f"{SMALL}:echo", {})
        assert await bridge.execute_node("n", f"{SMALL}:echo", TEXT, {}) == TEXT


async def test_a_cancelled_call_leaves_the_bridge_usable(tmp_path):
    """R-EB-14: its late answer is given to nobody."""
    first, second = tmp_path / "first", tmp_path / "second"
    second.touch()
    async with open_bridge() as bridge:
        await bridge.initialize_node("n", f"{MORE}:Gate", {})
        for _ in range(5):
            with trio.move_on_after(0.01) as scope:
                await bridge.execute_node("n", f"{MORE}:Gate", RuntimeData.text(str(first)), {})
            assert scope.cancelled_caught
        first.touch()
        for number in range(5):
            datum = RuntimeData.text(str(second), timestamp_ns=number)
            assert await bridge.execute_node("n", f"{MORE}:Gate", datum, {}) == datum
        assert bridge.get_stats().total_executions == 5


async def test_a_cancelled_initialize_leaves_nothing():
    """The worker that was starting is gone, and the id is free."""
    async with open_bridge() as bridge:
        with trio.move_on_after(0.05) as scope:
            await bridge.initialize_node("n", f"{MORE}:SlowInit", {})
        assert scope.cancelled_caught
        assert bridge.worker_pids("n") == []
        await bridge.initialize_node("n", f"{SMALL}:echo", {})
        assert await bridge.execute_node("n", f"{SMALL}:echo", TEXT, {}) == TEXT


async def test_cleanup_ends_calls_in_flight():
    """A call whose node is cleaned up fails, and does not hang."""
    async with open_bridge(options=HASTY) as bridge:
        await bridge.initialize_node("n", f"{MORE}:Gate", {})

        async def both(number):
            if number:
                await trio.testing.wait_all_tasks_blocked()
                return await bridge.cleanup_node("n")
            return await bridge.execute_node("n", f"{MORE}:Gate", RuntimeData.text("/nowhere"), {})

        call, cleanup = await gather(2, both)
        assert isinstance(call, NodeExecution)
        assert call.message == "IPC receive failed: Bridge closed"
        assert cleanup is None


async def test_a_cleanup_that_fails_says_so_and_the_worker_is_gone():
    """R-MX-11: "Cleanup failed: ..." with the node's own words; closing the bridge does not repeat it."""
    async with open_bridge() as bridge:
        await bridge.initialize_node("n", f"{SMALL}:FailCleanup", {})
        (pid,) = bridge.worker_pids("n")
        with pytest.raises(Internal, match="^Cleanup failed: the lid is stuck$"):
            await bridge.cleanup_node("n")
        assert not psutil.pid_exists(pid)
        await bridge.cleanup_node("n")
        await bridge.initialize_node("n", f"{SMALL}:FailCleanup", {})


@pytest.mark.parametrize("how", ["busy", "stopped"])
async def test_a_stuck_worker_is_cleaned_up(how):
    """R-MX-14, R-LK-01: one that never answers, and one that SIGSTOP holds."""
    async with open_bridge(options=HASTY) as bridge:
        await bridge.initialize_node("n", f"{MORE}:Gate", {})
        (pid,) = bridge.worker_pids("n")
        if how == "stopped":
            os.kill(pid, signal.SIGSTOP)
        with trio.move_on_after(0.05):
            await bridge.execute_node("n", f"{MORE}:Gate", RuntimeData.text("/nowhere"), {})
        await bridge.cleanup_node("n")
        assert not psutil.pid_exists(pid)


async def test_one_name_on_two_bridges_is_two_nodes():
    """R-MX-17, R-CC-02, R-CC-03, R-MT-11: nor do they share counters, and closing one leaves the other."""
    kind = f"{SMALL}:Counter"
    async with open_bridge("s") as one:
        async with open_bridge("s") as other:
            for bridge, start in ((one, 10), (other, 20)):
                await bridge.initialize_node("n", kind, {"start": start})
            assert (await one.execute_node("n", kind, TEXT, {})).as_json() == 11
            assert (await other.execute_node("n", kind, TEXT, {})).as_json() == 21
            assert other.get_stats().total_executions == 1
        assert (await one.execute_node("n", kind, TEXT, {})).as_json() == 12


async def test_a_closed_bridge_says_so():
    """Every call; closing again is fine, also at the same time."""
    bridge = open_bridge()
    await bridge.initialize_node("n", f"{SMALL}:echo", {})
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(bridge.aclose)
    await bridge.aclose()
    for call in (
        bridge.initialize_node("n", f"{SMALL}:echo", {}),
        bridge.execute_node("n", f"{SMALL}:echo", TEXT, {}),
        bridge.open_node("n", f"{SMALL}:echo", {}),
    ):
        with pytest.raises(BridgeClosed, match=r"^Bridge closed$"):
            await call
    await bridge.cleanup_node("n")


async def test_leaving_under_cancellation_leaves_nothing():
    """R-LK-01 to R-LK-04: the leak fixture looks."""
    with trio.CancelScope() as scope:
        async with open_bridge() as bridge:
            for node in ("a", "b"):
                await bridge.initialize_node(node, f"{SMALL}:echo", {})
            scope.cancel()


async def test_no_memory_for_an_input_is_a_conversion_failure():
    """R-MX-08, D-02: /dev/shm has no room for the payload; afterwards the bridge works."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = RuntimeData.tensor(np.zeros(4 << 20, np.uint8))
    async with open_bridge() as bridge:
        await bridge.initialize_node("n", f"{SMALL}:echo", {})
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        try:
            with pytest.raises(ServiceError) as caught:
                await bridge.execute_node("n", f"{SMALL}:echo", large, {})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert await bridge.execute_node("n", f"{SMALL}:echo", large, {}) == large
    assert "of shared memory" in str(caught.value)
    assert isinstance(caught.value, Internal)
    assert str(caught.value).startswith("Data conversion failed: ")


async def test_no_memory_for_an_answer_fails_the_call_and_not_the_worker():
    """Whatever becomes of a call, its caller gets an answer and the worker lives on."""
    async with open_bridge() as bridge:
        await bridge.initialize_node("n", f"{MORE}:breathless", {})
        for said in ("limit", "free"):
            await bridge.execute_node("n", f"{MORE}:breathless", RuntimeData.text(said), {})
            if said == "limit":
                with pytest.raises(ServiceError, match="of shared memory"):
                    await bridge.execute_node("n", f"{MORE}:breathless", RuntimeData.text("large"), {})
        answer = await bridge.execute_node("n", f"{MORE}:breathless", RuntimeData.text("large"), {})
        assert answer.nbytes == 4 << 20


@pytest.mark.parametrize(
    ("node_type", "params"),
    [
        pytest.param(f"{SMALL}:Context", {"path": Path("x")}, id="a path among the params"),
        pytest.param(f"{SMALL}:Context", {"set": {1}}, id="a set among the params"),
        pytest.param(f"{SMALL}:Context", 5, id="params of a number"),
        pytest.param(None, {}, id="no type"),
    ],
)
async def test_no_foreign_exception_escapes_from_initialize(node_type, params):
    """R-ER-05: what can not cross to the worker is refused here, by name."""
    async with open_bridge() as bridge:
        with pytest.raises(ServiceError):
            await bridge.initialize_node("n", node_type, params)


@pytest.mark.parametrize(
    ("data", "params"),
    [
        pytest.param(42, {}, id="no datum"),
        pytest.param(None, {}, id="None"),
        pytest.param(TEXT, {"path": Path("x")}, id="a path among the params"),
        pytest.param(TEXT, [1], id="params of a list"),
        pytest.param(RuntimeData.text("x", meta={"a": {1}}), {}, id="a set in the meta"),
        pytest.param(RuntimeData.text("x", timestamp_ns=2**63), {}, id="a time beyond 64 bits"),
    ],
)
async def test_no_foreign_exception_escapes_from_execute(data, params):
    """R-ER-05, R-ER-06: an error of the contract, and the next call works."""
    async with open_bridge() as bridge:
        await bridge.initialize_node("n", f"{SMALL}:echo", {})
        with pytest.raises(ServiceError):
            await bridge.execute_node("n", f"{SMALL}:echo", data, params)
        assert await bridge.execute_node("n", f"{SMALL}:echo", TEXT, {}) == TEXT


def test_a_type_that_a_worker_can_not_find_is_refused_at_once():
    """A lambda has no name: told by the constructor, before any process."""
    with pytest.raises(Validation, match="define it at the top of a module"):
        MultiprocessExecutorBridge(nodes={"mine": lambda data: data})


async def test_five_bridges_leave_nothing():
    """R-LK-05: descriptors and tasks, counted after each; the leak fixture counts the rest."""
    counts = []
    for _ in range(5):
        async with open_bridge(affine=contract.affine) as bridge:
            await bridge.initialize_node("n", "affine", {})
            await bridge.execute_node("n", "affine", RuntimeData.tensor(np.zeros(100_000)), {})
        gc.collect()  # what a bridge has mapped hangs in a cycle
        counts.append((len(os.listdir("/proc/self/fd")), trio.lowlevel.current_statistics().tasks_living))
    assert len(set(counts)) == 1


async def test_a_node_cleaned_up_while_it_starts_leaves_no_worker():
    """`cleanup_node` ends the start, whose caller is told; the id is free."""
    async with open_bridge() as bridge, trio.open_nursery() as nursery:
        outcome = []

        async def start():
            try:
                await bridge.initialize_node("n", f"{SMALL}:echo", {})
            except ServiceError as error:
                outcome.append(error)

        nursery.start_soon(start)
        await trio.testing.wait_all_tasks_blocked()
        await bridge.cleanup_node("n")
        while not outcome:
            await trio.lowlevel.checkpoint()
        await bridge.initialize_node("n", f"{SMALL}:echo", {})
        assert await bridge.execute_node("n", f"{SMALL}:echo", TEXT, {}) == TEXT


async def test_a_dead_worker_gives_back_what_it_held():
    """A bridge that starts a crashing node again and again does not eat the shared memory."""
    large = RuntimeData.tensor(np.zeros(4 << 20, np.uint8))
    async with open_bridge() as bridge:
        sizes = []
        for _ in range(3):
            await bridge.initialize_node("n", f"{SMALL}:die", {})
            with pytest.raises(NodeExecution):
                await bridge.execute_node("n", f"{SMALL}:die", large, {})
            await bridge.cleanup_node("n")
            sizes.append(bridge._wiring._pool.allocated_bytes)
    assert sizes[0] == sizes[-1]
