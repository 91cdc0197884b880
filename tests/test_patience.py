"""How long to spin: what a waiting side learns from its own waits."""

from __future__ import annotations

import pytest

from penstock.shm.patience import Patience

LONG_NS = 10_000_000


def test_the_first_wait_sleeps_and_a_short_one_is_followed_by_a_spin():
    """Without experience there is no spin; an idle side goes back to sleeping at once."""
    patience = Patience()
    assert patience.budget_ns() == 0
    patience.slept(10_000, spun=False)
    assert patience.budget_ns() == patience.limit_ns > 0
    patience.slept(LONG_NS, spun=True)
    assert [patience.budget_ns() for _ in range(5)] == [0] * 5


def test_a_spin_that_fails_makes_it_leave_out_twice_as_many():
    """1, 3, 7, ... up to 1023 waits without one; a spin that finds something begins anew."""
    patience = Patience()
    patience.slept(1, spun=False)
    left_out = []
    for _ in range(13):
        assert patience.budget_ns()
        patience.slept(1, spun=True)
        count = 0
        while patience._skip:
            assert patience.budget_ns() == 0
            patience.slept(1, spun=False)
            count += 1
        left_out.append(count)
    assert left_out == [min(2**n - 1, 1023) for n in range(1, 14)]
    assert patience.budget_ns()
    patience.spun()
    patience.slept(1, spun=True)
    assert [bool(patience.budget_ns()) for _ in range(2)] == [False, True]


@pytest.mark.parametrize("waited", [0, 1, LONG_NS])
def test_the_modes_do_what_they_say(waited):
    """`sleep` never spins and `spin` always does, whatever comes."""
    for _ in range(3):
        for mode, spins in (("sleep", False), ("spin", True)):
            patience = Patience(mode)
            for spun in (False, True, True):
                assert bool(patience.budget_ns()) is spins
                patience.slept(waited, spun=spun)
            assert bool(patience.budget_ns()) is spins
