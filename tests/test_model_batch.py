"""Wake-ups of the writer in batches, explored whole: it is rung when ACK is at its target, or the reader sleeps."""

from __future__ import annotations

import pytest
from model.checker import Checker, verdict
from model.ring_model import Fault
from model.systems import Kills, busy_reader, diamond, pair

SIZES = [(2, 2, 1), (3, 2, 2), (3, 3, 2)]
"""capacity, batch, hold"""


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "idles"])
@pytest.mark.parametrize(("capacity", "batch", "hold"), SIZES)
def test_the_ring_is_right_with_batches(capacity: int, batch: int, hold: int, ends: bool) -> None:
    """A reader may hold records while it wants more, and a writer wait for a batch: nobody waits for ever."""
    Checker(pair(capacity, capacity + 2, ends=ends, batch=batch, hold=hold)).run()


@pytest.mark.parametrize("victim", ["writer", "reader"])
@pytest.mark.parametrize(("capacity", "batch", "hold"), SIZES)
def test_the_neighbour_of_a_killed_process_stops(capacity: int, batch: int, hold: int, victim: str) -> None:
    """A target is not waited for when nobody is left to reach it."""
    Checker(pair(capacity, capacity + 1, Fault.NONE, Kills((victim,)), batch=batch, hold=hold)).run()


@pytest.mark.parametrize(("capacity", "batch", "hold"), SIZES)
def test_a_restarted_process_goes_on_where_the_ring_says(capacity: int, batch: int, hold: int) -> None:
    """Neither a stale target nor records that were held and not acknowledged do harm."""
    kills = Kills(("writer", "reader"), restarts=True)
    Checker(pair(capacity, capacity + 1, Fault.NONE, kills, batch=batch, hold=hold, reduced=True)).run()


@pytest.mark.parametrize(("capacity", "batch", "hold"), [(1, 1, 1), (2, 2, 2), (3, 2, 3)])
def test_a_reached_target_wakes_the_writer_though_the_reader_never_sleeps(capacity: int, batch: int, hold: int) -> None:
    """The acknowledgement rings by itself."""
    Checker(busy_reader(capacity, batch, hold)).run()


@pytest.mark.parametrize(
    "fault", [Fault.RINGS_AT_THE_TARGET_ONLY, Fault.TARGET_BEYOND_HEAD], ids=lambda fault: fault.name
)
def test_a_target_that_is_not_met_is_found(fault: Fault) -> None:
    """A reader that comes to sleep hides both faults, as it rings then; one that works on does not."""
    assert "writer waits for ever: poll" in (verdict(busy_reader(3, 2, 3, fault)) or "")
    assert verdict(pair(3, 4, fault, batch=2, hold=2)) is None


def test_a_reader_that_sleeps_while_the_writer_waits_is_found() -> None:
    """It holds a record and wants more; the writer waits for more acknowledgements than it has given."""
    assert "writer waits for ever: poll" in (verdict(pair(3, 4, Fault.SLEEPY_READER, batch=3, hold=2)) or "")


def test_a_graph_that_forks_and_joins_is_right() -> None:
    """A process that waits for room wakes the writers that wait for it, too."""
    Checker(diamond()).run()


def test_a_stage_that_sleeps_while_its_writer_waits_is_found() -> None:
    """The source waits for a batch, the node for room, their common reader for the source."""
    assert "source waits for ever: poll" in (verdict(diamond(Fault.SLEEPY_STAGE)) or "")
