"""R-EB: what every executor bridge does."""

from __future__ import annotations

import copy
import inspect
import os
from typing import Any

import numpy as np
import trio

from penstock.conformance import evidence
from penstock.conformance.checking import check
from penstock.conformance.expect import Failure, NotApplicable, described, equal, expect, raised, same
from penstock.conformance.handles import BridgeHandle
from penstock.conformance.lab import Lab, Node
from penstock.conformance.nodes import Affine
from penstock.conformance.pending import Pending, cancelled_at_each_step
from penstock.executors.contract import ExecutorNotInitialized, ExecutorType, Json, RuntimeData, ServiceError

IDS = ("a", "a/b", "a%2Fb", "a_b", "A", "a ", "ä b", "a\u0308 b", "a" * 200, "a" * 199 + "b")


@check("R-EB-01")
async def check_methods_are_async_and_take_arguments_by_position(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        await _awaited(lab, bridge, "initialize_node", "n", "affine", {})
        datum = next(lab.some_data())
        await _awaited(lab, bridge, "execute_node", "n", "affine", datum, {})
        await _awaited(lab, bridge, "cleanup_node", "n")
        expect(not callable(bridge.raw.executor_type), "executor_type is a property", "it is a method")


@check("R-EB-01")
async def check_arguments_by_keyword(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        datum = next(lab.some_data())
        about = {"node_id": "n", "node_type": "affine"}
        await _awaited(lab, bridge, "initialize_node", **about, params={})
        answer = await _awaited(lab, bridge, "execute_node", **about, input_data=datum, params={})
        expect(isinstance(answer, RuntimeData), "the node's answer to a call by keyword", described(answer))
        await _awaited(lab, bridge, "cleanup_node", node_id="n")


async def _awaited(lab: Lab, bridge: BridgeHandle, name: str, *args: Any, **kwargs: Any) -> Any:
    """Call a method and see that it is one that is awaited."""

    def call() -> Any:
        try:
            result = bridge.method(name)(*args, **kwargs)
        except TypeError as error:
            raise Failure(
                f"{name} takes the contract's arguments, in its order and by its names", str(error)
            ) from error
        if lab.claims.runtime != "sync" and not inspect.isawaitable(result):
            raise Failure(f"{name} is an async method", f"it returned {described(result)} without being awaited")
        return result

    return await bridge.call(name, call)


@check("R-EB-02")
async def check_executor_type_is_constant(lab: Lab) -> None:
    bridge = await lab.make_bridge()
    first = bridge.executor_type
    try:
        await bridge.initialize("n", "affine")
        equal(bridge.executor_type, first, "executor_type after initialize")
        await bridge.execute("n", "affine", next(lab.some_data()))
        equal(bridge.executor_type, first, "executor_type after execute")
    finally:
        await bridge.aclose()
    equal(bridge.executor_type, first, "executor_type after close")


@check("R-EB-03")
async def check_the_answer_is_the_nodes_own(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        node = await lab.node(bridge, "affine")
        for datum in lab.some_data():
            for _ in range(2):
                same(await node(datum), Affine().process(datum), f"affine of {datum.data_type}")


@check("R-EB-03")
async def check_data_of_every_kind_come_back(lab: Lab) -> None:
    lab.need_nodes("echo")
    async with lab.bridge() as bridge:
        node = await lab.node(bridge, "echo")
        for what, datum in lab.data.of_each_kind(lab.data_types()):
            if datum.nbytes <= (lab.claims.max_payload or datum.nbytes):
                await _comes_back(lab, node, datum, what)


async def _comes_back(lab: Lab, node: Node, datum: RuntimeData, what: str) -> None:
    """As it was; an array that is not of float32 may be refused, but not come back as something else."""
    try:
        answer = await node(datum)
    except ServiceError as error:
        if datum.dtype in {None, np.dtype("<f4")}:
            raise
        lab.around.note(f"{what} is refused: {error}")
        return
    same(answer, datum, f"the echo of {what}")


@check("R-EB-04")
async def check_the_process_is_the_right_one(lab: Lab) -> None:
    if lab.kind is ExecutorType.WASM:
        raise NotApplicable("a sandbox has no process id")
    async with lab.bridge() as bridge:
        pid = (await (await lab.node(bridge, "pid")).ask())["pid"]
        here = os.getpid()
        if lab.kind is ExecutorType.NATIVE:
            equal(pid, here, "pid of a node of the native bridge")
        else:
            expect(pid != here, "a node of the multiprocess bridge runs in another process", f"pid {pid} is this one")


@check("R-EB-05")
async def check_parameters_of_the_call_reach_the_node(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        own: dict[str, Json] = {"base": 1, "over": "initialize", "nested": {"own": [0]}}
        node = await lab.node(bridge, "params", own)
        calls: tuple[dict[str, Json], ...] = (
            {"over": "call", "nested": {"ä": [1, None, True, 2.5, {"x": "漢"}]}},
            {"over": ["another", "call"]},
            {},
        )
        for params in calls:
            said = await node.ask(params=params)
            equal(said.get("params"), {**own, **params}, "parameters that the node sees in this call")


@check("R-EB-05")
async def check_concurrent_calls_of_one_node_see_their_own_parameters(lab: Lab) -> None:
    """Those that take longest come first: the parameters of a later call must not reach them meanwhile."""
    async with lab.bridge() as bridge:
        node = await lab.node(bridge, "params", {"base": 1, "call": "initialize"})

        async def caller(ms: int) -> None:
            for number in range(3):
                own: dict[str, Json] = {"call": f"{ms}-{number}", f"only {ms}": number} if ms != 4 else {}
                said = await node.ask({"ms": ms}, own)
                seen = {"base": 1, "call": "initialize", **own}
                equal(said.get("params"), seen, "parameters that the node sees in this one of its concurrent calls")

        async with trio.open_nursery() as nursery:
            for ms in (14, 10, 6, 4, 2, 0):
                nursery.start_soon(caller, ms)


@check("R-EB-06")
async def check_the_input_is_left_alone(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        node = await lab.node(bridge, "affine")
        for datum in lab.some_data():
            writable = bytearray(datum.payload)
            datum.payload, datum.meta = memoryview(writable), {"mine": [1]}
            before, params = _copy(datum), {"p": [1]}
            expected = Affine().process(_copy(datum))
            answer = await node(datum, params)
            same(datum, before, f"the caller's {datum.data_type} after the call", timestamps=True)
            equal(params, {"p": [1]}, "the caller's params after the call")
            writable[:] = bytes(len(writable))
            same(answer, expected, "the answer, after the caller used its own buffer again")


def _copy(datum: RuntimeData) -> RuntimeData:
    return RuntimeData(
        datum.data_type, bytes(datum.payload), datum.session_id, datum.timestamp_ns, datum.dtype, datum.shape,
        datum.sample_rate, datum.channels, copy.deepcopy(dict(datum.meta)),
    )  # fmt: skip


@check("R-EB-07")
async def check_calls_of_different_nodes_do_not_mix(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        nodes: list[Node] = []

        async def start(number: int) -> None:
            nodes.append(await lab.node(bridge, "slow", node_id=f"s{number}"))

        async def caller(number: int) -> None:
            for _ in range(4):
                await nodes[number % len(nodes)].ask({"ms": lab.random.choice([0, 0, 1, 2])})

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(start, number)
        async with trio.open_nursery() as nursery:
            for number in range(16):
                nursery.start_soon(caller, number)


@check("R-EB-08")
async def check_calls_of_one_node_do_not_mix(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        node = await lab.node(bridge, "slow")

        async def caller(ms: int) -> None:
            for _ in range(3):
                await node.ask({"ms": ms})

        async with trio.open_nursery() as nursery:
            for ms in (14, 12, 10, 8, 6, 4, 2, 0):
                nursery.start_soon(caller, ms)


@check("R-EB-09")
async def check_state_lives_from_initialize_to_cleanup(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        node = await lab.node(bridge, "counter")
        for number in (1, 2, 3):
            equal((await node.ask())["count"], number, "count of a node's calls since its initialize")
        await node.cleanup()
        await node.initialize()
        equal((await node.ask())["count"], 1, "count after cleanup and initialize")


@check("R-EB-09")
async def check_the_node_is_initialized_with_its_context(lab: Lab) -> None:
    if lab.kind is ExecutorType.WASM:
        raise NotApplicable("what a guest is told is the business of its own interface")
    async with lab.bridge() as bridge:
        params: dict[str, Json] = {"k": [1, {"ä": None}]}
        node = await lab.node(bridge, "ctx", params)
        said = await node.ask()
        told = {"node_id": node.id, "node_type": "ctx", "params": params, "session_id": lab.session}
        for name, value in told.items():
            equal(said.get(name), value, f"{name} of the NodeContext that the node's initialize gets")


@check("R-EB-10")
async def check_a_failed_initialize_can_be_tried_again(lab: Lab) -> None:
    lab.need_nodes("fail_init")
    switch = lab.folder / "switch"
    switch.touch()
    async with lab.bridge() as bridge:
        params: dict[str, Json] = {"while": str(switch), "nonce": lab.data.nonce()}
        if lab.kind is ExecutorType.WASM:
            params = {"fail": True}  # a sandbox sees no files
        node = Node(lab, bridge, "f", "fail_init")
        what = "initialize of a node whose initialize raises"
        await raised(ServiceError, _begin(lab, node, params), what)  # what comes once and stays, comes now
        before = await lab.ledger()
        await raised(ServiceError, _begin(lab, node, params), what)
        await lab.nothing_left(before, "process", "memory", "descriptor")
        switch.unlink()
        if lab.kind is ExecutorType.NATIVE:
            await node.cleanup()
        await node.initialize({"fail": False} if lab.kind is ExecutorType.WASM else params)
        await node.ask()


async def _begin(lab: Lab, node: Node, params: dict[str, Json]) -> None:
    """Initialize; a native bridge may leave that to the first call (L87-89)."""
    await node.initialize(params)
    if lab.kind is ExecutorType.NATIVE:
        await node.ask()


@check("R-EB-11")
async def check_a_second_initialize_starts_no_second_worker(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        baseline = set(evidence.descendants(lab.claims.daemons))
        node = await lab.node(bridge, "counter")
        first = await node.ask()
        workers = set(evidence.descendants(lab.claims.daemons)) - baseline
        try:
            await node.initialize()
        except ServiceError:
            lab.around.note("the second initialize was refused")
        again = await node.ask()
        equal(again["count"], 2, "count after the second initialize of a live id")
        equal(again["pid"], first["pid"], "pid of the node after the second initialize of a live id")
        await lab.quiet()
        extra = set(evidence.descendants(lab.claims.daemons)) - baseline - workers
        expect(not extra, "no second worker", f"new processes {sorted(pid for pid, _ in extra)}")
        await node.cleanup()
        await lab.until(
            lambda: not ({*evidence.descendants(lab.claims.daemons)} - baseline - workers), "no worker is forgotten"
        )


@check("R-EB-12")
async def check_cleanup_of_what_is_not_there(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        await bridge.cleanup("never was")
        node = await lab.node(bridge, "affine")
        for _ in range(3):
            await node.cleanup()
        await node.initialize()
        await node(next(lab.some_data()))


@check("R-EB-13")
async def check_cleanup_leaves_the_others(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        one, other = await lab.node(bridge, "counter"), await lab.node(bridge, "counter")
        await one.ask()
        first = await other.ask()
        await one.cleanup()
        again = await other.ask()
        equal(again["count"], 2, "count of a node after the cleanup of another")
        equal(again["pid"], first["pid"], "pid of a node after the cleanup of another")


@check("R-EB-14")
async def check_a_late_answer_is_thrown_away(lab: Lab) -> None:
    if lab.kind is ExecutorType.WASM:
        raise NotApplicable("a sandbox can not wait for a file: cancelling at every step has to do")
    async with lab.bridge() as bridge, trio.open_nursery() as nursery:
        held = await lab.held(bridge)
        for _ in range(2):
            call = Pending(nursery, held.node.ask)
            await held.entered()
            await call.cancel()
            expect(call.cancelled, "a cancelled call ends as cancelled, with no error of its own", call.words())
        held.release()
        for _ in range(4):
            await held.node.ask()


@check("R-EB-14")
async def check_cancelling_at_every_step(lab: Lab) -> None:
    """A counter tells whether anything was left over from the cancelled call."""
    async with lab.bridge() as bridge:
        node = await lab.node(bridge, "counter")

        async def after(ended: bool) -> None:
            del ended
            for _ in range(2):
                await node.ask()

        steps = await cancelled_at_each_step(node.ask, after)
        lab.measured["cancelled at steps"] = steps


@check("R-EB-15")
async def check_execute_after_cleanup(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        node = await lab.node(bridge, "affine")
        datum = next(lab.some_data())
        await node(datum)
        await node.cleanup()
        if lab.kind is ExecutorType.NATIVE:
            same(await node(datum), Affine().process(datum), "the answer after cleanup (native)")
            return
        text = f"Executor not initialized: {lab.kind}"
        await raised(ExecutorNotInitialized, node(datum), "execute after cleanup", text=text)


@check("R-EB-16")
async def check_ids_are_opaque(lab: Lab) -> None:
    lab.need_nodes("counter")
    async with lab.bridge() as bridge:
        nodes = [Node(lab, bridge, node_id, "counter") for node_id in IDS]
        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(node.initialize)
        for number, node in enumerate(nodes, 1):
            for _ in range(number):
                await node.ask()
        for number, node in enumerate(nodes, 1):
            equal((await node.ask())["count"], number + 1, f"count of the node {node.id[:20]!r}")
        await nodes[0].cleanup()
        equal((await nodes[1].ask())["count"], 4, f"count of {nodes[1].id!r} after the cleanup of {nodes[0].id!r}")
