"""R-MX: the multiprocess bridge."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable
from typing import Any

import numpy as np
import trio

from penstock.conformance import evidence
from penstock.conformance.adapter import Fault
from penstock.conformance.checking import check
from penstock.conformance.expect import Failure, NotApplicable, NotExercised, described, equal, expect, message, raised
from penstock.conformance.handles import BridgeHandle
from penstock.conformance.hosts import Host
from penstock.conformance.lab import Lab, Node
from penstock.conformance.limits import smaller_files
from penstock.conformance.pending import Pending
from penstock.executors.contract import (
    ExecutorNotInitialized,
    ExecutorType,
    Internal,
    Json,
    NodeExecution,
    RuntimeData,
    ServiceError,
    Validation,
)

MULTI = ExecutorType.MULTIPROCESS


@check("R-MX-01")
async def check_the_type_is_multiprocess(lab: Lab) -> None:
    async with lab.bridge(MULTI) as bridge:
        equal(bridge.executor_type, MULTI, "executor_type")


@check("R-MX-02")
async def check_nodes_run_in_another_live_process(lab: Lab) -> None:
    async with lab.bridge(MULTI) as bridge:
        pid = (await (await lab.node(bridge, "pid")).ask())["pid"]
        expect(pid != os.getpid(), "another process", f"pid {pid} is this one")
        expect(evidence.alive(pid), "a live process", f"there is no process {pid}")


@check("R-MX-03")
async def check_each_node_has_its_process(lab: Lab) -> None:
    async with lab.bridge(MULTI) as bridge:
        nodes = [await lab.node(bridge, "pid") for _ in range(3)]
        pids = [(await node.ask())["pid"] for node in nodes]
        equal(len(set(pids)), 3, "number of processes of 3 nodes")


@check("R-MX-04")
async def check_the_node_gets_its_context(lab: Lab) -> None:
    async with lab.bridge(MULTI) as bridge:
        params: dict[str, Json] = {"k": [1, {"ä": None}]}
        node = await lab.node(bridge, "ctx", params)
        said = await node.ask()
        for name, value in (
            ("node_id", node.id),
            ("node_type", "ctx"),
            ("params", params),
            ("session_id", lab.session),
            ("metadata", {}),
        ):
            equal(said.get(name), value, f"{name} of the context")


@check("R-MX-05")
async def check_a_failed_initialize_says_why(lab: Lab) -> None:
    lab.need_nodes("fail_init")
    (lab.folder / "switch").touch()
    nonce = lab.data.nonce()
    async with lab.bridge(MULTI) as bridge:
        call = bridge.initialize("f", "fail_init", {"while": str(lab.folder / "switch"), "nonce": nonce})
        what = "initialize of a node whose initialize raises"
        error = await raised(NodeExecution, call, what, text="Initialization failed: ...")
        expect(f"init-boom-{nonce}" in error.message, f"the cause 'init-boom-{nonce}' in the text", repr(error.message))
        equal(error.node_id, "f", "node_id of the error")


@check("R-MX-05")
async def check_an_unknown_type_fails_to_initialize(lab: Lab) -> None:
    async with lab.bridge(MULTI) as bridge:
        call = bridge.initialize("u", "NoSuchNode")
        text = "Initialization failed: ..."
        error = await raised(NodeExecution, call, "initialize of an unknown type (D-50)", text=text)
        expect(
            "Unknown node type: NoSuchNode" in error.message,
            "'Unknown node type: NoSuchNode' in the text",
            error.message,
        )


@check("R-MX-06")
async def check_a_failed_send(lab: Lab) -> None:
    async with lab.bridge(MULTI) as bridge:
        node = await lab.node(bridge, "counter")
        await node.ask()
        if lab.has_fault(bridge, Fault.SEND):
            with lab.fault(bridge, Fault.SEND):
                error = await raised(
                    NodeExecution, node.ask(), "execute while sending fails", text="IPC send failed: ..."
                )
            equal(error.node_id, node.id, "node_id of the error")
            return
        await _sent_to_a_dead_worker(lab, bridge)


async def _sent_to_a_dead_worker(lab: Lab, bridge: BridgeHandle) -> None:
    """Without the hook: a worker that has just died. When that is noticed is the bridge's affair."""
    for _ in range(3):
        node = await lab.node(bridge, "counter")
        os.kill((await node.ask())["pid"], signal.SIGKILL)
        try:
            await node.ask()
        except ServiceError as error:
            if _is_ipc(error, "send"):
                return
            lost = _is_ipc(error, "receive") or isinstance(error, ExecutorNotInitialized)
            wanted = "NodeExecution('IPC send failed: ...') or ('IPC receive failed: ...'), or ExecutorNotInitialized"
            expect(lost, f"execute on a dead worker raises {wanted}", f"it raised {described(error)}")
        else:
            expect(lab.claims.respawns, "execute on a dead worker raises", "it returned")
    raise NotExercised("sending never failed, and the adapter has no inject(SEND)")


def _is_ipc(error: ServiceError, what: str) -> bool:
    return isinstance(error, NodeExecution) and error.message.startswith(f"IPC {what} failed: ")


@check("R-MX-07")
async def check_a_crash_during_execute(lab: Lab) -> None:
    async with lab.bridge(MULTI) as bridge:
        node = await lab.node(bridge, "crash")
        what = "execute of a node that ends its process"
        error = await raised(NodeExecution, node(lab.data.json()), what, text="IPC receive failed: ...")
        equal(error.node_id, node.id, "node_id of the error")


@check("R-MX-07")
async def check_a_kill_during_execute(lab: Lab) -> None:
    async with lab.bridge(MULTI) as bridge, trio.open_nursery() as nursery:
        held = await lab.held(bridge)
        call = Pending(nursery, held.node.ask)
        os.kill(await held.entered(), signal.SIGKILL)
        await call.ended()
        text = call.error.message if isinstance(call.error, NodeExecution) else ""
        wanted = "a call whose worker is killed raises NodeExecution('IPC receive failed: ...')"
        expect(text.startswith("IPC receive failed: "), wanted, call.words())


@check("R-MX-07")
async def check_an_injected_receive_failure(lab: Lab) -> None:
    async with lab.bridge(MULTI) as bridge:
        node = await lab.node(bridge, "counter")
        if not lab.has_fault(bridge, Fault.RECV):
            return  # killing is the same, and is tried above
        with lab.fault(bridge, Fault.RECV):
            await raised(NodeExecution, node.ask(), "execute while receiving fails", text="IPC receive failed: ...")


@check("R-MX-08")
async def check_a_failed_conversion(lab: Lab) -> None:
    """By the hook, by a limit on the size of files (so also of segments), by a payload that is not of its type."""
    async with lab.bridge(MULTI) as bridge:
        seen = 0
        if lab.has_fault(bridge, Fault.CONVERT):
            node = await lab.node(bridge, "echo")
            with lab.fault(bridge, Fault.CONVERT):
                seen += await _conversion_fails(node(_large(lab)), "execute while conversion fails", certain=True)
        node = await lab.node(bridge, "echo")
        with smaller_files(1 << 20):
            seen += await _conversion_fails(node(_large(lab)), "execute without room for the datum", certain=False)
        for name, datum in lab.data.mislabelled():
            seen += await _conversion_fails(node(datum), f"execute with {name}", certain=False)
    if not seen:
        raise NotExercised("no conversion failed, and the adapter has no inject(CONVERT)")


def _large(lab: Lab) -> RuntimeData:
    name = next(name for name in ("tensor", "audio", "text", "json") if name in lab.data_types())
    if name in {"tensor", "audio"}:
        samples = lab.data.floats(1 << 20)
        return lab.data.tensor(samples) if name == "tensor" else lab.data.audio(samples=samples)
    return lab.data.one(name)


async def _conversion_fails(call: Awaitable[Any], what: str, *, certain: bool) -> bool:
    """Whether it failed as it should; a failure of another kind, as Validation, is only allowed where it may."""
    try:
        await call
    except ServiceError as error:
        right = isinstance(error, Internal) and message(error).startswith("Data conversion failed: ")
        if right:
            return True
        if certain or not isinstance(error, Validation):
            raise Failure(
                f"{what} raises Internal('Data conversion failed: ...')", f"it raised {described(error)}"
            ) from None
    else:
        expect(not certain, f"{what} raises Internal('Data conversion failed: ...')", "it returned")
    return False


@check("R-MX-09")
async def check_a_nodes_exception_spares_its_worker(lab: Lab) -> None:
    async with lab.bridge(MULTI) as bridge:
        node = await lab.node(bridge, "fail")
        before = await node.ask(params={"fine": True}) if lab.claims.params_at_execute else None
        nonce = lab.data.nonce()
        for _ in range(2):
            error = await raised(NodeExecution, node(lab.data.json({"nonce": nonce})), "execute of a node that raises")
            equal(error.node_id, node.id, "node_id of the error")
            expect(f"boom-{nonce}" in error.message, f"the node's own text 'boom-{nonce}'", repr(error.message))
        if before is not None:
            equal((await node.ask(params={"fine": True}))["pid"], before["pid"], "pid of the worker after the error")


@check("R-MX-10")
async def check_cleanup_ends_the_process(lab: Lab) -> None:
    async with lab.bridge(MULTI) as bridge:
        node = await lab.node(bridge, "pid")
        pid = (await node.ask())["pid"]
        await bridge.cleanup(node.id)
        gone = "the process has ended and is reaped after cleanup"
        if lab.claims.process_per_node:
            await lab.until(lambda: evidence.gone(pid), gone, lab.cleanup_s)


@check("R-MX-11")
async def check_a_failed_cleanup(lab: Lab) -> None:
    text = "Cleanup failed: ..."
    async with lab.bridge(MULTI) as bridge:
        if lab.has_fault(bridge, Fault.CLEANUP):
            node = await lab.node(bridge, "affine")
            with lab.fault(bridge, Fault.CLEANUP):
                await raised(Internal, node.cleanup(), "cleanup while it fails", text=text)
            return
        node = await lab.node(bridge, "fail_cleanup")
        await node.ask()
        try:
            await node.cleanup()
        except ServiceError as error:
            right = isinstance(error, Internal) and message(error).startswith("Cleanup failed: ")
            expect(right, f"a failed cleanup raises Internal({text!r})", f"it raised {described(error)}")
            return
    raise NotExercised("adapter has no inject(CLEANUP)")


@check("R-MX-12")
async def check_execute_before_initialize(lab: Lab) -> None:
    async with lab.bridge(MULTI) as bridge:
        call = bridge.execute("never", "affine", next(lab.some_data()))
        text = "Executor not initialized: Multiprocess"
        await raised(ExecutorNotInitialized, call, "execute before initialize", text=text)


def _need_own_processes(lab: Lab) -> None:
    if not lab.claims.process_per_node:
        raise NotApplicable("nodes share their processes")


@check("R-MX-13")
async def check_a_crash_leaves_the_others(lab: Lab) -> None:
    _need_own_processes(lab)
    async with lab.bridge(MULTI) as bridge:
        crashing, other = await lab.node(bridge, "crash"), await lab.node(bridge, "counter")
        first = await other.ask()
        await raised(ServiceError, crashing(lab.data.json()), "execute of a node that ends its process")
        again = await other.ask()
        equal(again["count"], 2, "count of another node after the crash")
        equal(again["pid"], first["pid"], "pid of another node after the crash")
        await crashing.cleanup()
        await crashing.initialize({"fine": True})
        await crashing.ask()
        equal((await other.ask())["count"], 3, "count of another node after the restart")


@check("R-MX-14")
async def check_cleanup_of_a_stopped_worker(lab: Lab) -> None:
    _need_own_processes(lab)
    async with lab.bridge(MULTI) as bridge:
        node = await lab.node(bridge, "pid")
        pid = (await node.ask())["pid"]
        os.kill(pid, signal.SIGSTOP)
        await lab.until(lambda: evidence.stopped(pid), "SIGSTOP stops the worker")  # else SIGTERM overtakes it
        await _cleanup_ends(lab, node, pid)


@check("R-MX-14")
async def check_cleanup_of_a_busy_worker_that_ignores_sigterm(lab: Lab) -> None:
    _need_own_processes(lab)
    async with lab.bridge(MULTI) as bridge, trio.open_nursery() as nursery:
        held = await lab.held(bridge, deaf=True)
        call = Pending(nursery, held.node.ask)
        pid = await held.entered()
        await _cleanup_ends(lab, held.node, pid)
        await call.ended()
        expect(call.error is not None, "the call in a node that is cleaned up raises", call.words())


async def _cleanup_ends(lab: Lab, node: Node, pid: int) -> None:
    try:
        await node.bridge.cleanup(node.id, 2 * lab.cleanup_s)
    except Internal as error:
        lab.around.note(f"cleanup said: {error}")
    await lab.until(lambda: not evidence.alive(pid), f"cleanup ends the stuck worker {pid}", lab.cleanup_s)


@check("R-MX-15")
async def check_parameters_of_initialize_reach_the_node(lab: Lab) -> None:
    async with lab.bridge(MULTI) as bridge:
        params: dict[str, Json] = {"number": 1.5, "text": "漢", "list": [None, True], "nested": {"a": {"b": -3}}}
        node = await lab.node(bridge, "ctx", params)
        equal((await node.ask()).get("params"), params, "parameters in the context of initialize")


@check("R-MX-16")
async def check_workers_die_with_their_host(lab: Lab) -> None:
    async with Host(lab, "wait") as host:
        pid = (await host.said())["pid"]
        expect(evidence.alive(pid), "the worker of the host lives", f"there is no process {pid}")
        host.kill()
        bound_s = lab.cleanup_s
        try:
            await lab.until(lambda: not evidence.alive(pid), "the worker of a killed host is gone", bound_s)
        finally:
            if evidence.alive(pid):
                os.kill(pid, signal.SIGKILL)


@check("R-MX-17")
async def check_sessions_do_not_mix(lab: Lab) -> None:
    async with lab.bridge(MULTI) as one, lab.bridge(MULTI, f"{lab.session}x") as other:
        nodes = [await lab.node(bridge, "counter", node_id="same") for bridge in (one, other)]
        async with trio.open_nursery() as nursery:
            for node, calls in zip(nodes, (5, 9), strict=True):
                nursery.start_soon(_ask, node, calls)
        counts = [(await node.ask())["count"] for node in nodes]
        equal(counts, [6, 10], "counts of the node 'same' in two sessions")


async def _ask(node: Node, calls: int) -> None:
    for _ in range(calls):
        await node.ask()


@check("R-MX-18")
async def check_outputs_of_any_size(lab: Lab) -> None:
    lab.need_type("tensor")
    async with lab.bridge(MULTI) as bridge:
        node = await lab.node(bridge, "grow")
        for size in (1, 8 << 20, 0, 65_537, 1):
            answer = await node(lab.data.json({"bytes": size}))
            equal(answer.nbytes, size, "bytes of the answer")
            expected = np.arange(size, dtype=np.uint32).astype(np.uint8).tobytes()
            expect(bytes(answer.payload) == expected, f"{size} bytes that count up", "other bytes")
