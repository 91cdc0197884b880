"""R-MT: metrics."""

from __future__ import annotations

import time
from typing import Any

import trio

from penstock.conformance.adapter import Profile
from penstock.conformance.checking import Across, check
from penstock.conformance.expect import Failure, NotApplicable, described, equal, expect, raised
from penstock.conformance.handles import DataBridgeHandle, Handle, Stats
from penstock.conformance.lab import Lab
from penstock.conformance.pending import Pending
from penstock.executors.contract import NodeExecution, ServiceError

EACH = Across.EACH_KIND


def _need_data_bridge(lab: Lab) -> None:
    if not lab.claimed(Profile.DATABRIDGE):
        raise NotApplicable("profile databridge is not claimed")


@check("R-MT-01", EACH)
async def check_executions_are_counted(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        equal((await bridge.get_stats()).executions, 0, "total_executions of a fresh bridge")
        nodes = [await lab.node(bridge, name) for name in ("counter", "counter", "affine")]
        for turn in range(5):
            for node in nodes:
                await node(lab.data.json())
            equal((await bridge.get_stats()).executions, 3 * (turn + 1), "total_executions over three nodes")
        await nodes[0].cleanup()
        equal((await bridge.get_stats()).executions, 15, "total_executions after a cleanup")


@check("R-MT-02", EACH)
async def check_failures_are_not_counted(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        failing, fine = await lab.node(bridge, "fail"), await lab.node(bridge, "affine")
        for _ in range(3):
            await raised(NodeExecution, failing(lab.data.json()), "execute of a node that raises")
        await raised(
            ServiceError, bridge.execute("no node", "NoSuchNode", lab.data.json()), "execute of an unknown type"
        )
        equal((await bridge.get_stats()).executions, 0, "total_executions after failed calls")
        await fine(lab.data.json())
        equal((await bridge.get_stats()).executions, 1, "total_executions after one good call")


@check("R-MT-03")
async def check_transfers_are_counted(lab: Lab) -> None:
    _need_data_bridge(lab)
    for pair in ("native-multiprocess", "native-native", "multiprocess-multiprocess"):
        async with lab.data_bridge(pair) as bridge:
            for number in range(1, 4):
                await bridge.transfer(lab.data.text())
                equal((await bridge.get_stats()).transfers, number, f"total_transfers ({pair})")
            await bridge.put(lab.data.text())
            equal((await bridge.get_stats()).transfers, 4, f"total_transfers after a buffered one ({pair})")
    async with lab.data_bridge("native-multiprocess") as bridge:
        for name, datum in lab.data.mislabelled():
            await raised(ServiceError, bridge.transfer(datum), f"transfer with {name}")
        equal((await bridge.get_stats()).transfers, 0, "total_transfers after failed ones")


@check("R-MT-04")
async def check_bytes_are_counted(lab: Lab) -> None:
    _need_data_bridge(lab)
    for pair in ("native-multiprocess", "native-native"):
        async with lab.data_bridge(pair) as bridge:
            total = 0
            data = [lab.data.text(""), lab.data.text("漢字é"), lab.data.text("x" * 4096), *lab.some_data()]
            if "tensor" in lab.claims.data_types:
                data.append(lab.data.tensor(lab.data.floats(1 << 18)))
            for datum in data:
                total += datum.nbytes
                await bridge.transfer(datum)
                equal((await bridge.get_stats()).bytes, total, f"total_bytes after {datum} ({pair})")
            buffered = lab.data.text("x" * 777)
            await bridge.put(buffered)
            equal((await bridge.get_stats()).bytes, total + 777, f"total_bytes after a buffered {buffered} ({pair})")


@check("R-MT-05")
async def check_the_average(lab: Lab) -> None:
    _need_data_bridge(lab)
    async with lab.data_bridge() as bridge:
        equal((await bridge.get_stats()).average_us, 0, "average latency without transfers")
        spent = await _spend(lab, bridge, 40)
        average = (await bridge.get_stats()).average_us
        expect(
            0 <= average * 40 <= spent, f"average x 40 transfers <= {spent:.0f} us, all that they took", f"{average} us"
        )


async def _spend(lab: Lab, bridge: DataBridgeHandle, count: int) -> float:
    """Transfer so many data, a large one among them; the microseconds that it took."""
    spent = 0.0
    for number in range(count):
        datum = lab.data.one("tensor" if "tensor" in lab.claims.data_types else "text")
        if number == 3 and datum.dtype is not None:
            datum = lab.data.tensor(lab.data.floats(min(lab.claims.max_payload or 1 << 24, 1 << 24) // 4))
        start = time.perf_counter_ns()
        await bridge.transfer(datum)
        spent += (time.perf_counter_ns() - start) / 1000
    return spent


@check("R-MT-06", EACH)
async def check_no_execution_is_lost(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        nodes = [await lab.node(bridge, "counter") for _ in range(2)]

        async def caller(number: int) -> None:
            for _ in range(25):
                await nodes[number % 2].ask()

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(caller, number)
        equal((await bridge.get_stats()).executions, 200, "total_executions after 200 concurrent calls")


@check("R-MT-06")
async def check_no_transfer_is_lost(lab: Lab) -> None:
    _need_data_bridge(lab)
    async with lab.data_bridge() as bridge:

        async def caller() -> None:
            for _ in range(100):
                await bridge.transfer(lab.data.text("12345678"))

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(caller)
        stats = await bridge.get_stats()
        equal(stats.transfers, 800, "total_transfers after 800 concurrent ones")
        equal(stats.bytes, 6400, "total_bytes after 800 concurrent transfers of 8 bytes")


@check("R-MT-07", EACH)
async def check_snapshots_of_executions(lab: Lab) -> None:
    async with lab.bridge() as bridge, trio.open_nursery() as nursery:
        node = await lab.node(bridge, "counter")

        async def caller() -> None:
            for _ in range(40):
                await node.ask()

        for _ in range(3):
            nursery.start_soon(caller)
        last, since = 0, trio.current_time()
        while last < 120:
            stats = await bridge.get_stats()
            now = stats.executions
            expect(now >= last, "total_executions never falls", f"{now} after {last}")
            expect(now <= 120, "no more executions than there were calls", f"{now} of 120")
            last = now
            await _pause(lab, since, last, 120)


async def _pause(lab: Lab, since: float, count: int, goal: int) -> None:
    await trio.lowlevel.checkpoint()
    if count < goal and trio.current_time() - since > lab.liveness_s:
        raise Failure(f"{goal} successes are counted", f"{count} are, and no more come")


@check("R-MT-07")
async def check_snapshots_of_transfers(lab: Lab) -> None:
    _need_data_bridge(lab)
    async with lab.data_bridge() as bridge, trio.open_nursery() as nursery:

        async def caller() -> None:
            for _ in range(100):
                await bridge.transfer(lab.data.text("12345678"))

        for _ in range(4):
            nursery.start_soon(caller)
        last, since = 0, trio.current_time()
        while last < 400:
            stats = await bridge.get_stats()
            now = stats.transfers
            expect(now >= last, "total_transfers never falls", f"{now} after {last}")
            equal(stats.bytes, 8 * now, f"total_bytes in the same snapshot as {now} transfers of 8 bytes")
            last = now
            await _pause(lab, since, last, 400)


@check("R-MT-08")
async def check_the_unit_is_the_microsecond(lab: Lab) -> None:
    _need_data_bridge(lab)
    lab.need_type("tensor")
    async with lab.data_bridge() as bridge:
        walls: list[float] = []
        for _ in range(8):
            datum = lab.data.tensor(lab.data.floats(1 << 20))
            start = time.perf_counter_ns()
            await bridge.transfer(datum)
            walls.append((time.perf_counter_ns() - start) / 1000)
        average, wall = (await bridge.get_stats()).average_us, sum(walls) / len(walls)
        least = min(walls) / 100  # a conversion of 4 MiB is most of it; in milliseconds it would be a thousandth
        lab.measured["average said / measured, us"] = f"{average} / {wall:.0f}"
        expect(least < average <= wall, f"{least:.0f} < average <= {wall:.0f} us for transfers of 4 MiB", f"{average}")


@check("R-MT-09", EACH)
async def check_each_nodes_figures(lab: Lab) -> None:
    async with lab.bridge() as bridge:
        nodes = [await lab.node(bridge, "counter"), await lab.node(bridge, "slow")]
        for _ in range(3):
            await nodes[0].ask()
        await nodes[1].ask({"ms": 5})
        per_node: Any = getattr((await bridge.get_stats()).raw, "per_node", None)
        wanted = "get_stats().per_node, by node id"
        expect(
            hasattr(per_node, "__getitem__") and all(node.id in per_node for node in nodes), wanted, described(per_node)
        )
        counts = [getattr(per_node[node.id], "executions", None) for node in nodes]
        equal(counts, [3, 1], "executions of each node")
        spent = getattr(per_node[nodes[1].id], "total_time_us", None)
        expect(isinstance(spent, int) and spent >= 4900, "total_time_us of a call of 5 ms", described(spent))


@check("R-MT-10", EACH)
async def check_statistics_during_a_call(lab: Lab) -> None:
    async with lab.bridge() as bridge, trio.open_nursery() as nursery:
        held = await lab.held(bridge)
        call = Pending(nursery, held.node.ask)
        await held.entered()
        await _read_at_once(bridge)
        held.release()
        await call.ended()
        await _read_at_once(bridge)


@check("R-MT-10")
async def check_statistics_while_transfers_wait(lab: Lab) -> None:
    _need_data_bridge(lab)
    async with lab.data_bridge(capacity=1) as bridge, trio.open_nursery() as nursery:
        await bridge.put(lab.data.text())
        put = Pending(nursery, lambda: bridge.put(lab.data.text()))
        await lab.quiet()
        await _read_at_once(bridge)
        await bridge.take()
        await put.ended()


async def _read_at_once(handle: Handle) -> None:
    for _ in range(20):
        Stats((await handle.get_stats()).raw).all()


@check("R-MT-11", EACH)
async def check_bridges_share_no_counter(lab: Lab) -> None:
    async with lab.bridge() as one, lab.bridge() as other:
        node = await lab.node(one, "counter")
        for _ in range(3):
            await node.ask()
        equal((await other.get_stats()).executions, 0, "total_executions of another bridge")
        equal((await one.get_stats()).executions, 3, "total_executions")


@check("R-MT-11")
async def check_data_bridges_share_no_counter(lab: Lab) -> None:
    _need_data_bridge(lab)
    async with lab.data_bridge() as one, lab.data_bridge() as other:
        await one.transfer(lab.data.text())
        equal((await other.get_stats()).transfers, 0, "total_transfers of another bridge")
        equal((await one.get_stats()).transfers, 1, "total_transfers")
