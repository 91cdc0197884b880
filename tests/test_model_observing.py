"""What `Ring.statistics` says while both sides are at work, explored whole: never more than is so at the end."""

from __future__ import annotations

import pytest
from model.checker import Checker, verdict
from model.observing import LookFault, observed, observed_dropping


def named(fault: LookFault) -> str:
    return fault.name


@pytest.mark.parametrize("capacity", [1, 2])
def test_a_look_at_a_ring_that_keeps_what_it_has_is_exact(capacity: int) -> None:
    """Between 0 and `capacity` are in flight, and what is said to be received was received."""
    Checker(observed(capacity, 3)).run()


@pytest.mark.parametrize("fault", [LookFault.HEAD_FIRST, LookFault.ACK_LOOKED_AT_ONCE], ids=named)
def test_a_look_that_mixes_two_moments_is_found(fault: LookFault) -> None:
    """Fewer than none, or more than there are slots."""
    assert "are in flight" in (verdict(observed(1, 3, fault)) or "")


@pytest.mark.parametrize(("capacity", "messages"), [(1, 3), (2, 3)])
def test_a_look_at_a_ring_that_drops_is_exact(capacity: int, messages: int) -> None:
    """No count goes back, and at most `capacity + 1` are in flight, when both positions stood still meanwhile."""
    Checker(observed_dropping(capacity, messages)).run()


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        (LookFault.ACK_LOOKED_AT_ONCE, "dropped -2"),
        (LookFault.EVICT_LOOKED_AT_ONCE, "in flight 3"),
        (LookFault.CLAIM_BEFORE_EVICT, "somebody saw 0 received and 1 dropped"),
        (LookFault.CLAIM_MUST_BE_VALID, "somebody saw 0 received and 1 dropped"),
    ],
    ids=lambda value: value.name if isinstance(value, LookFault) else "",
)
def test_a_wrong_look_at_a_ring_that_drops_is_found(fault: LookFault, broken: str) -> None:
    """More in flight than there are slots, or dropped what is received later."""
    messages = 3 if fault is LookFault.EVICT_LOOKED_AT_ONCE else 2
    assert broken in (verdict(observed_dropping(1, messages, fault)) or "")
