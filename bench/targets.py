"""What penstock promises of its speed: section 9 of the design, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.figures import OURS, Figure
from bench.roundtrip import FLOOR, PIPE_IN_TRIO

__all__ = ["TARGETS", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a figure of penstock's, or on that figure divided by another's."""

    what: str
    bench: str
    case: str
    unit: str
    """Of the figure; of a ratio it says what the figure is divided by."""
    at_most: float | None = None
    at_least: float | None = None
    subject: str = OURS
    over: str | None = None
    """The subject to divide by; None: the bound is absolute, and meant for the machine of the README."""

    @property
    def limit(self) -> float:
        bound = self.at_most if self.at_least is None else self.at_least
        assert bound is not None, f"{self.what} has no bound"
        return bound

    @property
    def less_is_better(self) -> bool:
        return self.at_least is None

    def measured(self, figures: Mapping[tuple[str, str, str], Figure]) -> float | None:
        """The value that the bound is on, or None when these figures do not have it."""
        figure = figures.get((self.bench, self.case, self.subject))
        if figure is None or self.over is None:
            return None if figure is None else figure.value
        other = figures.get((self.bench, self.case, self.over))
        return None if other is None else figure.divided_by(other)

    def met(self, value: float) -> bool:
        return value <= self.limit if self.less_is_better else value >= self.limit


def _busy(placing: str) -> tuple[Target, ...]:
    return tuple(
        Target(
            "calls beside a busy task, 4 KiB",
            "calls",
            f"{placing}, {rate_hz} calls/s, {percentile}",
            "x Pipe",
            at_most=1.0,
            over=PIPE_IN_TRIO,
        )
        for rate_hz in (50, 200)
        for percentile in ("p50", "p99")
    )


TARGETS = (
    Target("execute_node, 4 KiB", "execute_node", "one core, p50", "x floor", at_most=2.0, over=FLOOR),
    Target("execute_node, 4 KiB", "execute_node", "two cores, p50", "us", at_most=20.0),
    Target("execute_node, 4 KiB", "execute_node", "two cores, p50", "x Pipe", at_most=0.3, over=PIPE_IN_TRIO),
    Target("channel, one way, 4 KiB", "channel", "two cores", "msg/s", at_least=400_000),
    Target("worker to worker, one way, 4 KiB", "stream", "two cores", "msg/s", at_least=200_000),
    Target("three worker stages, 4 KiB", "chain", "free, full rate", "msg/s", at_least=100_000),
    Target("three worker stages, 4 KiB", "chain", "one core, 200 msg/s, p50", "x Pipe", at_most=1.0, over="Pipe"),
    Target("three worker stages, 4 KiB", "chain", "one core, 200 msg/s, p50", "us", at_most=42.0),
    Target("a row of three workers", "chains", "free, 3 workers, full rate / 2 workers", "part", at_least=0.6),
    Target("a row of three workers", "chains", "free, 3 workers, 200 msg/s, a further hop", "us", at_most=60.0),
    Target("8 MiB frames in place", "frames", "two cores", "GB/s", at_least=20.0),
    Target("8 MiB frames in place", "frames", "two cores", "x one process", at_least=0.9, over="one process"),
    Target("fan-out, 1 MiB, channels", "fanout", "free, to 4", "msg/s", at_least=8700),
    Target("fan-out, 1 MiB, channels", "fanout", "two cores, sender's time, to 4 / to 1", "x", at_most=1.3),
    Target(
        "fan-out, 1 MiB, pipeline",
        "fanout",
        "two cores, sender's time, to 4 / to 1",
        "x",
        at_most=1.3,
        subject=f"{OURS}, pipeline",
    ),
    *_busy("one core"),
    *_busy("two cores"),
    Target("idle pipeline of 10 workers", "idle", "10 workers", "ms/s", at_most=1.0),
    Target("worker ready", "start", "first worker, ready", "x import", at_most=1.5, over="python -c 'import numpy'"),
    Target("worker ready", "start", "tenth worker, ready", "ms", at_most=30.0),
    Target("conversion there and back", "conversion", "1024 samples, p95", "us", at_most=50.0),
    Target("wasm node, 4 KiB audio frame", "wasm", "4 KiB frame, p50", "us", at_most=12.0),
)
