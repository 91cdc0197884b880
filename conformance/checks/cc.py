"""R-CC: several bridges at once."""

from __future__ import annotations

import contextlib
import os
import signal

import trio

from penstock.conformance.checking import check
from penstock.conformance.expect import equal, same
from penstock.conformance.handles import BridgeHandle
from penstock.conformance.hosts import CALLS, Host
from penstock.conformance.lab import Lab, Node
from penstock.conformance.nodes import Affine
from penstock.executors.contract import ExecutorType


def _kinds(lab: Lab, least: int = 4) -> list[ExecutorType]:
    """The claimed kinds, again and again, until there are enough."""
    claimed = list(lab.claims.bridge_kinds)
    return [claimed[number % len(claimed)] for number in range(max(least, len(claimed)))]


async def _work(lab: Lab, node: Node, affine: Node) -> None:
    for turn in range(1, 11):
        equal((await node.ask())["count"], turn, f"count of {node.id} on its {node.bridge.name} bridge")
        datum = lab.data.one(lab.data_types()[0])
        same(await affine(datum), Affine().process(datum), f"affine on a {node.bridge.name} bridge")


async def _begin(lab: Lab, bridge: BridgeHandle) -> None:
    await _work(lab, await lab.node(bridge, "counter"), await lab.node(bridge, "affine"))


@check("R-CC-01")
async def check_many_bridges_at_once(lab: Lab) -> None:
    async with contextlib.AsyncExitStack() as stack, trio.open_nursery() as nursery:
        for number, kind in enumerate(_kinds(lab)):
            bridge = await stack.enter_async_context(lab.bridge(kind, f"{lab.session}-{number}"))
            nursery.start_soon(_begin, lab, bridge)


@check("R-CC-02")
async def check_closing_one_leaves_the_others(lab: Lab) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for kind in dict.fromkeys(_kinds(lab)):
            closing = await lab.make_bridge(kind)
            await lab.node(closing, "counter")
            stay = await stack.enter_async_context(lab.bridge(kind))
            counter, affine = await lab.node(stay, "counter"), await lab.node(stay, "affine")
            if kind is ExecutorType.MULTIPROCESS:
                victim = await lab.node(closing, "counter")
                os.kill((await victim.ask())["pid"], signal.SIGKILL)
            await closing.aclose()
            await _work(lab, counter, affine)


@check("R-CC-03")
async def check_equal_names_do_not_collide(lab: Lab) -> None:
    """The same session id and the same node ids on every bridge, and on two of each kind."""
    async with contextlib.AsyncExitStack() as stack:
        nodes = []
        for kind in _kinds(lab):
            bridge = await stack.enter_async_context(lab.bridge(kind))
            nodes.append(await lab.node(bridge, "counter", node_id="same-id"))
        for calls, node in enumerate(nodes, 1):
            for _ in range(calls):
                await node.ask()
        for calls, node in enumerate(nodes, 1):
            equal((await node.ask())["count"], calls + 1, f"count of 'same-id' on bridge {calls} ({node.bridge.name})")


@check("R-CC-04")
async def check_two_host_processes_do_not_collide(lab: Lab) -> None:
    kind = lab.claims.bridge_kinds[-1]
    async with Host(lab, "work", kind) as one, Host(lab, "work", kind) as other:
        for host in (one, other):
            await host.ready()
        (lab.folder / "go").touch()
        for host in (one, other):
            equal((await host.said())["count"], CALLS + 1, "count in a host process, beside another with equal names")
