"""R-BP: transfers that are not admitted: timed out, cancelled, failed. Nothing of them stays, and no slot is lost."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import trio

from penstock.conformance.buffers import fill, put_all, refill
from penstock.conformance.checking import check
from penstock.conformance.expect import described, expect, raised, same
from penstock.conformance.lab import Lab
from penstock.conformance.pending import cancelled_at_each_step
from penstock.executors.contract import BackpressureTimeout, ServiceError


@check("R-BP-07")
async def check_the_timeout(lab: Lab) -> None:
    timeout, latest = 0.2, 0.2 + 0.5 * lab.settings.scale
    async with lab.data_bridge(capacity=1, timeout=timeout) as bridge:
        await fill(lab, bridge, 1)
        fastest = took = lab.liveness_s
        for turn in range(8):
            if turn > 1 and fastest <= latest:
                break
            start = time.monotonic()
            call = bridge.put(lab.data.text())
            error = await raised(
                BackpressureTimeout, call, "put into a full bridge", text="Backpressure timeout after ..."
            )
            took = time.monotonic() - start
            fastest = min(took, fastest)
            expect(took >= timeout * 0.95, f"not before {timeout} s", f"after {took:.3f} s")
            said: Any = error.timeout
            said = said.total_seconds() if isinstance(said, dt.timedelta) else said
            expect(said == timeout, f"BackpressureTimeout.timeout = {timeout}", described(error.timeout))
        expect(fastest <= latest, f"within {latest:.2f} s, once in eight times", f"the fastest after {fastest:.3f} s")
        lab.measured["timeout came after, ms"] = round(took * 1000, 1)
        await bridge.take()
        await fill(lab, bridge, 1)


@check("R-BP-08")
async def check_what_timed_out_never_appears(lab: Lab) -> None:
    async with lab.data_bridge(capacity=2, timeout=0.05) as bridge, trio.open_nursery() as nursery:
        first = await fill(lab, bridge, 2)
        late = [lab.data.text() for _ in range(4)]
        puts = put_all(nursery, bridge, late)
        for put in puts:
            await put.ended()
            wanted = "put into a full bridge raises BackpressureTimeout"
            expect(isinstance(put.error, BackpressureTimeout), wanted, put.words())
        for datum in first:
            same(await bridge.take(), datum, "what comes out after the timeouts")
        await lab.quiet()
        await refill(lab, bridge, 2, {datum.as_text() for datum in late})


@check("R-BP-09")
async def check_a_cancelled_waiter_never_was(lab: Lab) -> None:
    async with lab.data_bridge(capacity=2) as bridge, trio.open_nursery() as nursery:
        cancelled: set[str] = set()
        for _ in range(5):
            first = await fill(lab, bridge, 2)
            late = [lab.data.text() for _ in range(4)]
            puts = put_all(nursery, bridge, late)
            await lab.quiet(0.5)
            for put in puts:
                await put.cancel()
                expect(put.cancelled, "a waiter that is cancelled has not been admitted", put.words())
            cancelled |= {datum.as_text() for datum in late}
            for datum in first:
                same(await bridge.take(), datum, "what comes out after the cancellations")
            await refill(lab, bridge, 2, cancelled)


@check("R-BP-09")
async def check_a_waiter_cancelled_while_it_is_admitted(lab: Lab) -> None:
    """A take and a cancellation at the same moment: either it is in, and comes out, or its slot is free."""
    for _ in range(20):
        async with lab.data_bridge(capacity=1) as bridge, trio.open_nursery() as nursery:
            await fill(lab, bridge, 1)
            datum = lab.data.text()
            put = put_all(nursery, bridge, [datum])[0]
            await lab.quiet(0.1)
            nursery.start_soon(bridge.take)
            for _ in range(lab.random.randrange(4)):
                await trio.lowlevel.checkpoint()
            await put.cancel()
            await lab.quiet(0.2)
            if put.returned:
                same(await bridge.take(), datum, "a datum that was accepted")
            await refill(lab, bridge, 1, {datum.as_text()})


@check("R-BP-09")
async def check_cancelling_at_every_step(lab: Lab) -> None:
    async with lab.data_bridge(capacity=1) as bridge:

        async def after(ended: bool) -> None:
            await lab.quiet(0.1)
            if ended:
                await bridge.take()
            await refill(lab, bridge, 1, set())

        lab.measured["cancelled at steps"] = await cancelled_at_each_step(lambda: bridge.put(lab.data.text()), after)


@check("R-BP-10")
async def check_a_failed_transfer_takes_no_slot(lab: Lab) -> None:
    async with lab.data_bridge("native-multiprocess", capacity=2) as bridge:
        for _ in range(3):
            for name, datum in lab.data.mislabelled():
                await raised(ServiceError, bridge.put(datum), f"put with {name}")
        await refill(lab, bridge, 2, set())
