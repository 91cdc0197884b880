"""`conversion`: 1024 float32 samples through the converter and back, `to_ipc` and `from_ipc`, beside pickle.

This is the contract's conversion overhead (its own target is 2 ms): the samples are written to shared memory, redeemed
by their reference, and the slab is given back. Both awaits are in it, as a trio program pays for them.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import trio

from bench import payload
from bench.figures import OURS, Series, percentile
from bench.options import Options
from bench.placing import PLACINGS, pinned
from penstock.executors import RuntimeData, SharedMemoryConverter

__all__ = ["run"]

_SAMPLES = 1024
_CASE = f"{_SAMPLES} samples"
_RATE = 16000
_SESSION = "session"

Said = tuple[Any, dict[str, Any]]
"""Samples, and what is said about them."""


@dataclass(frozen=True, slots=True)
class _Contestant:
    convert: Callable[[Any], Awaitable[Any]]
    """There and back: what is timed."""
    given: Callable[[int], Any]
    """Datum number n, as the contestant takes it."""
    said: Callable[[Any], Said]


def run(options: Options) -> Series:
    """Blocks of conversions there and back."""
    return trio.run(_measured, options)


async def _measured(options: Options) -> Series:
    series = Series("conversion")
    count = options.choose(quick=2000, full=20_000)
    async with SharedMemoryConverter(_SESSION) as converter:
        contestants = {OURS: _penstock(converter), "pickle": _pickle()}
        with pinned({0: PLACINGS["one core"][0]}):
            for contestant in contestants.values():
                await _times_ns(contestant, count)  # warm up
            for _ in range(options.choose(quick=3, full=9)):
                for name, contestant in contestants.items():
                    times_ns = await _times_ns(contestant, count)
                    for percent in (50, 95):
                        series.add(f"{_CASE}, p{percent}", name, "us", percentile(times_ns, percent) / 1000)
    return series


async def _times_ns(contestant: _Contestant, count: int) -> list[int]:
    times_ns = []
    convert, given = contestant.convert, [contestant.given(number) for number in range(payload.CYCLE)]
    for number in range(count):
        data = given[number % payload.CYCLE]
        start_ns = time.perf_counter_ns()
        back = await convert(data)
        times_ns.append(time.perf_counter_ns() - start_ns)
        samples, meta = contestant.said(back)
        payload.check(samples, number)
        if meta != _meta(number % payload.CYCLE):
            raise ValueError(f"what is said of datum {number} came back as {meta}")
    return times_ns


def _samples(number: int) -> Any:
    return payload.make(number, _SAMPLES * 4)


def _meta(number: int) -> dict[str, Any]:
    return {"sample_rate": _RATE, "session_id": _SESSION, "timestamp_ns": number}


def _penstock(converter: SharedMemoryConverter) -> _Contestant:
    async def convert(data: RuntimeData) -> RuntimeData:
        return await converter.from_ipc(await converter.to_ipc(data))

    def said(back: RuntimeData) -> Said:
        meta = {"sample_rate": back.sample_rate, "session_id": back.session_id, "timestamp_ns": back.timestamp_ns}
        return back.as_audio().samples, meta

    return _Contestant(convert, lambda number: RuntimeData.audio(_samples(number), **_meta(number)), said)


def _pickle() -> _Contestant:
    """The same samples and what is said of them, by pickle's latest protocol."""

    async def convert(data: Said) -> Any:
        return pickle.loads(pickle.dumps(data, pickle.HIGHEST_PROTOCOL))

    return _Contestant(convert, lambda number: (_samples(number), _meta(number)), lambda back: back)
