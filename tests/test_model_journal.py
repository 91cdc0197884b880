"""The journal of crash delivery, explored whole: store buffers, SIGKILL at every step, successors that die, too."""

from __future__ import annotations

import pytest
from model.checker import Checker, verdict
from model.journal_model import Fault, Node, journal


@pytest.mark.parametrize("kills", [0, 1, 2, 3])
def test_a_stateless_node_publishes_everything_once(kills: int) -> None:
    """On both edges, in order, wherever it and its successors are killed."""
    Checker(journal(Node((4,)), kills)).run()


@pytest.mark.parametrize("kills", [0, 1, 2])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_node_with_snapshots_publishes_one_order_of_its_inputs(every: int, kills: int) -> None:
    """Once, the same on both edges, although each process might take its inputs in another order."""
    Checker(journal(Node((2, 2), every), kills)).run()


@pytest.mark.parametrize("inputs", [(2,), (1, 1)])
def test_the_reduction_hides_nothing(inputs: tuple[int, ...]) -> None:
    """The same without taking private steps first."""
    Checker(journal(Node(inputs), 2, reduced=False)).run()


STATELESS = {
    Fault.NOTHING_KEPT_BACK: 1,
    Fault.IN_HAND_BEFORE_BASES: 1,
    Fault.IN_HAND_IS_TRUSTED: 1,
    Fault.ACKNOWLEDGED_FIRST: 1,
    Fault.BASES_BY_SUCCESSOR: 2,
}
SNAPSHOTS = {
    Fault.NOTHING_KEPT_BACK: 1,
    Fault.ACKNOWLEDGED_FIRST: 1,
    Fault.FLIPPED_EARLY: 1,
    Fault.COMMITTED_IN_PLACE: 1,
    Fault.LOGGED_LATE: 1,
    Fault.COUNTED_FIRST: 1,
    Fault.LOG_IS_KEPT: 1,
    Fault.NOT_BROUGHT_UP: 1,
    Fault.LOGGED_AGAIN: 2,
}


@pytest.mark.parametrize(
    ("inputs", "fault", "kills"),
    [
        *(((4,), fault, kills) for fault, kills in STATELESS.items()),
        *(((2, 2), fault, kills) for fault, kills in SNAPSHOTS.items()),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_a_fault_is_found(inputs: tuple[int, ...], fault: Fault, kills: int) -> None:
    """By so many deaths, and not by fewer."""
    assert verdict(journal(Node(inputs, 2, fault), kills - 1)) is None
    assert verdict(journal(Node(inputs, 2, fault), kills)) is not None
