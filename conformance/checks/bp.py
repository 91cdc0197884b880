"""R-BP: backpressure. What is in the buffer is what was completed and not yet taken: no look inside is needed."""

from __future__ import annotations

import time
from collections import Counter

import trio

from penstock.conformance.buffers import fill, put_all
from penstock.conformance.checking import check
from penstock.conformance.expect import Failure, Inconclusive, NotApplicable, equal, expect, same
from penstock.conformance.lab import Lab
from penstock.conformance.pending import Pending, cancelled_at
from penstock.executors.contract import RuntimeData, ServiceError


@check("R-BP-01")
async def check_below_capacity_nobody_waits(lab: Lab) -> None:
    for capacity in (1, 2, 5, 64):
        async with lab.data_bridge(capacity=capacity) as bridge:
            for _ in range(3):
                await bridge.transfer(lab.data.text())  # not buffered: it takes no slot
            await fill(lab, bridge, capacity)


@check("R-BP-02")
async def check_the_bound_holds_for_a_burst(lab: Lab) -> None:
    capacity, producers, taken = 4, 16, 0
    for pair in ("native-native", "native-multiprocess"):
        async with lab.data_bridge(pair, capacity=capacity) as bridge, trio.open_nursery() as nursery:
            puts = put_all(nursery, bridge, [lab.data.text() for _ in range(producers)])
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
        data = [*await fill(lab, bridge, 3), lab.data.text()]
        put = put_all(nursery, bridge, data[3:])[0]
        await lab.quiet(2)
        expect(not put.done, "the fourth transfer into a bridge of capacity 3 waits", put.words())
        for datum in data:
            same(await bridge.take(), datum, "what comes out, in order")
        await put.ended()
        expect(put.returned, "it completes once there is space", put.words())


@check("R-BP-04")
async def check_one_take_admits_one(lab: Lab) -> None:
    async with lab.data_bridge(capacity=2) as bridge, trio.open_nursery() as nursery:
        await fill(lab, bridge, 2)
        puts = put_all(nursery, bridge, [lab.data.text() for _ in range(5)])
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
            for turn in range(200):
                datum = lab.data.text()
                sent.append(datum.as_text())
                await bridge.put(datum)
                if turn % 20 == 0:
                    await bridge.transfer(lab.data.text())  # not buffered: it does not come out

        async def consumer() -> None:
            for _ in range(400):
                datum = await bridge.take()
                received.append(datum.as_text())

        for _ in range(4):
            nursery.start_soon(producer)
        for _ in range(2):
            nursery.start_soon(consumer)
    _balanced(sent, received)


@check("R-BP-06")
async def check_a_cancelled_take_loses_nothing(lab: Lab) -> None:
    """Who waits for a datum is cancelled at each of its steps, also after the datum is there: it comes to the next."""
    if not lab.claims.cancels:
        raise NotApplicable("calls can not be cancelled")
    sent: list[str] = []
    received: list[str] = []
    async with lab.data_bridge(capacity=40) as bridge:

        async def take() -> None:
            received.append((await bridge.take()).as_text())

        for turn in range(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancelled_at, take, 1 + turn % 6)
                await lab.quiet(0.02)
                sent.append(lab.data.nonce())
                await bridge.put(lab.data.text(sent[-1]))
                await lab.quiet(0.02)
                nursery.cancel_scope.cancel()
        await bridge.close()
        received += [datum.as_text() for datum in await bridge.take_all()]
    _balanced(sent, received)


def _balanced(sent: list[str], received: list[str]) -> None:
    lost, extra = Counter(sent) - Counter(received), Counter(received) - Counter(sent)
    expect(not lost, f"all of {len(sent)} data come out", f"{lost.total()} are lost")
    expect(not extra, "each comes out once", f"{extra.total()} come out again, or from nowhere")


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
        await fill(lab, bridge, 1)
        puts: list[Pending[RuntimeData]] = []
        for _ in range(6):
            puts += put_all(nursery, bridge, [lab.data.text()])
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
        await fill(lab, bridge, 1)
        await lab.quiet()
        idle = await _cpu_share(0.3)
        puts = put_all(nursery, bridge, [lab.data.text() for _ in range(3)])
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
        await fill(lab, full, 1)
        put = put_all(nursery, full, [lab.data.text()])[0]
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
