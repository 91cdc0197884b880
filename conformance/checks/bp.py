"""R-BP: backpressure. What is in the buffer is what was completed and not yet taken: no look inside is needed."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from typing import Any

import trio

from penstock.conformance.checking import check
from penstock.conformance.expect import Failure, Inconclusive, described, equal, expect, raised, same
from penstock.conformance.handles import DataBridgeHandle
from penstock.conformance.lab import Lab
from penstock.conformance.pending import Pending, cancelled_at_each_step
from penstock.executors.contract import BackpressureTimeout, RuntimeData, ServiceError


async def _fill(lab: Lab, bridge: DataBridgeHandle, count: int) -> list[RuntimeData]:
    """Put so many data, none of which has to wait."""
    data = [lab.data.text() for _ in range(count)]
    for datum in data:
        await bridge.put(datum)
    return data


async def _refill(lab: Lab, bridge: DataBridgeHandle, capacity: int, unwanted: set[str]) -> None:
    """Drain what is known to be there, and see that all of the slots are free again."""
    fresh = await _fill(lab, bridge, capacity)
    words = [(await bridge.take()).as_text() for _ in fresh]
    ghosts = unwanted & set(words)
    expect(not ghosts, "a datum that was not accepted never appears", f"{len(ghosts)} of them appeared")
    equal(words, [datum.as_text() for datum in fresh], "what comes out after the refill")


def _puts(nursery: trio.Nursery, bridge: DataBridgeHandle, data: list[RuntimeData]) -> list[Pending[RuntimeData]]:
    return [Pending(nursery, lambda datum=datum: bridge.put(datum)) for datum in data]  # type: ignore[misc]


@check("R-BP-01")
async def check_below_capacity_nobody_waits(lab: Lab) -> None:
    for capacity in (1, 2, 5, 64):
        async with lab.data_bridge(capacity=capacity) as bridge:
            await _fill(lab, bridge, capacity)


@check("R-BP-02")
async def check_the_bound_holds_for_a_burst(lab: Lab) -> None:
    capacity, producers, taken = 4, 16, 0
    for pair in ("native-native", "native-multiprocess"):
        async with lab.data_bridge(pair, capacity=capacity) as bridge, trio.open_nursery() as nursery:
            puts = _puts(nursery, bridge, [lab.data.text() for _ in range(producers)])
            for taken in range(producers):
                await lab.quiet(0.4)
                done = sum(put.done for put in puts)
                expect(
                    done - taken <= capacity,
                    f"completed - taken <= {capacity} at every step ({pair}, {producers} producers)",
                    f"{done} transfers completed, {taken} taken",
                )
                await bridge.take()
    lab.around.note(f"taken {taken + 1}")


@check("R-BP-03")
async def check_a_full_buffer_makes_the_next_wait(lab: Lab) -> None:
    async with lab.data_bridge(capacity=3) as bridge, trio.open_nursery() as nursery:
        data = [*await _fill(lab, bridge, 3), lab.data.text()]
        put = _puts(nursery, bridge, data[3:])[0]
        await lab.quiet(2)
        expect(not put.done, "the fourth transfer into a bridge of capacity 3 waits", put.words())
        for datum in data:
            same(await bridge.take(), datum, "what comes out, in order")
        await put.ended()
        expect(put.returned, "it completes once there is space", put.words())


@check("R-BP-04")
async def check_one_take_admits_one(lab: Lab) -> None:
    async with lab.data_bridge(capacity=2) as bridge, trio.open_nursery() as nursery:
        await _fill(lab, bridge, 2)
        puts = _puts(nursery, bridge, [lab.data.text() for _ in range(5)])
        await lab.quiet()
        for admitted in range(1, 6):
            await bridge.take()
            await lab.until(lambda n=admitted: sum(put.done for put in puts) >= n, "a waiter proceeds after a take")  # type: ignore[misc]
            await lab.quiet()
            equal(sum(put.done for put in puts), admitted, f"waiters admitted by {admitted} takes")


@check("R-BP-05")
async def check_no_wakeup_is_lost(lab: Lab) -> None:
    """A bridge of one slot, two producers and a consumer that meet in every order: a lost wake-up is a hang."""
    rounds = 150
    async with lab.data_bridge(capacity=1) as bridge, trio.open_nursery() as nursery:

        async def producer() -> None:
            for _ in range(rounds):
                await bridge.put(lab.data.text())
                if lab.random.random() < 0.3:
                    await trio.lowlevel.checkpoint()

        nursery.start_soon(producer)
        nursery.start_soon(producer)
        for _ in range(2 * rounds):
            await bridge.take()
            if lab.random.random() < 0.3:
                await trio.lowlevel.checkpoint()


@check("R-BP-06")
async def check_what_goes_in_comes_out(lab: Lab) -> None:
    sent: list[str] = []
    received: list[str] = []
    async with lab.data_bridge(capacity=7) as bridge, trio.open_nursery() as nursery:

        async def producer() -> None:
            for _ in range(200):
                datum = lab.data.text()
                sent.append(datum.as_text())
                await bridge.put(datum)

        async def consumer() -> None:
            for _ in range(400):
                datum = await bridge.take()
                received.append(datum.as_text())

        for _ in range(4):
            nursery.start_soon(producer)
        for _ in range(2):
            nursery.start_soon(consumer)
    _balanced(sent, received)


def _balanced(sent: list[str], received: list[str]) -> None:
    lost, extra = Counter(sent) - Counter(received), Counter(received) - Counter(sent)
    expect(not lost, f"all of {len(sent)} data come out", f"{lost.total()} are lost")
    expect(not extra, "each comes out once", f"{extra.total()} come out again, or from nowhere")


@check("R-BP-07")
async def check_the_timeout(lab: Lab) -> None:
    timeout = 0.2
    async with lab.data_bridge(capacity=1, timeout=timeout) as bridge:
        await _fill(lab, bridge, 1)
        for _ in range(2):
            start = time.monotonic()
            call = bridge.put(lab.data.text())
            error = await raised(
                BackpressureTimeout, call, "put into a full bridge", text="Backpressure timeout after ..."
            )
            took = time.monotonic() - start
            expect(took >= timeout * 0.95, f"not before {timeout} s", f"after {took:.3f} s")
            said: Any = error.timeout
            said = said.total_seconds() if isinstance(said, dt.timedelta) else said
            expect(said == timeout, f"BackpressureTimeout.timeout = {timeout}", described(error.timeout))
        lab.measured["timeout came after, ms"] = round(took * 1000, 1)
        await bridge.take()
        await _fill(lab, bridge, 1)


@check("R-BP-08")
async def check_what_timed_out_never_appears(lab: Lab) -> None:
    async with lab.data_bridge(capacity=2, timeout=0.05) as bridge, trio.open_nursery() as nursery:
        first = await _fill(lab, bridge, 2)
        late = [lab.data.text() for _ in range(4)]
        puts = _puts(nursery, bridge, late)
        for put in puts:
            await put.ended()
            wanted = "put into a full bridge raises BackpressureTimeout"
            expect(isinstance(put.error, BackpressureTimeout), wanted, put.words())
        for datum in first:
            same(await bridge.take(), datum, "what comes out after the timeouts")
        await lab.quiet()
        await _refill(lab, bridge, 2, {datum.as_text() for datum in late})


@check("R-BP-09")
async def check_a_cancelled_waiter_never_was(lab: Lab) -> None:
    async with lab.data_bridge(capacity=2) as bridge, trio.open_nursery() as nursery:
        cancelled: set[str] = set()
        for _ in range(5):
            first = await _fill(lab, bridge, 2)
            late = [lab.data.text() for _ in range(4)]
            puts = _puts(nursery, bridge, late)
            await lab.quiet(0.5)
            for put in puts:
                await put.cancel()
                expect(put.cancelled, "a waiter that is cancelled has not been admitted", put.words())
            cancelled |= {datum.as_text() for datum in late}
            for datum in first:
                same(await bridge.take(), datum, "what comes out after the cancellations")
            await _refill(lab, bridge, 2, cancelled)


@check("R-BP-09")
async def check_a_waiter_cancelled_while_it_is_admitted(lab: Lab) -> None:
    """A take and a cancellation at the same moment: either it is in, and comes out, or its slot is free."""
    for _ in range(20):
        async with lab.data_bridge(capacity=1) as bridge, trio.open_nursery() as nursery:
            await _fill(lab, bridge, 1)
            datum = lab.data.text()
            put = _puts(nursery, bridge, [datum])[0]
            await lab.quiet(0.1)
            nursery.start_soon(bridge.take)
            for _ in range(lab.random.randrange(4)):
                await trio.lowlevel.checkpoint()
            await put.cancel()
            await lab.quiet(0.2)
            if put.returned:
                same(await bridge.take(), datum, "a datum that was accepted")
            await _refill(lab, bridge, 1, {datum.as_text()})


@check("R-BP-09")
async def check_cancelling_at_every_step(lab: Lab) -> None:
    async with lab.data_bridge(capacity=1) as bridge:

        async def after(ended: bool) -> None:
            await lab.quiet(0.1)
            if ended:
                await bridge.take()
            await _refill(lab, bridge, 1, set())

        lab.measured["cancelled at steps"] = await cancelled_at_each_step(lambda: bridge.put(lab.data.text()), after)


@check("R-BP-10")
async def check_a_failed_transfer_takes_no_slot(lab: Lab) -> None:
    async with lab.data_bridge("native-multiprocess", capacity=2) as bridge:
        for _ in range(3):
            for name, datum in lab.data.mislabelled():
                await raised(ServiceError, bridge.put(datum), f"put with {name}")
        await _refill(lab, bridge, 2, set())


@check("R-BP-11")
async def check_the_receipt_is_the_datum(lab: Lab) -> None:
    for pair in ("native-multiprocess", "multiprocess-native", "native-native"):
        async with lab.data_bridge(pair, capacity=4) as bridge:
            for datum in lab.some_data():
                receipt = await bridge.put(datum)
                taken = await bridge.take()
                same(receipt, datum, f"what put returns for {datum.data_type} ({pair})")
                same(taken, datum, f"what take gives for {datum.data_type} ({pair})")


@check("R-BP-12")
async def check_capacities(lab: Lab) -> None:
    async with lab.data_bridge(capacity=1) as bridge:
        for _ in range(3):
            datum = lab.data.text()
            await bridge.put(datum)
            same(await bridge.take(), datum, "what a bridge of capacity 1 gives")
    for capacity in (0, -1):
        await _refused(lab, capacity)


async def _refused(lab: Lab, capacity: int) -> None:
    try:
        async with lab.data_bridge(capacity=capacity):
            pass
    except Failure as failure:
        lab.around.note(f"capacity {capacity}: {failure.actual}")
        return
    except ServiceError:
        return
    raise Failure(f"a DataBridge of capacity {capacity} is refused when it is made", "it was made")


@check("R-BP-13")
async def check_first_come_first_served(lab: Lab) -> None:
    async with lab.data_bridge(capacity=1) as bridge, trio.open_nursery() as nursery:
        await _fill(lab, bridge, 1)
        puts: list[Pending[RuntimeData]] = []
        for _ in range(6):
            puts += _puts(nursery, bridge, [lab.data.text()])
            await lab.quiet(0.3)
        order: list[int] = []
        for turn in range(6):
            await bridge.take()
            await lab.until(lambda n=turn: sum(put.done for put in puts) > n, "a waiter proceeds after a take")  # type: ignore[misc]
            order += [number for number, put in enumerate(puts) if put.done and number not in order]
        equal(order, list(range(6)), "order in which six waiters are admitted")


@check("R-BP-14")
async def check_waiting_costs_no_cpu(lab: Lab) -> None:
    async with lab.data_bridge(capacity=1) as bridge, trio.open_nursery() as nursery:
        await _fill(lab, bridge, 1)
        await lab.quiet()
        idle = await _cpu_share(0.3)
        puts = _puts(nursery, bridge, [lab.data.text() for _ in range(3)])
        await lab.quiet()
        share = await _cpu_share(1.0) - idle
        lab.measured["CPU while three transfers wait, %"] = round(share * 100, 2)
        if share > 0.05 and await _cpu_share(0.5) - idle <= 0.05:
            raise Inconclusive("the CPU time of this process varies too much")
        expect(share <= 0.05, "waiting takes less than 5 % of a core", f"{share:.0%}")
        for put in puts:
            await put.cancel() if lab.claims.cancels else await bridge.take()


async def _cpu_share(seconds: float) -> float:
    start, cpu = time.monotonic(), time.process_time()
    await trio.sleep(seconds)
    return (time.process_time() - cpu) / (time.monotonic() - start)


@check("R-BP-15")
async def check_sustained_load(lab: Lab) -> None:
    capacity, producers, each = 4, 8, 50
    completed, taken = 0, 0
    sent: dict[str, RuntimeData] = {}
    received: list[str] = []
    async with lab.data_bridge("native-multiprocess", capacity=capacity) as bridge, trio.open_nursery() as nursery:

        async def producer() -> None:
            nonlocal completed
            for turn in range(each):
                datum = lab.data.text()
                sent[datum.as_text()] = datum
                await bridge.put(datum)
                completed += 1
                if turn % 7 == 0:
                    await trio.lowlevel.checkpoint()

        for _ in range(producers):
            nursery.start_soon(producer)
        for turn in range(producers * each):
            if turn % 40 == 0:
                await lab.quiet(0.2)
            surplus = completed - taken
            expect(surplus <= capacity, f"completed - taken <= {capacity}", f"{surplus} after {taken} takes")
            datum = await bridge.take()
            taken += 1
            text = datum.as_text()
            expect(text in sent, "a datum that was sent", f"{text!r}")
            same(datum, sent[text], "a datum under load")
            received.append(text)
    _balanced(list(sent), received)


@check("R-BP-16")
async def check_a_blocked_transfer_blocks_nobody_else(lab: Lab) -> None:
    async with (
        lab.data_bridge(capacity=1) as full,
        lab.data_bridge(capacity=1) as other,
        trio.open_nursery() as nursery,
    ):
        await _fill(lab, full, 1)
        put = _puts(nursery, full, [lab.data.text()])[0]
        await lab.quiet()
        beats = 0
        for _ in range(20):
            datum = lab.data.text()
            await other.put(datum)
            same(await other.take(), datum, "another bridge, while this one is full")
            same(await full.transfer(datum), datum, "plain transfer on the full bridge")
            beats += 1
        expect(not put.done and beats == 20, "the blocked transfer still waits", put.words())
        await full.take()
        await put.ended()
