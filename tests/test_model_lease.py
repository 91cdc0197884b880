"""Leases of slabs, explored whole: who may read in place, and for how long, whoever is killed."""

from __future__ import annotations

import pytest
from model.checker import Checker, verdict
from model.lease_model import Fault, View
from model.lease_systems import leases
from model.systems import NOBODY, Kills

SIZES = [(1, 1, 3), (2, 1, 4)]
"""slabs, lanes, messages: fewer slabs than records, so that each is used again"""

HELD = "was overwritten while it was held"

KILLS = {
    "alive": NOBODY,
    "reader restarted": Kills(("reader0",), restarts=True),
    "writer restarted": Kills(("writer",), restarts=True),
    "both restarted": Kills(("writer", "reader0"), times=2, restarts=True),
    "reader lost": Kills(("reader0",)),
}


@pytest.mark.parametrize("who", KILLS)
@pytest.mark.parametrize("view", View, ids=lambda view: view.name)
@pytest.mark.parametrize(("slabs", "lanes", "messages"), SIZES)
def test_a_lease_is_right(slabs: int, lanes: int, messages: int, view: View, who: str) -> None:
    """However long a view is held its payload stays, and in the end every slab is free."""
    Checker(leases(slabs, lanes, messages, kills=KILLS[who], view=view)).run()


@pytest.mark.parametrize(
    ("slabs", "messages", "who"), [(2, 3, "alive"), (2, 2, "writer restarted"), (1, 3, "reader lost")]
)
def test_a_slab_for_two_lanes_is_right(slabs: int, messages: int, who: str) -> None:
    """Two readers read one payload; it stays until both let go."""
    Checker(leases(slabs, 2, messages, kills=KILLS[who], view=View.AFTER_NEXT)).run()


def test_a_slab_for_two_lanes_survives_a_reader() -> None:
    """One of two readers is started again."""
    Checker(leases(1, 2, 3, kills=KILLS["reader restarted"])).run()


def test_a_slab_for_two_lanes_survives_its_writer() -> None:
    """A writer may die between two lanes: the new one sends what is missing, in another slab."""
    Checker(leases(1, 2, 3, kills=KILLS["writer restarted"])).run()


@pytest.mark.parametrize(
    ("fault", "lanes", "who", "broken"),
    [
        (Fault.RELEASE_BEFORE_ACK, 1, "reader restarted", HELD),
        (Fault.BYTE_AFTER_HEAD, 1, "alive", "leaks"),
        (Fault.SEQUENCE_AFTER_BYTE, 1, "reader restarted", HELD),
        (Fault.SEQUENCE_AFTER_BYTE, 1, "writer restarted", "leaks"),
        (Fault.OTHER_LANE_IGNORED, 2, "alive", HELD),
        (Fault.READER_SWEEPS_ALL, 1, "reader restarted", HELD),
        (Fault.READER_SWEEPS_NOTHING, 1, "reader restarted", "leaks"),
        (Fault.READER_SWEEPS_BY_SEQUENCE, 1, "reader restarted", HELD),
        (Fault.WRITER_ADOPTS_ALL, 1, "writer restarted", "leaks"),
        (Fault.WRITER_ADOPTS_NONE, 1, "writer restarted", HELD),
        (Fault.LOST_READER_KEEPS, 1, "reader lost", "leaks"),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_a_fault_of_the_lease_is_found(fault: Fault, lanes: int, who: str, broken: str) -> None:
    """A payload changes under its reader, or a slab is never free again."""
    assert broken in (verdict(leases(1, lanes, 3, fault, KILLS[who])) or "")


@pytest.mark.parametrize(
    "fault",
    [
        Fault.RELEASE_BEFORE_ACK,
        Fault.SEQUENCE_AFTER_BYTE,
        Fault.READER_SWEEPS_NOTHING,
        Fault.READER_SWEEPS_BY_SEQUENCE,
        Fault.WRITER_ADOPTS_ALL,
        Fault.LOST_READER_KEEPS,
    ],
    ids=lambda fault: fault.name,
)
def test_what_only_a_crash_shows(fault: Fault) -> None:
    """These do no harm as long as nobody is killed."""
    assert verdict(leases(1, 1, 3, fault)) is None
