"""Filling the buffer of a DataBridge, and seeing that it is as large as it was."""

from __future__ import annotations

import trio

from penstock.conformance.expect import equal, expect
from penstock.conformance.handles import DataBridgeHandle
from penstock.conformance.lab import Lab
from penstock.conformance.pending import Pending
from penstock.executors.contract import RuntimeData

__all__ = ["fill", "put_all", "refill"]


async def fill(lab: Lab, bridge: DataBridgeHandle, count: int) -> list[RuntimeData]:
    """Put so many data, none of which has to wait."""
    data = [lab.data.text() for _ in range(count)]
    for datum in data:
        await bridge.put(datum)
    return data


async def refill(lab: Lab, bridge: DataBridgeHandle, capacity: int, unwanted: set[str]) -> None:
    """See that all of the slots are free again, and no more than there were."""
    fresh = await fill(lab, bridge, capacity)
    async with trio.open_nursery() as nursery:
        fresh.append(lab.data.text())
        put = put_all(nursery, bridge, fresh[-1:])[0]
        await lab.quiet(0.2)
        expect(not put.done, f"a transfer beyond capacity {capacity} waits, as before", put.words())
        words = [(await bridge.take()).as_text()]
        await put.ended()
        words += [(await bridge.take()).as_text() for _ in fresh[1:]]
    ghosts = unwanted & set(words)
    expect(not ghosts, "a datum that was not accepted never appears", f"{len(ghosts)} of them appeared")
    equal(words, [datum.as_text() for datum in fresh], "what comes out after the refill")


def put_all(nursery: trio.Nursery, bridge: DataBridgeHandle, data: list[RuntimeData]) -> list[Pending[RuntimeData]]:
    return [Pending(nursery, lambda datum=datum: bridge.put(datum)) for datum in data]  # type: ignore[misc]
