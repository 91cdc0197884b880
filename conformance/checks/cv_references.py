"""R-CV: references to shared memory: what they redeem, how often, and for how long."""

from __future__ import annotations

import dataclasses
from typing import Any

import trio

from penstock.conformance.checking import check
from penstock.conformance.expect import Failure, NotExercised, described, expect, raised, same
from penstock.conformance.lab import Lab
from penstock.executors.contract import (
    BridgeClosed,
    ConversionError,
    RuntimeData,
)


@check("R-CV-13")
async def check_references_are_redeemed_by_id(lab: Lab) -> None:
    async with lab.converter() as converter:
        for make in (lab.data.audio, lab.data.tensor):
            data = [make() for _ in range(8)]
            sent = [await converter.to_ipc(datum) for datum in data]
            order = list(range(8))[::-1] if make is lab.data.audio else lab.random.sample(range(8), 8)
            for number in order:
                same(await converter.from_ipc(sent[number]), data[number], f"what reference {number} of 8 redeems")


@check("R-CV-14")
async def check_concurrent_round_trips(lab: Lab) -> None:
    async with lab.converter() as converter:

        async def worker(number: int) -> None:
            for turn in range(50):
                datum = lab.data.audio(64 + number) if turn % 2 else lab.data.tensor(lab.data.floats(7 + turn))
                sent = await converter.to_ipc(datum)
                await trio.lowlevel.checkpoint()
                same(await converter.from_ipc(sent), datum, "a datum among concurrent round trips")

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(worker, number)


@check("R-CV-15")
async def check_sessions_are_isolated(lab: Lab) -> None:
    session = f"{lab.session}-other"
    async with lab.converter() as mine, lab.converter(session) as other:
        decoys = []
        for _ in range(3):
            decoy = lab.data.audio()
            decoy.session_id = session
            decoys.append(await other.to_ipc(decoy))
        for make in (lab.data.audio, lab.data.tensor):
            sent = await mine.to_ipc(make())
            await raised(ConversionError, other.from_ipc(sent), "redeeming another session's reference")


@check("R-CV-19")
async def check_a_stale_reference(lab: Lab) -> None:
    async with lab.converter() as converter:
        sent = [await converter.to_ipc(make()) for make in (lab.data.audio, lab.data.tensor)]
    for message_ in sent:
        try:
            back = await converter.from_ipc(message_)
        except (ConversionError, BridgeClosed):
            continue
        raise Failure("redeeming after aclose raises ConversionError", f"it returned {described(back)}")


@check("R-CV-19")
async def check_a_forged_reference(lab: Lab) -> None:
    async with lab.converter() as converter:
        sent = await converter.to_ipc(lab.data.audio())
        forged = _forged(sent, lab.random.getrandbits(40) + (1 << 40))
        if not forged:
            raise NotExercised(f"a {type(sent).__name__} with another id can not be made")
        for message_ in forged:
            await raised(ConversionError, converter.from_ipc(message_), f"redeeming the forged {message_!r}")


def _forged(sent: Any, number: int) -> list[Any]:
    """The same message with ids that were never given out."""
    if not dataclasses.is_dataclass(sent) or isinstance(sent, type) or not hasattr(sent, "sample_id"):
        return []
    if not isinstance(sent.sample_id, int):
        return [dataclasses.replace(sent, sample_id=f"forged-{number}")]
    return [dataclasses.replace(sent, sample_id=forged) for forged in (number, -1)]


@check("R-CV-20")
async def check_redeeming_twice(lab: Lab) -> None:
    async with lab.converter() as converter:
        for make in (lab.data.audio, lab.data.tensor):
            datum = make()
            sent = await converter.to_ipc(datum)
            await converter.from_ipc(sent)
            later = [await converter.to_ipc(make()) for _ in range(3)]
            try:
                back = await converter.from_ipc(sent)
            except ConversionError:
                pass
            else:
                same(back, datum, "what a reference redeems the second time")
            for message_ in later:
                await converter.from_ipc(message_)


@check("R-CV-22")
async def check_data_are_detached(lab: Lab) -> None:
    async with lab.converter() as converter:
        for make in (lab.data.audio, lab.data.tensor, lab.data.text, lab.data.json):
            datum = make()
            original = dataclasses.replace(datum, payload=bytes(datum.payload), meta=dict(datum.meta))
            buffer = bytearray(datum.payload)
            datum.payload = memoryview(buffer)
            sent = [await converter.to_ipc(datum) for _ in range(2)]
            buffer[:] = bytes(len(buffer))
            one = await converter.from_ipc(sent[0])
            same(one, original, f"{original.data_type}, after its source was overwritten")
            _overwrite(one)
            same(await converter.from_ipc(sent[1]), original, "a second datum, after the first one was overwritten")


@check("R-CV-22")
async def check_results_outlive_the_converter(lab: Lab) -> None:
    data = [lab.data.audio(5000), lab.data.tensor(lab.data.floats(5000))]
    async with lab.converter() as converter:
        results = [await converter.round_trip(datum) for datum in data]
        for _ in range(100):
            await converter.round_trip(lab.data.tensor(lab.data.floats(5000)))
        for datum, result in zip(data, results, strict=True):
            same(result, datum, "a result, after more round trips")
    for datum, result in zip(data, results, strict=True):
        same(result, datum, "a result, after the converter was closed")


def _overwrite(datum: RuntimeData) -> None:
    view = memoryview(datum.payload)
    if not view.readonly:
        view.cast("B")[:] = bytes(view.nbytes)


@check("R-CV-23")
async def check_nothing_accumulates(lab: Lab) -> None:
    async with lab.converter() as converter:

        async def use(turns: int) -> int:
            for _ in range(turns):
                for datum in (lab.data.audio(2048), lab.data.tensor(lab.data.floats(2048))):
                    await converter.round_trip(datum)
            now = await lab.ledger()
            lab.seen.look(lab.claims.daemons)
            return len(now.left(before, lab.seen)["memory"]) + now.descriptors.total()

        before = await lab.ledger()
        await use(20)
        counts = [await use(100) for _ in range(3)]
        grows = counts[0] < counts[1] < counts[2]
        seen = ", ".join(map(str, counts))
        expect(
            not grows,
            "mappings, segments and descriptors do not grow over 600 round trips",
            f"there are {seen}, after each 200",
        )


@check("R-CV-23")
async def check_unredeemed_references_are_freed(lab: Lab) -> None:
    async with lab.converter() as converter:
        await converter.round_trip(lab.data.audio())
    before = await lab.ledger()
    async with lab.converter() as converter:
        for _ in range(20):
            await converter.to_ipc(lab.data.audio(4096))
            await converter.to_ipc(lab.data.tensor(lab.data.floats(4096)))
        lab.seen.look(lab.claims.daemons)
    await lab.nothing_left(before, "memory", "descriptor")
