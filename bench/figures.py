"""What a benchmark finds: values of several blocks, of several contestants side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

__all__ = ["OURS", "Figure", "Series", "percentile"]

OURS = "penstock"


@dataclass(frozen=True, slots=True)
class Figure:
    """One value: the median over the blocks, with the smallest and the largest of them."""

    bench: str
    case: str
    """What was asked of every contestant: where it was pinned, which percentile."""
    subject: str
    """Who did it: `penstock`, or what it is compared with."""
    unit: str
    value: float
    low: float
    high: float
    blocks: tuple[float, ...]
    """The values in the order of the blocks: those of one number were taken within the same second or two."""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.bench, self.case, self.subject

    @property
    def less_is_better(self) -> bool:
        """Of a time, or a ratio of times; of a rate more is."""
        return self.unit in {"us", "ms", "ms/s", "KiB", "x"}

    def overlaps(self, other: Figure) -> bool:
        """Whether some block of the one lies among those of the other: then a difference may be noise."""
        return self.low <= other.high and other.low <= self.high

    def divided_by(self, other: Figure) -> float:
        """The median over the blocks of this value divided by the other's: noise that lasts hits both of a pair."""
        return median(mine / theirs for mine, theirs in zip(self.blocks, other.blocks, strict=True))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Figure:
        return cls(**{**saved, "blocks": tuple(saved["blocks"])})


class Series:
    """Collects the values of a benchmark, block by block."""

    def __init__(self, bench: str) -> None:
        self._bench = bench
        self._values: dict[tuple[str, str, str], list[float]] = {}

    def add(self, case: str, subject: str, unit: str, value: float) -> None:
        """One block of one contestant."""
        self._values.setdefault((case, subject, unit), []).append(value)

    def add_latencies(self, case: str, subject: str, times_ns: list[int]) -> None:
        """One block of calls: its p50 and p99."""
        self.add(f"{case}, p50", subject, "us", percentile(times_ns, 50) / 1000)
        self.add(f"{case}, p99", subject, "us", percentile(times_ns, 99) / 1000)

    def figures(self) -> list[Figure]:
        """The medians, the contestants of a case one below the other."""
        found = [self._figure(*key, values) for key, values in self._values.items()]
        cases = list(dict.fromkeys(figure.case for figure in found))
        return sorted(found, key=lambda figure: cases.index(figure.case))

    def _figure(self, case: str, subject: str, unit: str, values: list[float]) -> Figure:
        return Figure(self._bench, case, subject, unit, median(values), min(values), max(values), tuple(values))


def percentile(values: Iterable[int], percent: float) -> int:
    """The value below which `percent` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
