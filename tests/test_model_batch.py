"""Wake-ups of the writer in batches, explored whole: it is rung when ACK is at its target, and soon asks for one."""

from __future__ import annotations

import pytest
from model.behaviour import Body, Process
from model.checker import Checker, Model, Violation, verdict
from model.operations import poll_timed, ring
from model.ring_model import Fault
from model.systems import Kills, busy_reader, diamond, pair

SIZES = [(2, 2, 1), (3, 2, 2), (3, 3, 2)]
"""capacity, batch, hold"""

FAULTS = [
    Fault.KEEPS_THE_BATCH,
    Fault.NO_FENCE_AFTER_TARGET_FOR_ONE,
    Fault.NO_LOOK_AFTER_TARGET_FOR_ONE,
    Fault.TARGET_BEYOND_HEAD,
    Fault.RINGS_AT_THE_TARGET_ONLY,
]


def test_a_timed_poll_answers_either_way_and_is_never_stuck() -> None:
    """Rung or not, it may time out; it is told that it was rung only when it was."""

    def sleeper() -> Body:
        return (yield poll_timed("bell")) + 1

    def ringer() -> Body:
        yield ring("bell")
        return True

    def answers(*processes: Process) -> set[int]:
        seen = set()
        Checker(Model({"bell": 0}, processes, final=lambda _, results: seen.add(results["sleeper"]))).run()
        return seen

    assert answers(Process("sleeper", sleeper)) == {1}
    assert answers(Process("sleeper", sleeper), Process("ringer", ringer)) == {1, 2}


def test_a_timed_poll_that_is_repeated_without_end_is_found() -> None:
    """The checker wants runs that end: a writer that only ever waits for a moment would spin."""

    def restless() -> Body:
        while not (yield poll_timed("bell")):
            pass

    with pytest.raises(Violation, match="a run that never ends"):
        Checker(Model({"bell": 0}, (Process("restless", restless),))).run()


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "idles"])
@pytest.mark.parametrize(("capacity", "batch", "hold"), SIZES)
def test_the_ring_is_right_with_batches(capacity: int, batch: int, hold: int, ends: bool) -> None:
    """A reader may hold records while it wants more, and a writer ask for a batch: nobody waits for ever."""
    Checker(pair(capacity, capacity + 2, ends=ends, batch=batch, hold=hold)).run()


@pytest.mark.parametrize(("batch", "hold"), [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_a_writer_may_need_more_room_than_it_was_rung_for(batch: int, hold: int) -> None:
    """With large records and a bound on bytes one acknowledgement may be too few: then it asks for one more."""
    Checker(pair(3, 5, batch=batch, hold=hold, needs=2)).run()


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


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_of_the_batch_is_found(fault: Fault) -> None:
    """The reader holds two of three records, or one, and wants more; the writer waits for more than it has given."""
    assert "writer waits for ever: poll" in (verdict(pair(3, 4, fault, batch=3, hold=2)) or "")


@pytest.mark.parametrize(
    "fault", [Fault.TARGET_BEYOND_HEAD, Fault.RINGS_AT_THE_TARGET_ONLY], ids=lambda fault: fault.name
)
def test_a_target_that_is_not_met_is_found_where_the_reader_works_on(fault: Fault) -> None:
    """Nothing but the acknowledgement could have rung."""
    assert "writer waits for ever: poll" in (verdict(busy_reader(3, 2, 3, fault)) or "")


def test_a_missing_fence_after_the_target_for_one_is_found_only_with_store_buffers() -> None:
    """A model of sequential consistency calls the same protocol right."""
    assert verdict(pair(3, 4, Fault.NO_FENCE_AFTER_TARGET_FOR_ONE, batch=3, hold=2, tso=False)) is None


def test_a_graph_that_forks_and_joins_is_right() -> None:
    """The source waits for a batch for a moment only, so the graph needs no growth."""
    Checker(diamond()).run()


@pytest.mark.parametrize(
    "fault", [Fault.KEEPS_THE_BATCH, Fault.NO_LOOK_AFTER_TARGET_FOR_ONE], ids=lambda fault: fault.name
)
def test_a_source_that_waits_for_a_batch_without_an_end_is_found(fault: Fault) -> None:
    """The source waits for a batch, the node for room, their common reader for the source."""
    assert "source waits for ever: poll" in (verdict(diamond(fault)) or "")
