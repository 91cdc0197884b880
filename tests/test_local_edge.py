"""An edge inside the engine's process: what need not wait is no schedule point each time, and others get their turn."""

import pytest
import trio

from penstock.engine.local_edge import LocalEdge
from penstock.executors.contract import EndOfStream, RuntimeData
from penstock.shm.ring import Policy

DATA = [RuntimeData.json(n) for n in range(320)]


def edge(policy=Policy.BLOCK, capacity=1000):
    return LocalEdge("a -> b", capacity, 1 << 20, None, policy)


async def turns_during(work):
    """How often another task has its turn; it may come before or behind us in trio's order, so one may be missing."""
    turns = 0

    async def other():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await trio.lowlevel.checkpoint()
        turns = 0
        await work()
        nursery.cancel_scope.cancel()
        return turns


async def test_who_never_waits_lets_others_run():
    """At least once in 32 sends, and in 32 receives; and sending is not a schedule point each time."""
    local = edge()

    async def send():
        for data in DATA:
            await local.send(data)

    async def receive():
        for _ in DATA:
            await local.receive()
            local.acknowledge()

    assert await turns_during(send) >= len(DATA) // 32 - 1
    assert await turns_during(receive) >= len(DATA) // 32 - 1


async def test_a_long_step_between_two_calls_counts():
    """Whoever works for more than 100 us between its calls lets others run at each."""
    local = edge()

    async def send():
        for data in DATA[:20]:
            end = trio.current_time() + 0.0002
            while trio.current_time() < end:
                pass
            await local.send(data)

    assert await turns_during(send) >= 20 - 1


@pytest.mark.parametrize("policy", [Policy.DROP_OLDEST, Policy.DROP_NEWEST, Policy.ERROR])
async def test_where_data_may_be_dropped_each_send_lets_others_run(policy):
    """A reader that keeps up gets its turn before the edge is full."""
    local = edge(policy)

    async def send():
        for data in DATA:
            await local.send(data)

    assert await turns_during(send) >= len(DATA) - 1


@pytest.mark.parametrize("policy", [Policy.BLOCK, Policy.DROP_NEWEST])
async def test_a_cancelled_call_has_done_nothing(policy):
    """`Cancelled` comes out of the next call, whether it would have to wait or not; nothing is sent or taken by it."""
    local = edge(policy)
    await local.send(DATA[0])
    with trio.CancelScope() as sending:
        sending.cancel()
        await local.send(DATA[1])
    with trio.CancelScope() as receiving:
        receiving.cancel()
        await local.receive()
    assert sending.cancelled_caught
    assert receiving.cancelled_caught
    assert (local.statistics().sent, local.statistics().in_flight) == (1, 1)
    assert (await local.receive()).as_json() == 0


async def test_who_waits_is_woken():
    """A reader of an empty edge by a datum, a writer of a full one by an acknowledgement, a reader by the end."""
    local = edge(capacity=1)
    kept = []

    async def read():
        with pytest.raises(EndOfStream):
            while True:
                kept.append((await local.receive()).as_json())
                local.acknowledge()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for data in DATA[:50]:
            await local.send(data)
        local.end()
    assert kept == list(range(50))
