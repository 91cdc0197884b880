"""The ring that drops its oldest record, explored whole: store buffers, SIGKILL at every step, seeded faults."""

from __future__ import annotations

from dataclasses import replace

import pytest
from model.checker import Checker, verdict
from model.drop_model import Fault
from model.drop_systems import drop_pair
from model.systems import Kills

SIZES = [(1, 3), (2, 4)]
"""capacity, messages: enough to go around twice"""

OVERWRITING_FAULTS = [
    Fault.CLAIM_IGNORED,
    Fault.EVICT_AFTER_WRITE,
    Fault.INDEX_AFTER_HEAD,
]

CLAIMING_FENCES = [Fault.NO_FENCE_AFTER_EVICT, Fault.NO_FENCE_AFTER_CLAIM]
WAKING_FENCES = [Fault.NO_FENCE_AFTER_HEAD, Fault.NO_FENCE_AFTER_ENDED, Fault.NO_FENCE_AFTER_READER_WAITING]

OVERWRITTEN = "was overwritten, or is not what it claims to be"


def named(fault: Fault) -> str:
    return fault.name


def found(fault: Fault, *, tso: bool = True) -> str | None:
    """What breaks in the first of the small models that is wrong."""
    return verdict(*(drop_pair(1, 3, fault, ends=ends, tso=tso) for ends in (False, True)))


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "idles"])
@pytest.mark.parametrize(("capacity", "messages"), SIZES)
def test_the_dropping_ring_is_right(capacity: int, messages: int, ends: bool) -> None:
    """What is taken is whole, the last record is delivered, the ledger is exact, and nobody waits for ever."""
    checked = Checker(drop_pair(capacity, messages, cells=2, ends=ends)).run()
    evicted = {memory[1] for memory in checked.memories()}
    assert evicted == set(range(messages - capacity + 1)), "it dropped nothing, and all that it could"


@pytest.mark.parametrize("victim", ["writer", "reader"])
@pytest.mark.parametrize(("capacity", "messages"), SIZES)
def test_the_ledger_is_exact_after_sigkill(capacity: int, messages: int, victim: str) -> None:
    """Whoever is killed, at any step: what was received, dropped, and in flight is known."""
    Checker(drop_pair(capacity, messages, kills=Kills((victim,)))).run()


@pytest.mark.parametrize("victim", ["writer", "reader"])
@pytest.mark.parametrize(("capacity", "messages"), SIZES)
def test_a_restarted_process_goes_on(capacity: int, messages: int, victim: str) -> None:
    """A new reader resumes what was taken, a new writer leaves it alone."""
    Checker(drop_pair(capacity, messages, kills=Kills((victim,), restarts=True))).run()


def test_a_dropping_ring_survives_two_restarts() -> None:
    """Both sides, or one of them twice, may be killed in one run."""
    Checker(drop_pair(1, 2, kills=Kills(("writer", "reader"), times=2, restarts=True))).run()


@pytest.mark.parametrize("fault", CLAIMING_FENCES, ids=named)
def test_a_missing_fence_of_the_claim_is_found_only_with_store_buffers(fault: Fault) -> None:
    """The writer misses the claim and the reader the eviction: a record is overwritten while it is read."""
    assert OVERWRITTEN in (found(fault) or "")
    assert found(fault, tso=False) is None


@pytest.mark.parametrize("fault", WAKING_FENCES, ids=named)
def test_a_missing_fence_of_the_wake_up_is_found_only_with_store_buffers(fault: Fault) -> None:
    """The reader sleeps for ever."""
    assert "reader waits for ever: poll" in (found(fault) or "")
    assert found(fault, tso=False) is None


@pytest.mark.parametrize("fault", OVERWRITING_FAULTS, ids=named)
def test_a_record_overwritten_while_it_is_read_is_found(fault: Fault) -> None:
    """Whatever the memory model."""
    assert OVERWRITTEN in (found(fault) or "")
    assert OVERWRITTEN in (found(fault, tso=False) or "")


def test_a_writer_that_moves_the_position_of_the_reader_is_found() -> None:
    """The ledger is wrong, and where nobody looks at it a record is overwritten while it is read."""
    model = drop_pair(1, 3, Fault.WRITER_MOVES_NEXT)
    assert "the ledger says" in (verdict(model) or "")
    assert OVERWRITTEN in (verdict(replace(model, invariant=lambda _: None)) or "")


def test_a_count_that_is_not_committed_with_the_position_is_found() -> None:
    """In between, the ledger is wrong: for ever, if that is where the reader was killed."""
    model = drop_pair(1, 2, Fault.TWO_COMMITS, Kills(("reader",)))
    assert "the ledger says" in (verdict(model) or "")


@pytest.mark.parametrize(
    ("victim", "fault"),
    [
        ("reader", Fault.NO_VALID_WORD),
        ("reader", Fault.READER_ASKS_INDEX),
        ("writer", Fault.WRITER_ASKS_INDEX),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_a_restart_that_trusts_too_much_is_found(victim: str, fault: Fault) -> None:
    """A claim may have failed, and the index may have moved on; without a restart neither does harm."""
    assert OVERWRITTEN in (verdict(drop_pair(1, 3, fault, Kills((victim,), restarts=True))) or "")
    assert verdict(drop_pair(1, 3, fault)) is None


def test_the_reduction_reaches_the_same_verdicts() -> None:
    """Taking private steps first hides none of the faults, and lets the right protocol pass."""
    for fault in Fault:
        model = drop_pair(1, 2, fault)
        assert (verdict(model) is None) == (verdict(replace(model, reduced=False)) is None), fault


def test_the_reduction_reaches_the_same_ends() -> None:
    """A process that is killed only where it can be told leaves behind whatever it might have left."""

    def ends(*, reduced: bool) -> set[tuple[int, ...]]:
        seen = set()
        model = drop_pair(1, 2, kills=Kills(("reader",), restarts=True), reduced=reduced)
        Checker(replace(model, final=lambda memory, _: seen.add(tuple(memory.values())))).run()
        return seen

    assert ends(reduced=True) == ends(reduced=False)
