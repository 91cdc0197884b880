"""Whoever reads along a ring takes whole records or none, explored whole: store buffers, SIGKILL, seeded faults."""

from __future__ import annotations

import pytest
from model.checker import Checker, verdict
from model.lease_model import View
from model.systems import Kills
from model.tapping import TapFault, tapped, tapped_dropping, tapped_slabs

BOTH = Kills(("writer", "reader"), restarts=True)
WRITER = Kills(("writer",), restarts=True)


def named(fault: TapFault) -> str:
    return fault.name


@pytest.mark.parametrize(("capacity", "messages"), [(1, 3), (2, 4)])
def test_what_is_taken_from_a_ring_that_keeps_what_it_has_is_whole(capacity: int, messages: int) -> None:
    """Wherever the writer is in a slot, and however far the reader."""
    Checker(tapped(capacity, messages)).run()


@pytest.mark.parametrize(("capacity", "messages"), [(1, 3), (2, 4)])
def test_what_is_taken_from_a_ring_that_drops_is_whole(capacity: int, messages: int) -> None:
    """Whichever slot the writer uses again."""
    Checker(tapped_dropping(capacity, messages)).run()


@pytest.mark.parametrize("view", list(View))
def test_what_is_taken_from_a_slab_is_whole(view: View) -> None:
    """However long its reader holds it, and how soon it is written again."""
    Checker(tapped_slabs(1, 3, view=view)).run()
    Checker(tapped_slabs(2, 3, view=view)).run()


def test_a_successor_changes_nothing_of_it() -> None:
    """The writer is killed in the middle of a slot, or the reader before it acknowledges, and another one goes on."""
    Checker(tapped(1, 2, kills=BOTH)).run()
    Checker(tapped_dropping(1, 3, kills=WRITER)).run()


@pytest.mark.parametrize("fault", [TapFault.NO_LOOK, TapFault.LOOKS_FIRST, TapFault.ONE_TOO_LATE], ids=named)
def test_a_fault_at_a_ring_is_found(fault: TapFault) -> None:
    assert "half of record" in (verdict(tapped(1, 3, fault), tapped(2, 4, fault)) or "")


def test_a_fault_at_a_ring_that_drops_is_found() -> None:
    assert "half of record" in (verdict(tapped_dropping(1, 3, TapFault.NO_LOOK)) or "")


@pytest.mark.parametrize(
    "fault",
    [
        TapFault.NO_LOOK,
        TapFault.LOOKS_FIRST,
        TapFault.BYTE_ALONE,
        TapFault.SEQUENCE_ALONE,
        TapFault.SEQUENCE_BEFORE_BYTE,
    ],
    ids=named,
)
def test_a_fault_at_a_slab_is_found(fault: TapFault) -> None:
    assert "another payload" in (verdict(tapped_slabs(1, 3, fault), tapped_slabs(2, 3, fault)) or "")
