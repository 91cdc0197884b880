"""R-CL: closing a DataBridge."""

from __future__ import annotations

import os
import signal

import trio

from penstock.conformance.buffers import fill
from penstock.conformance.checking import check
from penstock.conformance.expect import Failure, described, equal, expect, raised, same
from penstock.conformance.handles import DataBridgeHandle
from penstock.conformance.lab import Lab
from penstock.conformance.nodes import Affine
from penstock.conformance.pending import Pending
from penstock.executors.contract import BridgeClosed, ExecutorType, RuntimeData


async def _is_closed(lab: Lab, bridge: DataBridgeHandle, when: str) -> None:
    for name, call in (("transfer", bridge.transfer), ("transfer_with_backpressure", bridge.put)):
        await raised(BridgeClosed, call(lab.data.text()), f"{name} {when}", text="Bridge closed")


def _words(data: list[RuntimeData]) -> list[str]:
    return [datum.as_text() for datum in data]


@check("R-CL-01")
async def check_accepted_data_are_delivered(lab: Lab) -> None:
    for count in (1, 3, 4):
        async with lab.data_bridge(capacity=4) as bridge:
            data = await fill(lab, bridge, count)
            await bridge.close()
            equal(_words(await bridge.take_all()), _words(data), "what can be taken after close, in order")
            await raised(BridgeClosed, bridge.take(), "take from a closed and drained bridge")


@check("R-CL-01")
async def check_iteration_ends(lab: Lab) -> None:
    async with lab.data_bridge(capacity=4) as bridge:
        if not hasattr(bridge.raw, "__aiter__") and not hasattr(bridge.raw, "__iter__"):
            return  # the adapter's `take` is all that there is
        data = await fill(lab, bridge, 3)
        await bridge.close()
        seen = [datum async for datum in bridge.iterate()]
        equal(_words(seen), _words(data), "what iterating a closed bridge gives, until it ends")


@check("R-CL-02")
async def check_calls_after_close(lab: Lab) -> None:
    for count in (0, 2):
        async with lab.data_bridge(capacity=2) as bridge:
            await fill(lab, bridge, count)
            await bridge.close()
            await _is_closed(lab, bridge, "after close")
            equal(len(await bridge.take_all()), count, "number of data that were accepted before close")


@check("R-CL-03")
async def check_close_wakes_the_waiters(lab: Lab) -> None:
    async with lab.data_bridge(capacity=1) as bridge, trio.open_nursery() as nursery:
        first = await fill(lab, bridge, 1)
        puts = [Pending(nursery, lambda: bridge.put(lab.data.text())) for _ in range(4)]
        await lab.quiet()
        await bridge.close()
        for put in puts:
            await put.ended()
            expect(isinstance(put.error, BridgeClosed), "a waiting transfer raises BridgeClosed at close", put.words())
        equal(_words(await bridge.take_all()), _words(first), "what can be taken afterwards")


@check("R-CL-03")
async def check_close_wakes_a_waiting_receiver(lab: Lab) -> None:
    async with lab.data_bridge(capacity=1) as bridge, trio.open_nursery() as nursery:
        take = Pending(nursery, bridge.take)
        await lab.quiet()
        expect(not take.done, "take from an empty bridge waits", take.words())
        await bridge.close()
        await take.ended()
        expect(isinstance(take.error, BridgeClosed), "a waiting take ends at close", take.words())


@check("R-CL-04")
async def check_closing_twice(lab: Lab) -> None:
    async with lab.data_bridge(capacity=2) as bridge:
        data = await fill(lab, bridge, 2)
        for _ in range(3):
            await bridge.close()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.close)
            nursery.start_soon(bridge.close)
        equal(_words(await bridge.take_all()), _words(data), "what can be taken after closing five times")


@check("R-CL-05")
async def check_transfers_that_race_a_close(lab: Lab) -> None:
    for _ in range(40):
        async with lab.data_bridge("native-multiprocess", capacity=lab.random.choice([1, 2, 8])) as bridge:
            await _race(lab, bridge)


async def _race(lab: Lab, bridge: DataBridgeHandle) -> None:
    taken: list[RuntimeData] = []
    data = [lab.data.text() for _ in range(6)]
    async with trio.open_nursery() as nursery:
        puts = [Pending(nursery, lambda datum=datum: bridge.put(datum)) for datum in data]  # type: ignore[misc]
        for _ in range(lab.random.randrange(8)):
            await trio.lowlevel.checkpoint()
        if lab.random.random() < 0.5 and any(put.returned for put in puts):
            taken.append(await bridge.take())
        await bridge.close()
        for put in puts:
            await put.ended()
            fine = put.returned or isinstance(put.error, BridgeClosed)
            expect(fine, "a transfer that races a close completes or raises BridgeClosed", put.words())
    taken += await bridge.take_all()
    accepted = sorted(datum.as_text() for datum, put in zip(data, puts, strict=True) if put.returned)
    came = sorted(_words(taken))
    expect(came == accepted, f"the {len(accepted)} data whose transfers completed are delivered, and no other",
           f"{len(came)} were delivered, {len(set(accepted) - set(came))} are missing")  # fmt: skip


@check("R-CL-06")
async def check_a_cancelled_close_still_closes(lab: Lab) -> None:
    for steps in (0, 1, 2):
        async with lab.data_bridge(capacity=1) as bridge, trio.open_nursery() as nursery:
            await fill(lab, bridge, 1)
            put = Pending(nursery, lambda: bridge.put(lab.data.text()))
            await lab.quiet(0.5)
            await _close_cancelled(lab, bridge, steps)
            await put.ended()
            expect(isinstance(put.error, BridgeClosed), "a cancelled close wakes the waiters", put.words())
            await _is_closed(lab, bridge, "after a cancelled close")


async def _close_cancelled(lab: Lab, bridge: DataBridgeHandle, steps: int) -> None:
    """Cancel before it begins (trio: it closes nevertheless) or soon after."""
    if steps == 0 and lab.claims.runtime == "trio":
        with trio.CancelScope() as scope:
            scope.cancel()
            await bridge.close()
        return
    async with trio.open_nursery() as nursery:
        close = Pending(nursery, bridge.close)
        for _ in range(steps + 1):
            await trio.lowlevel.checkpoint()
        if lab.claims.runtime != "trio":
            await trio.sleep(0.005)  # it has to have begun in its own loop
        await close.cancel()


@check("R-CL-07")
async def check_the_buffer_is_empty_afterwards(lab: Lab) -> None:
    async with lab.data_bridge(capacity=3) as bridge:
        data = await fill(lab, bridge, 3)
        same(await bridge.take(), data[0], "the first datum")
        await bridge.close()
        equal(_words(await bridge.take_all()), _words(data[1:]), "what is left after close, each once")
        for _ in range(3):
            await raised(BridgeClosed, bridge.take(), "take from a closed and drained bridge")


@check("R-CL-08")
async def check_the_executor_bridges_stay_open(lab: Lab) -> None:
    native, multi = ExecutorType.NATIVE, ExecutorType.MULTIPROCESS
    async with lab.bridge(native) as source, lab.bridge(multi) as target:
        nodes = [await lab.node(source, "affine"), await lab.node(target, "affine")]
        async with lab.data_bridge(ends=(source.raw, target.raw)) as bridge:
            await bridge.close()
        for node in nodes:
            datum = next(lab.some_data())
            try:
                same(await node(datum), Affine().process(datum), f"a call on the {node.bridge.name} bridge after close")
            except BridgeClosed as error:
                raise Failure("the executor bridges stay open", f"it raised {described(error)}") from None


@check("R-CL-09")
async def check_close_with_a_stuck_consumer(lab: Lab) -> None:
    async with lab.data_bridge(capacity=1) as bridge, trio.open_nursery() as nursery:
        await fill(lab, bridge, 1)
        puts = [Pending(nursery, lambda: bridge.put(lab.data.text())) for _ in range(3)]
        await lab.quiet()
        start = trio.current_time()
        await bridge.close()
        lab.measured["close took, ms"] = round((trio.current_time() - start) * 1000, 1)
        for put in puts:
            await put.ended()


@check("R-CL-09")
async def check_close_with_a_stopped_worker(lab: Lab) -> None:
    native, multi = ExecutorType.NATIVE, ExecutorType.MULTIPROCESS
    async with lab.bridge(native) as source, lab.bridge(multi) as target:
        pid = (await (await lab.node(target, "pid")).ask())["pid"]
        async with lab.data_bridge(ends=(source.raw, target.raw), capacity=1) as bridge:
            await fill(lab, bridge, 1)
            os.kill(pid, signal.SIGSTOP)
            try:
                await bridge.close()
            finally:
                os.kill(pid, signal.SIGCONT)


@check("R-CL-10")
async def check_statistics_after_close(lab: Lab) -> None:
    async with lab.data_bridge(capacity=2) as bridge:
        await fill(lab, bridge, 2)
        await bridge.close()
        equal((await bridge.get_stats()).transfers, 2, "total_transfers after close")
