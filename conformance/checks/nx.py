"""R-NX: the native bridge."""

from __future__ import annotations

import os

from penstock.conformance.checking import check
from penstock.conformance.expect import equal, expect, raised, same
from penstock.conformance.lab import Lab, Node
from penstock.conformance.nodes import Affine
from penstock.executors.contract import ExecutorType, NodeExecution, Validation

NATIVE = ExecutorType.NATIVE


@check("R-NX-01")
async def check_an_unknown_type_is_refused_by_name(lab: Lab) -> None:
    async with lab.bridge(NATIVE) as bridge:
        for name in ("NoSuchNode", "no such ünode"):
            call = bridge.execute("n", name, next(lab.some_data()))
            await raised(Validation, call, f"execute of type {name!r}", text=f"Unknown node type: {name}")


@check("R-NX-02")
async def check_a_nodes_exception_keeps_its_text(lab: Lab) -> None:
    async with lab.bridge(NATIVE) as bridge:
        node = await lab.node(bridge, "fail")
        nonce = f"{lab.data.nonce()}\n  ä%s {{}} 漢\t "
        text = f"boom-{nonce}"
        error = await raised(NodeExecution, node(lab.data.json({"nonce": nonce})), "execute of a node that raises")
        equal(error.message, text, "message, which is str() of the node's exception")
        equal(error.node_id, node.id, "node_id of the error")


@check("R-NX-03")
async def check_nodes_run_in_this_process(lab: Lab) -> None:
    async with lab.bridge(NATIVE) as bridge:
        equal((await (await lab.node(bridge, "pid")).ask())["pid"], os.getpid(), "pid of a native node")


@check("R-NX-04")
async def check_initialize_is_not_required(lab: Lab) -> None:
    async with lab.bridge(NATIVE) as bridge:
        datum = next(lab.some_data())
        node = Node(lab, bridge, "fresh", "affine")
        same(await node(datum), Affine().process(datum), "the answer of a node that was not initialized")
        await bridge.initialize("another", "affine")


@check("R-NX-05")
async def check_cleanup_always_succeeds(lab: Lab) -> None:
    async with lab.bridge(NATIVE) as bridge:
        await bridge.cleanup("unknown")
        node = await lab.node(bridge, "affine")
        await node.cleanup()
        await node.cleanup()


@check("R-NX-06")
async def check_the_type_is_native(lab: Lab) -> None:
    async with lab.bridge(NATIVE) as bridge:
        equal(bridge.executor_type, NATIVE, "executor_type")


@check("R-NX-07")
async def check_the_call_after_an_error_works(lab: Lab) -> None:
    async with lab.bridge(NATIVE) as bridge:
        node, other = await lab.node(bridge, "fail"), await lab.node(bridge, "affine")
        datum = next(lab.some_data())
        for _ in range(12):
            await raised(NodeExecution, node(lab.data.json()), "execute of a node that raises")
            if lab.claims.params_at_execute:
                await node.ask(params={"fine": True})
            same(await other(datum), Affine().process(datum), "the answer of another node after an error")


@check("R-NX-08")
async def check_an_unknown_type_runs_and_counts_nothing(lab: Lab) -> None:
    async with lab.bridge(NATIVE) as bridge:
        node = await lab.node(bridge, "counter")
        await node.ask()
        counts = hasattr(bridge.raw, "get_stats")
        before = (await bridge.get_stats()).executions if counts else 0
        call = bridge.execute(node.id, "NoSuchNode", lab.data.json())
        await raised(Validation, call, "execute of an unknown type on a live node")
        if counts:
            equal((await bridge.get_stats()).executions, before, "total_executions after a refused call")
        count = (await node.ask())["count"]
        expect(count == 2, "no node code runs for an unknown type", f"the live node counted {count - 2} calls more")
