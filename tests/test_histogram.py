"""How long things took, in few words."""

from __future__ import annotations

import random

import pytest

from penstock.executors.histogram import EXACT, LONG_NS, STRIDE, Histogram, Pace, percentiles


def filled(*durations_ns: int) -> Histogram:
    histogram = Histogram()
    for ns in durations_ns:
        histogram.add(ns)
    return histogram


@pytest.mark.parametrize("scale", [300, 40_000, 7_000_000, 3_000_000_000])
def test_percentiles_are_right_within_an_eighth(scale: int) -> None:
    """Whatever the durations are, a percentile of the histogram lies within an eighth of the exact one."""
    rng = random.Random(scale)
    durations = sorted(int(scale * rng.lognormvariate(0, 1)) for _ in range(5_000))
    histogram = filled(*durations)
    for share in (0.5, 0.95, 0.99):
        (found,) = percentiles([histogram], [share])
        assert found is not None
        assert found * 1000 == pytest.approx(durations[int(share * len(durations))], rel=0.125, abs=64)
    assert histogram.longest_ns == durations[-1]


def test_each_duration_falls_into_the_bucket_of_its_size() -> None:
    """One duration is each of its own percentiles, and none is larger than the longest."""
    for ns in (0, 1, 127, 128, 129, 1_000, 1_023, 1_024, 20_000, 1 << 40, 1 << 62):
        found = percentiles([filled(ns)], [0.0, 0.5, 1.0])
        assert all(value is not None and value * 1000 <= ns for value in found), (ns, found)
        if 160 <= ns < 1 << 41:
            assert all(value is not None and value * 1000 >= ns * 0.8 for value in found), (ns, found)


def test_nothing_has_no_percentiles() -> None:
    """Where nothing was counted there is no figure; several histograms count as one."""
    assert percentiles([], [0.5]) == [None]
    assert percentiles([Histogram()], [0.5, 0.9]) == [None, None]
    both = percentiles([filled(1_000), filled(1_000, 1_000, 9_000_000)], [0.5, 1.0])
    assert both[0] == pytest.approx(1, rel=0.25)
    assert both[1] == 9_000


def test_what_is_noted_stands_for_all() -> None:
    """Of a million short things each bucket has about its share, also where every 64th thing is another one."""
    short, special, pace = Histogram(), Histogram(), Pace()
    total = 1_000_000
    for number in range(1, total + 1):
        if number >= pace.next:
            (special if number % STRIDE == 0 else short).add(1_000, pace.weight(number))
    counts = [sum(histogram.counts()) for histogram in (special, short)]
    assert counts[0] == pytest.approx(total / STRIDE, rel=0.2)  # 244 of them are looked at: a sigma is 6 in a hundred
    assert counts[1] == pytest.approx(total - total / STRIDE, rel=0.03)


def test_a_short_run_is_noted_whole() -> None:
    """The first data are all noted, so a short run has exact figures."""
    pace = Pace()
    assert [pace.weight(number) for number in range(1, EXACT + 1) if number >= pace.next] == [1] * EXACT
    assert pace.next == EXACT + 1
    assert pace.weight(EXACT + 1) == STRIDE


def test_a_pace_goes_on_behind_a_predecessor() -> None:
    """A worker in the place of another one notes neither too much nor nothing."""
    pace = Pace(1_000_000)
    assert pace.next == 1_000_001
    assert pace.weight(1_000_001) == STRIDE
    assert 1_000_001 < pace.next < 1_000_001 + 2 * STRIDE
    assert LONG_NS > 0
