"""R-DB: DataBridge.transfer."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import Any

import numpy as np
import trio

from penstock.conformance.checking import check
from penstock.conformance.expect import NotExercised, equal, expect, raised, same
from penstock.conformance.handles import DataBridgeHandle
from penstock.conformance.lab import Lab
from penstock.conformance.nodes import Affine
from penstock.conformance.reference.native import StandIn
from penstock.executors.contract import ConversionError, ExecutorType, Internal, ServiceError

NATIVE, MULTI, WASM = ExecutorType.NATIVE, ExecutorType.MULTIPROCESS, ExecutorType.WASM
WASM_PAIRS = ("native-wasm", "wasm-native", "multiprocess-wasm", "wasm-multiprocess", "wasm-wasm")


async def _all_types(lab: Lab, bridge: DataBridgeHandle, pair: str) -> None:
    for datum in lab.some_data():
        same(await bridge.transfer(datum), datum, f"{datum.data_type} from {pair.replace('-', ' to ')}")


@check("R-DB-01")
async def check_native_to_multiprocess(lab: Lab) -> None:
    async with lab.data_bridge("native-multiprocess") as bridge:
        await _all_types(lab, bridge, "native-multiprocess")


@check("R-DB-02")
async def check_multiprocess_to_native(lab: Lab) -> None:
    async with lab.data_bridge("multiprocess-native") as bridge:
        await _all_types(lab, bridge, "multiprocess-native")


@check("R-DB-03")
async def check_multiprocess_to_multiprocess(lab: Lab) -> None:
    await _unconverted(lab, "multiprocess-multiprocess")


@check("R-DB-04")
async def check_native_to_native(lab: Lab) -> None:
    await _unconverted(lab, "native-native")


async def _unconverted(lab: Lab, pair: str) -> None:
    async with lab.data_bridge(pair) as bridge, lab.conversions() as conversions:
        await _all_types(lab, bridge, pair)
        expect(
            not conversions, "no conversion between executors of one kind", f"the converter was called: {conversions}"
        )


@check("R-DB-05")
async def check_wasm_is_refused_unless_it_is_claimed(lab: Lab) -> None:
    for pair in WASM_PAIRS:
        async with lab.data_bridge(pair) as bridge:
            if lab.claims.wasm:
                datum = next(lab.some_data())
                same(await bridge.put(datum), datum, f"what put returns from {pair.replace('-', ' to ')}")
                same(await bridge.take(), datum, f"what comes out, from {pair.replace('-', ' to ')}")
                continue
            for call in (bridge.transfer, bridge.put):
                what = f"transfer from {pair.replace('-', ' to ')}"
                await raised(Internal, call(next(lab.some_data())), what, text="Unsupported executor combination")


@check("R-DB-06")
async def check_wasm_transfers(lab: Lab) -> None:
    for pair in WASM_PAIRS:
        async with lab.data_bridge(pair) as bridge:
            await _all_types(lab, bridge, pair)


@check("R-DB-07")
async def check_a_refused_transfer_leaves_nothing(lab: Lab) -> None:
    pair = "native-multiprocess" if lab.claims.wasm else "native-wasm"
    data = [datum for _, datum in lab.data.mislabelled()] if lab.claims.wasm else [*lab.some_data()]
    async with lab.data_bridge(pair, capacity=2) as bridge:
        before = await lab.ledger()
        start = (await bridge.get_stats()).all()
        refused = 0
        for datum in data:
            for call in (bridge.transfer, bridge.put):
                with contextlib.suppress(ServiceError):
                    await call(datum)
                    refused -= 1
                refused += 1
        if refused < 2 * len(data):
            raise NotExercised("the data that should be refused were not")
        equal((await bridge.get_stats()).all(), start, "statistics after refused transfers")
        await lab.nothing_left(before, "memory", "descriptor", "process")
        await bridge.close()
        equal(len(await bridge.take_all()), 0, "number of refused data in the buffer")


class _Asked(StandIn):
    """A stand-in that notes when it is asked for its type."""

    def __init__(self, executor_type: ExecutorType, asked: set[str], name: str) -> None:
        self._kind, self._asked, self._name = executor_type, asked, name

    @property
    def executor_type(self) -> ExecutorType:  # type: ignore[override]
        self._asked.add(self._name)
        return self._kind


@check("R-DB-08")
async def check_types_are_asked(lab: Lab) -> None:
    asked: set[str] = set()
    ends = (_Asked(NATIVE, asked, "source"), _Asked(MULTI, asked, "target"))
    async with lab.data_bridge(ends=ends) as bridge:
        datum = next(lab.some_data())
        same(await bridge.transfer(datum), datum, "the transferred datum")
    expect(
        asked == {"source", "target"}, "both bridges are asked for executor_type", f"asked: {sorted(asked) or 'none'}"
    )


@check("R-DB-08")
async def check_types_are_heeded(lab: Lab) -> None:
    """The same classes with other types: what is converted, or refused, changes with the types alone."""
    if not lab.claims.wasm:
        async with lab.data_bridge(ends=(_Asked(NATIVE, set(), ""), _Asked(WASM, set(), ""))) as bridge:
            text = "Unsupported executor combination"
            await raised(
                Internal, bridge.transfer(next(lab.some_data())), "transfer to a bridge that is WASM", text=text
            )
    ends = (_Asked(NATIVE, set(), ""), _Asked(NATIVE, set(), ""))
    async with lab.data_bridge(ends=ends) as bridge, lab.conversions() as conversions:
        await bridge.transfer(lab.data.one(lab.data_types()[0]))
        expect(not conversions, "no conversion between two bridges that say Native", f"{conversions}")


@check("R-DB-09")
async def check_a_conversion_error_keeps_its_cause(lab: Lab) -> None:
    async with lab.data_bridge("native-multiprocess") as bridge:
        for name, datum in lab.data.mislabelled():
            for call in (bridge.transfer, bridge.put):
                text = "Data conversion failed: ..."
                error = await raised(ServiceError, call(datum), f"transfer with {name}", text=text)
                cause = error.__cause__
                expect(isinstance(cause, ConversionError), "the ConversionError as __cause__", repr(cause))
            await _all_types(lab, bridge, "native-multiprocess")


@check("R-DB-10")
async def check_there_and_back_through_real_nodes(lab: Lab) -> None:
    async with (
        lab.bridge(NATIVE) as native,
        lab.bridge(MULTI) as multi,
        lab.data_bridge(ends=(native.raw, multi.raw)) as there,
        lab.data_bridge(ends=(multi.raw, native.raw)) as back,
    ):
        here, away = await lab.node(native, "affine"), await lab.node(multi, "affine")
        for datum in [*lab.some_data(), *_sizes(lab)]:
            expected = Affine().process(Affine().process(datum))
            moved = await away(await there.transfer(await here(datum)))
            same(await back.transfer(moved), expected, f"affine of affine of {datum}")


def _sizes(lab: Lab) -> list[Any]:
    if "tensor" not in lab.claims.data_types:
        return []
    sizes = [size for size in (0, 1, 16_385, 16 << 20) if size <= (lab.claims.max_payload or size)]
    return [lab.data.tensor(np.arange(size, dtype=np.uint32).astype("u1")) for size in sizes]


@check("R-DB-11")
async def check_each_producers_order(lab: Lab) -> None:
    async with lab.data_bridge(capacity=4) as bridge:

        async def producer(number: int) -> None:
            for turn in range(40):
                if turn % 3 or "tensor" not in lab.claims.data_types:
                    await bridge.put(lab.data.json([number, turn]))
                else:
                    await bridge.put(lab.data.tensor(np.array([number, turn])))

        seen: dict[int, list[int]] = defaultdict(list)
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(producer, number)
            for _ in range(160):
                datum = await bridge.take()
                number, turn = datum.as_tensor() if datum.dtype is not None else datum.as_json()
                seen[int(number)].append(int(turn))
        for number, turns in seen.items():
            equal(turns, sorted(turns), f"order in which the data of producer {number} come out")


@check("R-DB-11")
async def check_the_order_of_what_is_buffered(lab: Lab) -> None:
    async with lab.data_bridge("native-multiprocess", capacity=12) as bridge:
        data = [lab.data.one(lab.data_types()[number % len(lab.data_types())]) for number in range(12)]
        for datum in data:
            await bridge.put(datum)
        for number, datum in enumerate(data):
            same(await bridge.take(), datum, f"datum {number} of 12 from one producer")


@check("R-DB-12")
async def check_two_bridges_share_nothing(lab: Lab) -> None:
    async with lab.data_bridge(capacity=2) as one, lab.data_bridge(capacity=2) as other:
        datum = lab.data.text()
        await one.put(datum)
        await one.put(lab.data.text())
        equal((await other.get_stats()).all()["total_transfers"], 0, "transfers counted by the other bridge")
        await other.put(lab.data.text("mine"))
        equal((await other.take()).as_text(), "mine", "what the other bridge gives")
        same(await one.take(), datum, "what the one bridge gives")
        await other.close()
        equal((await one.get_stats()).transfers, 2, "transfers counted by the one bridge")
        same(await one.transfer(datum), datum, "transfer after the other bridge was closed")
