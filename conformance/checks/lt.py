"""R-LT: latency, measured and reported; judged only where the machine is quiet enough."""

from __future__ import annotations

from typing import Any

from penstock.conformance.adapter import Profile
from penstock.conformance.checking import check
from penstock.conformance.expect import Inconclusive, NotApplicable, expect
from penstock.conformance.lab import Lab
from penstock.conformance.latency import Block, block, yardstick
from penstock.executors.contract import ExecutorType

SIZES = {4096: 200, 65536: 200, 1 << 20: 200, 16 << 20: 24}
BLOCKS, WARM = 3, 50
BUDGET_MS = 2.0


async def _best(call: Any, count: int) -> Block:
    """The block with the best p95."""
    return min([await block(call, count) for _ in range(BLOCKS)], key=lambda one: one["p95"])


@check("R-LT-01", budget_s=60)
async def check_the_overhead_is_measured(lab: Lab) -> None:
    if not lab.claimed(Profile.CONVERTER):
        raise NotApplicable("profile converter is not claimed")
    rows: list[dict[str, Any]] = []
    async with lab.converter() as converter:
        for nbytes, count in SIZES.items():
            datum = lab.data.tensor(lab.data.floats(nbytes // 4))

            async def call(datum: Any = datum) -> None:
                await converter.from_ipc(await converter.to_ipc(datum))

            await block(call, min(WARM, count))
            each = max(count, 200 // BLOCKS) if nbytes < 16 << 20 else count
            best = await _best(call, each)
            rows.append({"bytes": nbytes, "n": BLOCKS * each, **best, "yardstick_p50": yardstick(nbytes, 20)["p50"]})
    lab.measured["conversion, us"] = rows


@check("R-LT-02")
async def check_the_target_of_two_milliseconds(lab: Lab) -> None:
    if not lab.claimed(Profile.CONVERTER):
        raise NotApplicable("profile converter is not claimed")
    async with lab.converter() as converter:
        datum = lab.data.audio(1024)

        async def call() -> None:
            await converter.from_ipc(await converter.to_ipc(datum))

        await block(call, WARM)
        best = await _best(call, 200)
        noise = yardstick(4096, 200)
    lab.measured["to_ipc + from_ipc of 1024 f32, us"] = best
    budget_ms = lab.settings.latency_budget_ms or BUDGET_MS
    if best["p95"] > budget_ms * 1000:
        noisy = noise["p95"] > 5 * max(noise["p50"], 1) or lab.settings.scale > 1.5
        if noisy and lab.settings.latency_budget_ms is None:
            raise Inconclusive(f"p95 {best['p95'] / 1000:.2f} ms on a machine that is too busy to judge")
        expect(False, f"p95 below {budget_ms:g} ms", f"p95 {best['p95'] / 1000:.2f} ms")


@check("R-LT-03")
async def check_the_hop_is_measured(lab: Lab) -> None:
    if not lab.has_processes:
        raise NotApplicable("profile multiprocess is not claimed")
    rows: list[dict[str, Any]] = []
    async with lab.bridge(ExecutorType.MULTIPROCESS) as bridge:
        node = await lab.node(bridge, "echo")
        for nbytes, count in {4096: 100, 1 << 20: 40}.items():
            name = "tensor" if "tensor" in lab.claims.data_types else "text"
            datum = lab.data.tensor(lab.data.floats(nbytes // 4)) if name == "tensor" else lab.data.text("x" * nbytes)

            async def call(datum: Any = datum) -> None:
                await node(datum)

            await block(call, 20)
            rows.append({"bytes": nbytes, "n": BLOCKS * count, **await _best(call, count)})
    lab.measured["hop to a worker and back, us"] = rows
