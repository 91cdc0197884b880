"""`chain`: three worker stages between a source and a sink in workers of their own, beside pipes in a row."""

from __future__ import annotations

import trio

from bench.figures import OURS, Series
from bench.options import Options
from bench.pipes import PipeRow
from bench.placing import FREE, PLACINGS
from bench.steady import line, watch

__all__ = ["run"]

_STAGES = 3
_RATES_HZ = (50, 200)
_FORWARDS: tuple[tuple[str, str, dict[str, float]], ...] = tuple(
    (f"stage{number}", "Forward", {}) for number in range(_STAGES)
)
_PLACES: dict[str, tuple[int, ...]] = {FREE: (), "one core": (PLACINGS["one core"][0],) * (_STAGES + 2)}


def run(options: Options) -> Series:
    """Messages a second at full rate, and the time on the way at a steady rate."""
    series = Series("chain")
    with PipeRow(_STAGES) as row:
        for _ in range(options.choose(quick=2, full=5)):
            for case, places in _PLACES.items():
                row.place(*places)
                _full_rate(options, series, row, case, places)
                for rate_hz in _RATES_HZ:
                    _latency(options, series, row, case, places, rate_hz)
    return series


def _full_rate(options: Options, series: Series, row: PipeRow, case: str, places: tuple[int, ...]) -> None:
    pipeline = line(("source", "Source", {}), *_FORWARDS, ("sink", "Sink", {}))
    window_s = options.choose(quick=0.3, full=1.5)
    series.add(f"{case}, full rate", OURS, "msg/s", trio.run(watch, pipeline, window_s, places).rate_hz)
    count = options.choose(quick=10_000, full=80_000)
    series.add(f"{case}, full rate", "Pipe", "msg/s", row.rate_hz(count))


def _latency(options: Options, series: Series, row: PipeRow, case: str, places: tuple[int, ...], rate_hz: int) -> None:
    count, settle = int(rate_hz * options.choose(quick=0.6, full=3.0)), rate_hz // 10
    metronome = ("source", "Metronome", {"rate_hz": rate_hz})
    pipeline = line(metronome, *_FORWARDS, ("sink", "LatencySink", {"skip": settle}))

    async def measure() -> dict[str, int]:
        return dict((await watch(pipeline, count / rate_hz, places, settle=settle)).said["sink"])

    said = trio.run(measure)
    for name, p50, p99 in ((OURS, said["p50_ns"], said["p99_ns"]), ("Pipe", *row.latencies_ns(count, rate_hz))):
        series.add(f"{case}, {rate_hz} msg/s, p50", name, "us", p50 / 1000)
        series.add(f"{case}, {rate_hz} msg/s, p99", name, "us", p99 / 1000)
