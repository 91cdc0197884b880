"""Leases on an edge that drops its oldest record, explored whole: nothing is read that changes, and no slab leaks."""

from __future__ import annotations

import pytest
from model.checker import Checker, verdict
from model.drop_lease_model import LeaseFault
from model.drop_lease_systems import drop_leases
from model.lease_model import View
from model.systems import NOBODY, Kills

HELD = "was overwritten while it was held"

KILLS = {
    "alive": NOBODY,
    "reader restarted": Kills(("reader",), restarts=True),
    "writer restarted": Kills(("writer",), restarts=True),
    "both restarted": Kills(("writer", "reader"), times=2, restarts=True),
}


@pytest.mark.parametrize(
    ("capacity", "messages", "slabs", "view"),
    [*((1, 3, 2, view) for view in View), (2, 4, 3, View.AFTER_NEXT)],
    ids=lambda value: value.name if isinstance(value, View) else "",
)
def test_a_lease_that_may_be_dropped_is_right(capacity: int, messages: int, slabs: int, view: View) -> None:
    """What is taken is held, what is dropped is free: at once, or when the writer looks again."""
    checked = Checker(drop_leases(capacity, messages, slabs, view=view)).run()
    evicted = {memory[1] for memory in checked.memories()}
    assert evicted == set(range(messages - capacity + 1)), "it dropped nothing, and all that it could"


def test_a_slab_may_be_used_again_while_its_old_record_is_in_limbo() -> None:
    """The reader took the record and let go of it before the writer looked again."""
    Checker(drop_leases(1, 4, 3)).run()


@pytest.mark.parametrize(
    ("capacity", "messages", "slabs", "view"),
    [*((1, 3, 2, view) for view in View), (2, 3, 3, View.AFTER_ACK)],
    ids=lambda value: value.name if isinstance(value, View) else "",
)
def test_a_new_reader_holds_what_it_resumes_and_nothing_else(
    capacity: int, messages: int, slabs: int, view: View
) -> None:
    """After SIGKILL at any step."""
    Checker(drop_leases(capacity, messages, slabs, kills=KILLS["reader restarted"], view=view)).run()


@pytest.mark.parametrize(
    ("capacity", "messages", "slabs", "view"),
    [(1, 3, 2, View.UNTIL_ACK), (1, 3, 2, View.AFTER_NEXT), (2, 3, 3, View.AFTER_ACK)],
    ids=lambda value: value.name if isinstance(value, View) else "",
)
def test_a_new_writer_knows_what_its_bytes_mean(capacity: int, messages: int, slabs: int, view: View) -> None:
    """After SIGKILL at any step: never published, live, dropped, taken, or in limbo."""
    Checker(drop_leases(capacity, messages, slabs, kills=KILLS["writer restarted"], view=view)).run()


def test_both_sides_may_be_started_again() -> None:
    """Both, or one of them twice."""
    Checker(drop_leases(1, 2, 2, kills=KILLS["both restarted"])).run()


@pytest.mark.parametrize(
    ("fault", "who", "broken"),
    [
        (LeaseFault.CLAIM_IGNORED, "alive", HELD),
        (LeaseFault.TAKEN_IGNORED, "alive", HELD),
        (LeaseFault.BYTE_BEFORE_CLAIM, "alive", HELD),
        (LeaseFault.SEQUENCE_IGNORED, "alive", HELD),
        (LeaseFault.NO_LIMBO, "alive", "leaks with byte 1"),
        (LeaseFault.LIMBO_FORGOTTEN, "writer restarted", "leaks with byte 1"),
        (LeaseFault.RETREAT_CLEARS, "alive", HELD),
        (LeaseFault.READER_SWEEPS_IN_HAND, "reader restarted", HELD),
        (LeaseFault.READER_SWEEPS_NOTHING, "reader restarted", "leaks with byte 2"),
        (LeaseFault.WRITER_ADOPTS_ALL, "writer restarted", "leaks with byte 1"),
    ],
    ids=lambda value: value.name if isinstance(value, LeaseFault) else "",
)
def test_a_fault_of_the_lease_is_found(fault: LeaseFault, who: str, broken: str) -> None:
    """A payload changes under its reader, or a slab is never free again."""
    messages, slabs = (4, 3) if fault in {LeaseFault.RETREAT_CLEARS, LeaseFault.SEQUENCE_IGNORED} else (3, 2)
    assert broken in (verdict(drop_leases(1, messages, slabs, fault, KILLS[who])) or "")
