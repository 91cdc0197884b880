"""The growth of a ring, explored whole: store buffers, SIGKILL at every step, successors, and seeded faults."""

from __future__ import annotations

import pytest
from model.checker import Checker, Violation, verdict
from model.growth_model import Fault, growing
from model.systems import Kills

BOTH = ("writer", "reader")
RESTARTED = Kills(BOTH, restarts=True)


@pytest.mark.parametrize(("messages", "growth", "needs"), [(3, 1, 2), (4, 1, 2), (4, 2, 3), (5, 2, 4)])
def test_a_ring_that_grows_delivers_everything_in_its_place(messages: int, growth: int, needs: int) -> None:
    """Whenever the engine raises it, every record is read once, where it stands; who waited for room goes on."""
    checked = Checker(growing(messages, growth, needs, reduced=True)).run()
    assert {memory[0] for memory in checked.memories()} == set(range(messages + 1)), "every HEAD was reached"


@pytest.mark.parametrize("needs", [2, 0])
def test_the_reduction_hides_nothing(needs: int) -> None:
    """The same without taking private steps first."""
    Checker(growing(3, 1, needs)).run()


def test_without_growth_the_two_wait_for_each_other() -> None:
    """The reader takes nothing before there is more than the ring holds: the model would find a growth that is none."""
    with pytest.raises(Violation, match="waits for ever"):
        Checker(growing(3, 0, 2)).run()


@pytest.mark.parametrize("victim", BOTH)
def test_the_neighbour_of_a_killed_process_stops(victim: str) -> None:
    """After SIGKILL at any step of the growth the reader reads what was published and stops; the writer stops."""
    Checker(growing(4, 1, 0, kills=Kills((victim,)), reduced=True)).run()


@pytest.mark.parametrize(("messages", "growth", "needs"), [(3, 1, 2), (4, 1, 0), (4, 2, 3)])
def test_a_successor_finds_the_growth_from_the_words_alone(messages: int, growth: int, needs: int) -> None:
    """A new writer goes on in the region of HEAD, a new reader in that of ACK."""
    Checker(growing(messages, growth, needs, kills=RESTARTED, reduced=True)).run()


def test_the_growth_survives_two_restarts() -> None:
    """Both sides, or one of them twice, may be killed in one run."""
    Checker(growing(3, 1, 2, kills=Kills(BOTH, times=2, restarts=True), reduced=True)).run()


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        (Fault.RAISED_BEFORE_IT_IS_THERE, "touched before it is there"),
        (Fault.NO_BELL_AFTER_GENERATION, "waits for ever"),
        (Fault.GROWN_AT_AFTER_HEAD, "does not stand in region"),
        (Fault.GROWN_AT_LOADED_BEFORE_HEAD, "does not stand in region"),
        (Fault.READER_DOES_NOT_STOP_AT_GROWN_AT, "does not stand in region"),
        (Fault.ONE_TOO_MANY, "does not stand in region"),
        (Fault.WRITER_TRUSTS_GENERATION, "does not stand in region"),
        (Fault.READER_STARTS_IN_LAST_REGION, "does not stand in region"),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_a_fault_is_found(fault: Fault, broken: str) -> None:
    """Without anybody being killed; who starts late finds a ring that has grown, as a successor does."""
    models = (growing(messages, growth, needs, fault) for messages, growth, needs in ((3, 1, 2), (4, 1, 0)))
    assert broken in (verdict(*models) or "")


@pytest.mark.parametrize(
    "fault", [Fault.WRITER_STARTS_IN_FIRST_REGION, Fault.WRITER_MOVES_GROWN_AT], ids=lambda fault: fault.name
)
def test_a_fault_of_a_successor_is_found(fault: Fault) -> None:
    """Only where somebody is killed."""
    sizes = ((3, 2), (4, 0))
    assert verdict(*(growing(messages, 1, needs, fault) for messages, needs in sizes)) is None
    killed = (growing(messages, 1, needs, fault, RESTARTED, reduced=True) for messages, needs in sizes)
    assert "does not stand in region" in (verdict(*killed) or "")
