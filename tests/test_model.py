"""The protocol of the ring, explored whole: store buffers, SIGKILL at every step, and faults made on purpose."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from model.behaviour import Body, Process
from model.checker import Checker, Model, Violation, verdict
from model.operations import FENCE, drain, fail, load, poll, reap, ring, spawn, store
from model.ring_model import Fault
from model.systems import Kills, busy_reader, chain, merge, pair, stray_bell

BUFFERED_FAULTS = [
    Fault.NO_FENCE_AFTER_READER_WAITING,
    Fault.NO_FENCE_AFTER_WRITER_WAITING,
    Fault.NO_FENCE_AFTER_HEAD,
    Fault.NO_FENCE_AFTER_ENDED,
    Fault.NO_FENCE_AFTER_ACK,
]
"""Found only with store buffers."""

STUCK_FAULTS = [
    Fault.NO_BELL_AFTER_ENDED,
    Fault.READER_CHECKS_BEFORE_FLAG,
    Fault.WRITER_CHECKS_BEFORE_FLAG,
    Fault.READER_CLEARS_BEFORE_CHECK,
    Fault.WRITER_CLEARS_BEFORE_CHECK,
]
"""Somebody sleeps for ever, whatever the memory model."""


def store_then_load(mine: str, other: str, fenced: bool) -> Body:
    yield store(mine, 1)
    if fenced:
        yield FENCE
    return (yield load(other)) + 1


def dekker(*, tso: bool, fenced: bool) -> Model:
    """Each of two stores its word and looks at the other's: may both miss each other?"""
    processes = tuple(Process(a, partial(store_then_load, a, b, fenced)) for a, b in ("xy", "yx"))
    both = {"x": 1, "y": 1}
    return Model({"x": 0, "y": 0}, processes, final=lambda _, got: "both missed" if got == both else None, tso=tso)


@pytest.mark.parametrize(("tso", "fenced", "missed"), [(True, False, True), (True, True, False), (False, False, False)])
def test_a_load_overtakes_a_store_only_in_a_store_buffer_without_a_fence(tso: bool, fenced: bool, missed: bool) -> None:
    """The store-buffering litmus test comes out as x86-TSO says."""
    if missed:
        with pytest.raises(Violation, match="both missed"):
            Checker(dekker(tso=tso, fenced=fenced)).run()
    else:
        assert len(Checker(dekker(tso=tso, fenced=fenced)).run().states) > 8


def stores_two() -> Body:
    yield store("payload", 1)
    yield store("head", 1)
    return True


def loads_two() -> Body:
    if (yield load("head")) and not (yield load("payload")):
        yield fail("out of order")
    return True


@pytest.mark.parametrize("kills", [0, 1])
def test_stores_reach_memory_in_order_even_after_sigkill(kills: int) -> None:
    """The message-passing litmus test holds under TSO, and the stores of a killed process drain in order too."""
    processes = (Process("writer", stores_two, killable=True), Process("reader", loads_two))
    checked = Checker(Model({"payload": 0, "head": 0}, processes, kills=kills)).run()
    assert checked.memories() == {(0, 0), (1, 0), (1, 1)}


def test_a_supervisor_sees_the_stores_of_whom_it_reaped() -> None:
    """`reap` waits for the store buffer of a killed process, tells how it ended, and `spawn` starts it again."""

    def watch() -> Body:
        if (yield reap("writer")) == 1:
            yield spawn("writer")
            yield reap("writer")
        if not (yield load("head")):
            yield fail("not written")
        return True

    processes = (Process("writer", stores_two, killable=True), Process("watch", watch))
    Checker(Model({"payload": 0, "head": 0}, processes, kills=1)).run()


def test_a_run_that_need_not_end_is_found() -> None:
    """Polling a bell that nobody drains is a cycle, which is reported as well as a standstill."""

    def restless() -> Body:
        yield ring("bell")
        while True:
            yield poll("bell")

    with pytest.raises(Violation, match="a run that never ends"):
        Checker(Model({"bell": 0}, (Process("restless", restless),))).run()


def test_the_trace_is_a_shortest_run_in_words() -> None:
    """A violation names the process, its step and the memory after it."""

    def sleeper() -> Body:
        yield store("word", 7)
        yield poll("bell")
        yield drain("bell")

    with pytest.raises(Violation) as caught:
        Checker(Model({"word": 0, "bell": 0}, (Process("sleeper", sleeper),))).run()
    claim, *steps = str(caught.value).splitlines()
    assert claim.startswith("sleeper waits for ever: poll bell; 2 steps")
    assert [line.split() for line in steps] == [
        ["sleeper", "store", "word", "=", "7"],
        ["sleeper", "...", "word", "=", "7", "reaches", "memory", "word=7"],
    ]


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "idles"])
@pytest.mark.parametrize("messages", [3, 4])
@pytest.mark.parametrize("capacity", [1, 2])
def test_the_ring_is_right(capacity: int, messages: int, ends: bool) -> None:
    """Every run ends, with every record delivered once, in order and whole, and no slot overwritten too early."""
    checked = Checker(pair(capacity, messages, ends=ends)).run()
    assert {memory[0] for memory in checked.memories()} == set(range(messages + 1)), "every HEAD was reached"


@pytest.mark.parametrize("capacity", [1, 2])
def test_rings_for_nothing_do_no_harm(capacity: int) -> None:
    """Either bell may ring at any time for another reason."""
    strays = [Process(f"stray {who}", partial(stray_bell, f"{who}.bell")) for who in ("writer", "reader")]
    Checker(pair(capacity, 3, Fault.NONE, Kills(times=0), *strays)).run()


@pytest.mark.parametrize("victim", ["writer", "reader"])
@pytest.mark.parametrize("capacity", [1, 2])
def test_the_neighbour_of_a_killed_process_stops(capacity: int, victim: str) -> None:
    """After SIGKILL at any step the reader reads what was published and stops; the writer stops."""
    Checker(pair(capacity, 3, kills=Kills((victim,)))).run()


@pytest.mark.parametrize("capacity", [1, 2])
def test_a_restarted_process_goes_on_where_the_ring_says(capacity: int) -> None:
    """A new reader begins at ACK, a new writer at HEAD: everything is delivered, twice at most."""
    Checker(pair(capacity, 3, kills=Kills(("writer", "reader"), restarts=True))).run()


def test_a_ring_survives_two_restarts() -> None:
    """Both sides, or one of them twice, may be killed in one run."""
    Checker(pair(1, 2, kills=Kills(("writer", "reader"), times=2, restarts=True))).run()


def test_one_bell_serves_a_reader_of_two_rings() -> None:
    """A reader that waits for two rings at one bell misses neither."""
    Checker(merge(1, 2)).run()


def test_one_bell_serves_both_sides_of_a_stage() -> None:
    """Three processes in a row: the one in the middle waits for data and for room at the same bell."""
    Checker(chain(1, 2)).run()


@pytest.mark.parametrize(("victim", "messages"), [("first", 1), ("middle", 2), ("last", 1)])
def test_a_chain_comes_to_its_end_around_a_killed_process(victim: str, messages: int) -> None:
    """Whoever of three in a row is killed, the others finish or give up, and nothing published is lost."""
    Checker(chain(1, messages, Kills((victim,)))).run()


def found(fault: Fault, *, tso: bool = True) -> str | None:
    """What breaks in the first of the small models that is wrong."""
    sizes = ((1, True), (1, False), (2, True))
    pairs = [pair(capacity, 3, fault, ends=ends, tso=tso) for capacity, ends in sizes]
    return verdict(*pairs, busy_reader(1, 1, 1, fault, tso=tso))


@pytest.mark.parametrize("fault", BUFFERED_FAULTS, ids=lambda fault: fault.name)
def test_a_missing_fence_is_found_only_with_store_buffers(fault: Fault) -> None:
    """Without its fence somebody sleeps for ever; a model of sequential consistency calls the same protocol right."""
    assert "waits for ever: poll" in (found(fault) or "")
    assert found(fault, tso=False) is None


@pytest.mark.parametrize("fault", STUCK_FAULTS, ids=lambda fault: fault.name)
def test_a_lost_wake_up_is_found(fault: Fault) -> None:
    """A flag in the wrong place, or a bell left out, leaves somebody asleep."""
    assert "waits for ever: poll" in (found(fault) or "")


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        (Fault.HEAD_BEFORE_PAYLOAD, "stale or half written"),
        (Fault.ACK_BEFORE_READ, "stale or half written"),
        (Fault.ENDED_AFTER_HEAD, "the reader thinks it is done"),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_a_wrong_order_is_found(fault: Fault, broken: str) -> None:
    """Records are read before they stand there, after they were overwritten, or not at all."""
    assert broken in (found(fault) or "")


@pytest.mark.parametrize(("victim", "sleeper"), [("writer", "reader"), ("reader", "writer")])
def test_a_supervisor_that_does_not_ring_is_found(victim: str, sleeper: str) -> None:
    """A process killed between its store and its bell leaves the other asleep, unless the supervisor rings."""
    with pytest.raises(Violation, match=f"{sleeper} waits for ever: poll {sleeper}.bell") as caught:
        Checker(pair(1, 3, Fault.SILENT_SUPERVISOR, Kills((victim,)))).run()
    assert "SIGKILL" in str(caught.value)


def test_the_reduction_reaches_the_same_verdicts() -> None:
    """Taking private steps first hides none of the faults, and lets the right protocol pass."""
    for fault in Fault:
        kills = Kills(("writer", "reader")) if fault is Fault.SILENT_SUPERVISOR else Kills(times=0)
        for ends in (True, False):
            model = pair(1, 3, fault, kills, ends=ends)
            verdicts = [verdict(replace(model, reduced=reduced)) is None for reduced in (False, True)]
            assert len(set(verdicts)) == 1, f"{fault}: {verdicts}"
