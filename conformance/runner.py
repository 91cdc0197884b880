"""Runs the checks on an adapter, in lanes of child processes; what came out is one `Run`."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.conformance.adapter import Capabilities, Profile
from penstock.conformance.lane import Lane
from penstock.conformance.order import Order
from penstock.conformance.requirements import CATALOGUE, PROFILE_AREAS
from penstock.conformance.results import Result
from penstock.conformance.verdict import Run
from penstock.executors.contract import ExecutorType

__all__ = ["Options", "run"]

_WORTH_A_LANE = 30
"""A lane more for each so many requirements: a process of its own costs as much as a few checks."""


@dataclass(frozen=True)
class Options:
    """What a run is asked for.

    Attributes:
        profile: check what this profile has, of what is claimed.
        require: ids to check; empty: all.
        jobs: how many processes share the checks.
        isolate: "process"; "ns": also a /dev/shm of its own, where the kernel allows it; "none": in this process, where
            a debugger can be, and what ends or hangs it ends the run.
        smoke_only: try the adapter, check nothing.
        on_event: told of each result as it is there.
    """

    profile: Profile = Profile.FULL
    require: Sequence[str] = ()
    seed: int = 1
    repeat: int = 1
    time_scale: float | None = None
    latency_budget_ms: float | None = None
    jobs: int = field(default_factory=lambda: min(2, os.cpu_count() or 1))
    isolate: str = "process"
    smoke_only: bool = False
    path: Sequence[str] = field(default_factory=lambda: (os.getcwd(),))
    on_event: Callable[[Result], None] = lambda _: None

    def selected(self) -> tuple[list[str], list[str]]:
        """The ids, in the order in which they are checked; and those of timing, which come last, alone."""
        if self.smoke_only:
            return [], []
        ids = list(self.require) or [
            name for name, requirement in CATALOGUE.items() if requirement.area in PROFILE_AREAS[self.profile]
        ]
        late = [name for name in ids if CATALOGUE[name].area == "LT" or name in {"R-BP-14", "R-MT-08"}]
        early = [name for name in CATALOGUE if name in ids and name not in late]
        return sorted(early, key=_position), [name for name in CATALOGUE if name in late]


def _position(requirement: str) -> int:
    """What everything stands on comes first; then the longest check, so that no lane waits for it in the end."""
    if requirement == "R-LK-05":
        return 1
    return 0 if CATALOGUE[requirement].area == "EB" else 2


def run(adapter: str, options: Options) -> Run:
    """Run the checks on an adapter. Never raises for what the adapter does."""
    scratch = Path(tempfile.mkdtemp(prefix="conformance-run-"))
    try:
        return _Supervisor(adapter, options, scratch).run()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Supervisor:
    """Two lanes of children share the checks: what one has claimed, the other passes over. Timing comes last, alone."""

    def __init__(self, adapter: str, options: Options, scratch: Path) -> None:
        self.options = options
        self.scratch = scratch
        self.adapter = adapter

    def run(self) -> Run:
        start = time.monotonic()
        early, late = self.options.selected()
        jobs = min(self.options.jobs, 1 + len(early) // _WORTH_A_LANE) if self.options.isolate != "none" else 1
        first = self._lane("0", early if jobs > 1 else [*early, *late], smoke=True)
        lanes = [first]
        if jobs > 1:
            lanes += self._beside(first, early, jobs - 1)
            if all(lane.complete for lane in lanes):
                lanes.append(self._lane("last", late, scale=first.scale))
                lanes[-1].run()
        else:
            first.run()
        return self._outcome(lanes, [*early, *late], round(time.monotonic() - start, 2))

    def _lane(self, name: str, requirements: list[str], *, smoke: bool = False, scale: float | None = None) -> Lane:
        folder = self.scratch / name
        folder.mkdir()
        order = Order(
            self.adapter,
            "",
            requirements,
            seed=self.options.seed,
            scale=scale or self.options.time_scale,
            repeat=self.options.repeat,
            latency_budget_ms=self.options.latency_budget_ms,
            path=list(self.options.path),
            smoke=("make" if self.options.require else "call") if smoke else "no",
            claims=str(self.scratch / "claims"),
        )
        return Lane(order, self.options.isolate, folder, self.options.on_event)

    def _beside(self, first: Lane, requirements: list[str], count: int) -> list[Lane]:
        """Run the first lane, and others as soon as it has found that the adapter works."""
        others: list[Lane] = []
        with ThreadPoolExecutor(count + 1) as pool:
            ends = [pool.submit(first.run)]
            try:
                if first.works():
                    others = [
                        self._lane(str(number), requirements, scale=first.scale) for number in range(1, count + 1)
                    ]
                    ends += [pool.submit(lane.run) for lane in others]
                for end in ends:
                    end.result()
            except BaseException:
                for lane in [first, *others]:
                    lane.stop()
                raise
        return others

    def _outcome(self, lanes: list[Lane], selected: list[str], seconds: float) -> Run:
        about = lanes[0].about
        claims = _claims(about)
        not_claimed = _not_claimed(claims) if claims else {}
        return Run(
            self.adapter,
            about,
            [name for name in selected if name not in not_claimed],
            not_claimed,
            [result for lane in lanes for result in lane.results],
            next((lane.problem for lane in lanes if lane.problem), ""),
            all(lane.complete for lane in lanes),
            {"scale": about.get("scale", 1.0), "noise_p99_ms": about.get("noise_p99_ms", 0.0)},
            seconds,
        )


def _claims(about: dict[str, Any]) -> Capabilities | None:
    said = dict(about.get("claims") or {})
    if not said:
        return None
    profiles = {Profile(name) for name in said.pop("profiles")}
    kinds = [ExecutorType(name) for name in said.pop("kinds")]
    return Capabilities(profiles=profiles, kinds=kinds, **said)


def _not_claimed(claims: Capabilities) -> dict[str, str]:
    from penstock.conformance.checking import applicability

    reasons = {name: applicability(requirement, claims) for name, requirement in CATALOGUE.items()}
    return {name: reason for name, reason in reasons.items() if reason}
