"""`conversion`: 1024 float32 samples into a ring and out of it, in one process, beside pickle.

This is the contract's conversion overhead (its own target is 2 ms), with the step between the two that `to_ipc` and
`from_ipc` can not be without: the record is really written, read and acknowledged.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bench import payload
from bench.figures import OURS, Series, percentile
from bench.options import Options
from bench.placing import PLACINGS, pinned
from penstock.executors.codec import Codec
from penstock.executors.contract import RuntimeData
from penstock.shm.arena import ArenaMap
from penstock.shm.channel import ReceiveEnd, SendEnd
from penstock.shm.doorbell import Doorbell
from penstock.shm.owner import Owner
from penstock.shm.ring import Geometry, Ring
from penstock.shm.slab import SlabPool

__all__ = ["run"]

_SAMPLES = 1024
_CASE = f"{_SAMPLES} samples"
_RATE = 16000

Said = tuple[Any, dict[str, Any]]
"""Samples, and what is said about them."""


@dataclass(frozen=True, slots=True)
class _Contestant:
    convert: Callable[[Any], Any]
    """There and back: what is timed."""
    given: Callable[[int], Any]
    """Datum number n, as the contestant takes it."""
    said: Callable[[Any], Said]


def run(options: Options) -> Series:
    """Blocks of conversions there and back."""
    series = Series("conversion")
    count = options.choose(quick=2000, full=20_000)
    with ExitStack() as stack:
        contestants = {OURS: _penstock(stack), "pickle": _pickle()}
        with pinned({0: PLACINGS["one core"][0]}):
            for contestant in contestants.values():
                _times_ns(contestant, count)  # warm up
            for _ in range(options.choose(quick=3, full=9)):
                for name, contestant in contestants.items():
                    times_ns = _times_ns(contestant, count)
                    for percent in (50, 95):
                        series.add(f"{_CASE}, p{percent}", name, "us", percentile(times_ns, percent) / 1000)
    return series


def _times_ns(contestant: _Contestant, count: int) -> list[int]:
    times_ns = []
    convert, given = contestant.convert, [contestant.given(number) for number in range(payload.CYCLE)]
    for number in range(count):
        data = given[number % payload.CYCLE]
        start_ns = time.perf_counter_ns()
        back = convert(data)
        times_ns.append(time.perf_counter_ns() - start_ns)
        samples, meta = contestant.said(back)
        payload.check(samples, number)
        if meta != _meta(number % payload.CYCLE):
            raise ValueError(f"what is said of datum {number} came back as {meta}")
    return times_ns


def _samples(number: int) -> Any:
    return payload.make(number, _SAMPLES * 4)


def _meta(number: int) -> dict[str, Any]:
    return {"sample_rate": _RATE, "session_id": "session", "timestamp_ns": number}


def _penstock(stack: ExitStack) -> _Contestant:
    owner = stack.enter_context(Owner("bench"))
    bell = stack.enter_context(Doorbell.create())
    geometry = Geometry.fitting(4)  # fewer slots than there are data: what a slot held is never what is expected
    ring = Ring.format(owner.create("r0", geometry.segment_bytes, what="a ring"), geometry)
    family = owner.family("a0")
    sender, receiver = SendEnd(ring, SlabPool(family), bell, bell), ReceiveEnd(ring, ArenaMap(family), bell, bell)
    writing, reading = Codec("there"), Codec("back")

    def convert(data: RuntimeData) -> RuntimeData:
        sender.send_nowait(writing.encode(data))
        back = reading.decode(receiver.receive_nowait())
        receiver.acknowledge()
        return back

    def said(back: RuntimeData) -> Said:
        meta = {"sample_rate": back.sample_rate, "session_id": back.session_id, "timestamp_ns": back.timestamp_ns}
        return back.as_audio().samples, meta

    return _Contestant(convert, lambda number: RuntimeData.audio(_samples(number), **_meta(number)), said)


def _pickle() -> _Contestant:
    """The same samples and what is said of them, by pickle's latest protocol."""

    def convert(data: Said) -> Any:
        return pickle.loads(pickle.dumps(data, pickle.HIGHEST_PROTOCOL))

    return _Contestant(convert, lambda number: (_samples(number), _meta(number)), lambda back: back)
