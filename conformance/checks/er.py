"""R-ER: errors."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import trio

from penstock.conformance.adapter import Profile
from penstock.conformance.checking import Across, check
from penstock.conformance.expect import (
    Failure,
    NotApplicable,
    described,
    equal,
    expect,
    message,
    raised,
    same,
)
from penstock.conformance.handles import BridgeHandle
from penstock.conformance.lab import Lab
from penstock.conformance.nodes import Affine
from penstock.conformance.pending import Pending
from penstock.executors.contract import (
    BackpressureTimeout,
    BridgeClosed,
    ConversionError,
    ConversionFailed,
    ExecutorNotInitialized,
    ExecutorType,
    NodeExecution,
    RuntimeData,
    ServiceError,
    Validation,
)

NATIVE, MULTI = ExecutorType.NATIVE, ExecutorType.MULTIPROCESS


@check("R-ER-01")
async def check_errors_have_the_contracts_types(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        node = await lab.node(bridge, "fail")
        await raised(NodeExecution, node(lab.data.json()), "execute of a node that raises")
        if lab.kind is NATIVE:
            call = bridge.execute("n", "NoSuchNode", lab.data.json())
            await raised(Validation, call, "execute of an unknown type")
            return
        await raised(
            ExecutorNotInitialized, bridge.execute("n", "affine", lab.data.json()), "execute before initialize"
        )
        await raised(ServiceError, bridge.initialize("u", "NoSuchNode"), "initialize of an unknown type")


@check("R-ER-01", Across.ONCE)
async def check_errors_of_a_data_bridge_have_the_contracts_types(lab: Lab) -> None:
    _need_data_bridge(lab)
    async with lab.data_bridge() as bridge:
        await bridge.close()
        await raised(BridgeClosed, bridge.transfer(lab.data.text()), "transfer after close")


@check("R-ER-02")
async def check_messages_of_a_bridge(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        datum = next(lab.some_data())
        if lab.kind is NATIVE:
            call = bridge.execute("n", "NoSuchNode", datum)
            await raised(Validation, call, "execute of an unknown type", text="Unknown node type: NoSuchNode")
            return
        text = f"Executor not initialized: {lab.kind}"
        await raised(
            ExecutorNotInitialized, bridge.execute("n", "affine", datum), "execute before initialize", text=text
        )


@check("R-ER-02", Across.ONCE)
async def check_messages_of_a_converter(lab: Lab) -> None:
    if not lab.claimed(Profile.CONVERTER):
        raise NotApplicable("profile converter is not claimed")
    name, datum = next(lab.data.mislabelled())
    async with lab.converter() as converter:
        error = await raised(ConversionError, converter.to_ipc(datum), f"to_ipc with {name}")
        fits = re.fullmatch(r"Type mismatch: expected .+, got .+", message(error), re.DOTALL)
        expect(fits, "'Type mismatch: expected {expected}, got {actual}'", repr(message(error)))


@check("R-ER-02", Across.ONCE)
async def check_messages_of_a_data_bridge(lab: Lab) -> None:
    _need_data_bridge(lab)
    async with lab.data_bridge() as bridge:
        _, datum = next(lab.data.mislabelled())
        await raised(
            ServiceError, bridge.transfer(datum), "transfer that can not convert", text="Data conversion failed: ..."
        )
        await bridge.close()
        await raised(BridgeClosed, bridge.transfer(lab.data.text()), "transfer after close", text="Bridge closed")
    if lab.claims.backpressure_timeout:
        async with lab.data_bridge(capacity=1, timeout=0.02) as bridge:
            await bridge.put(lab.data.text())
            call = bridge.put(lab.data.text())
            await raised(BackpressureTimeout, call, "put into a full bridge", text="Backpressure timeout after ...")


@check("R-ER-03", Across.ONCE)
async def check_the_cause_is_kept(lab: Lab) -> None:
    _need_data_bridge(lab)
    async with lab.data_bridge() as bridge:
        for name, datum in lab.data.mislabelled():
            error = await raised(ConversionFailed, bridge.transfer(datum), f"transfer with {name}")
            cause = error.__cause__
            wanted = "ConversionFailed.__cause__ is the ConversionError"
            expect(isinstance(cause, ConversionError), wanted, described(cause))
            expect(message(cause or error) in message(error), "its text in the message", repr(message(error)))


def _need_data_bridge(lab: Lab) -> None:
    if not lab.claimed(Profile.DATABRIDGE):
        raise NotApplicable("profile databridge is not claimed")


@check("R-ER-04")
async def check_fields_of_node_execution(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        node = await lab.node(bridge, "fail")
        nonce = lab.data.nonce()
        error = await raised(NodeExecution, node(lab.data.json({"nonce": nonce})), "execute of a node that raises")
        equal(getattr(error, "node_id", None), node.id, "node_id of NodeExecution")
        text = getattr(error, "message", None)
        expect(isinstance(text, str) and nonce in text, f"a message with 'boom-{nonce}'", described(text))


@check("R-ER-05")
async def check_no_foreign_error_escapes(lab: Lab) -> None:
    """Arguments that are of the right types, and of the worst values."""
    async with lab.bridge() as bridge:
        node = await lab.node(bridge, "echo")
        for datum in [*_nasty_data(lab)]:
            await _tolerated(lambda datum=datum: node(datum))
        for node_id in ("", " ", "x" * 5000, "a\x00b", "../../etc", "漢", "%s{}"):
            await _tolerated(lambda node_id=node_id: bridge.execute(node_id, "echo", lab.data.json()))
            await _tolerated(lambda node_id=node_id: bridge.cleanup(node_id))
        for node_type in ("", "os:system", "../é", "x" * 3000):
            await _tolerated(lambda node_type=node_type: bridge.initialize("odd", node_type))
            await _tolerated(lambda node_type=node_type: bridge.execute("odd2", node_type, lab.data.json()))
            await bridge.cleanup("odd")
        for params in _nasty_params():
            await _tolerated(lambda params=params: node(lab.data.json(), params))
    await _tolerated(lambda: bridge.execute(node.id, "echo", lab.data.json()))
    await _tolerated(lambda: bridge.initialize("late", "echo"))
    await _tolerated(lambda: bridge.cleanup("late"))


@check("R-ER-05")
async def check_a_cleanup_that_raises_ends_the_node_all_the_same(lab: Lab) -> None:
    """What it becomes is a normal return or an error of the contract; the id is free afterwards."""
    if lab.kind is ExecutorType.WASM:
        raise NotApplicable("the end of a sandbox can not raise")
    lab.need_nodes("fail_cleanup")
    async with lab.bridge() as bridge:
        node = await lab.node(bridge, "fail_cleanup")
        for _ in range(2):
            await node.ask()
            await _tolerated(node.cleanup)
            await node.initialize()
    await _tolerated(node.cleanup)


async def _tolerated(call: Any) -> None:
    """A result or an error of the contract: everything else is a failure already."""
    with contextlib.suppress(ServiceError):
        await call()


def _nasty_data(lab: Lab) -> list[RuntimeData]:
    found = [datum for _, datum in lab.data.mislabelled()]
    if "text" in lab.claims.data_types:
        found += [lab.data.text(""), lab.data.text("\x00" * 70), lab.data.text("漢" * 30_000)]
    if "tensor" in lab.claims.data_types:
        found += [lab.data.tensor(np.zeros((0,))), lab.data.tensor(np.array(1.5))]
    bad = lab.data.json()
    bad.payload = b"{not json"
    return [*found, bad]


def _nasty_params() -> list[dict[str, Any]]:
    nested: Any = 0
    for _ in range(60):
        nested = [nested]
    return [{"": None}, {"a" * 300: "b" * 70_000}, {"n": 1 << 70}, {"deep": nested}, {"ä\n\x00": "漢\x00"}]


@check("R-ER-06")
async def check_the_bridge_works_after_any_error(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        node = await lab.node(bridge, "affine")
        datum = next(lab.some_data())
        async for what in _errors(lab, bridge):
            try:
                same(await node(datum), Affine().process(datum), f"the answer after {what}")
            except ServiceError as error:
                raise Failure(f"the bridge is usable after {what}", f"it raised {described(error)}") from None


async def _errors(lab: Lab, bridge: BridgeHandle) -> AsyncIterator[str]:
    """Makes one error after the other."""
    failing = await lab.node(bridge, "fail")
    echo = await lab.node(bridge, "echo")
    for _ in range(1 if lab.kind is MULTI else 2):
        await _tolerated(lambda: failing(lab.data.json()))
        yield "a node's exception"
        await _tolerated(lambda: bridge.initialize("u", "NoSuchNode"))
        yield "an unknown type"
        await _tolerated(lambda: bridge.execute("not there", "affine", lab.data.json()))
        yield "a call of a node that is not there"
        for name, datum in lab.data.mislabelled():
            await _tolerated(lambda datum=datum: echo(datum))
            yield name
    if lab.kind is MULTI:
        crashing = await lab.node(bridge, "crash")
        await _tolerated(lambda: crashing(lab.data.json()))
        yield "the crash of another node"


@check("R-ER-07")
async def check_errors_arrive_in_time(lab: Lab) -> None:
    """Each call has the liveness bound; a call that misses it ends this check as a hang."""
    async with lab.bridge() as bridge:
        slowest = 0.0
        last = trio.current_time()
        async for what in _errors(lab, bridge):
            now = trio.current_time()
            slowest, last = max(slowest, now - last), now
            lab.around.note(f"after {what}")
        lab.measured["slowest error, ms"] = round(slowest * 1000, 1)


@check("R-ER-07")
async def check_a_dead_worker_is_noticed(lab: Lab) -> None:
    if lab.kind is not MULTI:
        raise NotApplicable("there is no process that could die")
    async with lab.bridge() as bridge, trio.open_nursery() as nursery:
        held = await lab.held(bridge)
        calls = [Pending(nursery, held.node.ask) for _ in range(2)]
        pid = await held.entered()
        start = trio.current_time()
        os.kill(pid, signal.SIGKILL)
        for call in calls:
            await call.ended()
            expect(call.error is not None, "each call to a killed worker raises", call.words())
        lab.measured["death noticed after, ms"] = round((trio.current_time() - start) * 1000, 1)
