"""The journal of a worker (executors/multiprocess/journal.py), step by step, with a successor for each that is killed.

A *stateless* node notes the positions of its output edges (bases), then what it has in hand, publishes, acknowledges.
A node with *snapshots* logs what it takes; now and then it writes state, positions and bases where the last commit is
not, makes that one the active commit by a single store, and acknowledges. A successor goes to the note, or to the
active commit, does the same again, and keeps back what was published since.

Rings are the rings' business: all inputs are there, outputs have room for everything. Input n of the stateless node
gives `OUTPUTS[n]`; the other node merges two inputs in whatever order, and what it gives tells the whole order so far.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from model.behaviour import Body, Process
from model.checker import Model
from model.operations import fail, load, poll_timed, store
from model.systems import Kills, watched

OUTPUTS = ((0, 1, 0), (1,), (), (0, 0))
"""Of each input of the stateless node: the edges of its outputs, in their order."""
Row: TypeAlias = tuple[int, ...]


class Fault(enum.Enum):
    """What is done wrong on purpose: each of these the checker must find."""

    NONE = "nothing"
    NOTHING_KEPT_BACK = "a successor publishes everything again"
    IN_HAND_BEFORE_BASES = "what is in hand is noted before the bases"
    BASES_BY_SUCCESSOR = "a successor notes its own bases for what it does again"
    IN_HAND_IS_TRUSTED = "a successor does again what is in hand, although it was acknowledged"
    ACKNOWLEDGED_FIRST = "an input is acknowledged before its outputs are published, or before the commit"
    FLIPPED_EARLY = "the commit is made the active one before it has its bases"
    COMMITTED_IN_PLACE = "the commit is written over the active one"
    LOGGED_LATE = "what is taken is logged when its outputs are published"
    COUNTED_FIRST = "the log is said to be longer before it is"
    LOG_IS_KEPT = "a commit does not empty its log"
    LOGGED_AGAIN = "a successor logs anew what it does again"
    NOT_BROUGHT_UP = "a successor does not acknowledge what was committed"


@dataclass(frozen=True)
class Node:
    """A worker with two output edges. `inputs`: how many data of each input edge; `every`: inputs to a commit."""

    inputs: Row
    every: int = 2
    fault: Fault = Fault.NONE

    def memory(self) -> dict[str, int]:
        inputs, total = range(len(self.inputs)), sum(self.inputs)
        names = [*(f"input{i}.ACK" for i in inputs), "ACTIVE", "IN_HAND"]
        names += [f"edge{k}.{name}" for k in range(2) for name in ("HEAD", "BASE")]
        names += [f"edge{k}.record{n}" for k in range(2) for n in range(2 * total + 2)]
        for copy in range(2):
            names += [f"commit{copy}.{name}" for name in ("state", "logged", "base0", "base1")]
            names += [f"commit{copy}.position{i}" for i in inputs] + [f"commit{copy}.log{n}" for n in range(total)]
        return dict.fromkeys(names, 0) | {"coin": 1}


def put(row: Row, at: int, value: int) -> Row:
    return (*row[:at], value, *row[at + 1 :])


def both(words: str) -> Body:
    return (yield load(words.format(0))), (yield load(words.format(1)))


def since(heads: Row, bases: Row) -> Body:
    counts = (heads[0] - bases[0], heads[1] - bases[1])
    if min(counts) < 0:
        yield fail("the journal says more outputs than there were")
    return counts


def publish(edge: int, value: int, heads: Row, repeats: Row) -> Body:
    """(heads, what is still to come again)."""
    if repeats[edge]:
        if (yield load(f"edge{edge}.record{heads[edge] - repeats[edge]}")) != value:
            yield fail(f"edge {edge}: what comes again is not what was published")
        return heads, put(repeats, edge, repeats[edge] - 1)
    yield store(f"edge{edge}.record{heads[edge]}", value)
    yield store(f"edge{edge}.HEAD", heads[edge] + 1)
    return put(heads, edge, heads[edge] + 1), repeats


def stateless(at: Node) -> Body:
    acknowledged = yield load("input0.ACK")
    heads = yield from both("edge{}.HEAD")
    in_hand = yield load("IN_HAND")
    again = in_hand > (0 if at.fault is Fault.IN_HAND_IS_TRUSTED else acknowledged)
    repeats: Row = (0, 0)
    if again:
        repeats = yield from since(heads, (yield from both("edge{}.BASE")))
    if at.fault is Fault.NOTHING_KEPT_BACK:
        repeats = (0, 0)
    while acknowledged < at.inputs[0]:
        if not again or at.fault is Fault.BASES_BY_SUCCESSOR:
            yield from note(at, acknowledged, heads)
        again = False
        if at.fault is Fault.ACKNOWLEDGED_FIRST:
            yield store("input0.ACK", acknowledged + 1)
        for number, edge in enumerate(OUTPUTS[acknowledged]):
            heads, repeats = yield from publish(edge, 10 * acknowledged + number + 1, heads, repeats)
        if any(repeats):
            yield fail("what was published does not come again")
        acknowledged += 1
        yield store("input0.ACK", acknowledged)
    return True


def note(at: Node, number: int, heads: Row) -> Body:
    if at.fault is Fault.IN_HAND_BEFORE_BASES:
        yield store("IN_HAND", number + 1)
    yield store("edge0.BASE", heads[0])
    yield store("edge1.BASE", heads[1])
    if at.fault is not Fault.IN_HAND_BEFORE_BASES:
        yield store("IN_HAND", number + 1)


def keeper(at: Node) -> Body:
    """The node with snapshots; its state is the order of its inputs, as a number with a digit for each."""
    active = yield load("ACTIVE")
    state = yield load(f"commit{active}.state")
    taken = yield from both(f"commit{active}.position{{}}")
    bases = yield from both(f"commit{active}.base{{}}")
    again = yield load(f"commit{active}.logged")
    acknowledged = yield from both("input{}.ACK")
    if at.fault is not Fault.NOT_BROUGHT_UP:
        acknowledged = yield from acknowledge(acknowledged, taken)
    heads = yield from both("edge{}.HEAD")
    repeats = yield from since(heads, bases)
    if at.fault is Fault.NOTHING_KEPT_BACK:
        repeats = (0, 0)
    noted, settled = 0, taken
    while noted < again or taken != at.inputs:
        number = yield from take(at, active, noted, again, taken)
        if at.fault is Fault.ACKNOWLEDGED_FIRST:
            acknowledged = yield from acknowledge(acknowledged, put(acknowledged, number, acknowledged[number] + 1))
            settled = put(settled, number, settled[number] + 1)
        state, taken = 3 * state + number + 1, put(taken, number, taken[number] + 1)
        for edge in (0, 1) if number else (0,):
            heads, repeats = yield from publish(edge, state, heads, repeats)
        if at.fault is Fault.LOGGED_LATE and noted >= again:
            yield from log(at, active, noted, number)
        noted += 1
        if noted < again:
            continue
        if any(repeats):
            yield fail("what was published does not come again")
        if noted >= at.every or taken == at.inputs:
            active = yield from commit(at, active, state, taken, heads)
            noted = again = 0
            done = (acknowledged[0] + taken[0] - settled[0], acknowledged[1] + taken[1] - settled[1])
            settled, acknowledged = taken, (yield from acknowledge(acknowledged, done))
    return True


def take(at: Node, active: int, noted: int, again: int, taken: Row) -> Body:
    """From which input the next datum is taken: as the log says, else whichever has one."""
    if noted < again:
        number = (yield load(f"commit{active}.log{noted}")) - 1
        if number < 0:
            yield fail("the log is shorter than it says")
        if at.fault is Fault.LOGGED_AGAIN:
            yield from log(at, active, noted, number)
    else:
        if taken[0] == at.inputs[0] or taken[1] == at.inputs[1]:
            number = int(taken[0] == at.inputs[0])
        else:
            number = yield poll_timed("coin")
        if at.fault is not Fault.LOGGED_LATE:
            yield from log(at, active, noted, number)
    if taken[number] >= at.inputs[number]:
        yield fail("the log says more inputs than there are")
    if (yield load(f"input{number}.ACK")) > taken[number]:
        yield fail(f"input {number} is done again after it was acknowledged")
    return number


def log(at: Node, active: int, noted: int, number: int) -> Body:
    if at.fault is Fault.COUNTED_FIRST:
        yield store(f"commit{active}.logged", noted + 1)
    yield store(f"commit{active}.log{noted}", number + 1)
    yield store(f"commit{active}.logged", noted + 1)


def commit(at: Node, active: int, state: int, taken: Row, heads: Row) -> Body:
    other = active if at.fault is Fault.COMMITTED_IN_PLACE else 1 - active
    yield store(f"commit{other}.state", state)
    for number in range(2):
        yield store(f"commit{other}.position{number}", taken[number])
    if at.fault is Fault.FLIPPED_EARLY:
        yield store("ACTIVE", other)
    for edge in range(2):
        yield store(f"commit{other}.base{edge}", heads[edge])
    if at.fault is not Fault.LOG_IS_KEPT:
        yield store(f"commit{other}.logged", 0)
    yield store("ACTIVE", other)
    return other


def acknowledge(before: Row, after: Row) -> Body:
    for number in range(2):
        if after[number] > before[number]:
            yield store(f"input{number}.ACK", after[number])
    return after


def journal(at: Node, kills: int, *, reduced: bool = True) -> Model:
    """A node, stateless where it has one input, that is killed so often, and started again each time."""
    body = partial(stateless if len(at.inputs) == 1 else keeper, at)
    fire = Kills(("node",), times=kills, restarts=True)
    processes = (Process("node", body, killable=True), watched("node", (), (), fire))
    final = partial(_once if len(at.inputs) == 1 else _one_order, at)
    return Model(at.memory(), processes, final=final, kills=kills, reduced=reduced)


def _published(memory: Mapping[str, int], edge: int) -> Row:
    return tuple(memory[f"edge{edge}.record{number}"] for number in range(memory[f"edge{edge}.HEAD"]))


def _once(at: Node, memory: Mapping[str, int], _: Mapping[str, Any]) -> str | None:
    """Each edge has what it is to have."""
    given = [(edge, 10 * n + index + 1) for n in range(at.inputs[0]) for index, edge in enumerate(OUTPUTS[n])]
    for edge in range(2):
        expected = tuple(value for to, value in given if to == edge)
        if _published(memory, edge) != expected:
            return f"edge {edge} has {_published(memory, edge)} instead of {expected}"
    return None if memory["input0.ACK"] == at.inputs[0] else f"{memory['input0.ACK']} inputs are acknowledged"


def _one_order(at: Node, memory: Mapping[str, int], _: Mapping[str, Any]) -> str | None:
    """There is one order of the inputs, in which each has its turn, and both edges tell it."""
    states = _published(memory, 0)
    digits = [state % 3 for state in states]
    right = len(states) == sum(at.inputs) and all(
        state == 3 * before + digit for state, before, digit in zip(states, (0, *states), digits, strict=False)
    )
    if not right or (digits.count(1), digits.count(2)) != at.inputs:
        return f"edge 0 has {states}, which is no order of its inputs"
    if _published(memory, 1) != tuple(state for state in states if state % 3 == 2):
        return f"edge 1 has {_published(memory, 1)} beside {states}"
    acknowledged = (memory["input0.ACK"], memory["input1.ACK"])
    return None if acknowledged == at.inputs else f"{acknowledged} inputs are acknowledged"
