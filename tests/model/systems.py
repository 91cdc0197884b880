"""Rings put together: writers, readers and stages, who may be killed, who watches them, and what must hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from model.behaviour import Body, Process
from model.checker import Model
from model.operations import reap, ring, spawn, store
from model.ring_model import Fault, Ring, Rings, reader, writer
from model.stages import multiplier, source, stage, zipper

Words: TypeAlias = tuple[str, ...]


def supervisor(process: str, lost: Words, bells: Words, *, restarts: bool) -> Body:
    """Waits for one process to fail; marks its rings, rings its neighbours before anything else, may start it again."""
    while ended := (yield reap(process)):
        restart = ended == 1 and restarts
        for word in () if restart else lost:
            yield store(word, 1)
        for bell in bells:
            yield ring(bell)
        if not restart:
            break
        yield spawn(process)


def stray_bell(bell: str) -> Body:
    """Somebody rings for nothing, once, at any time."""
    yield ring(bell)


def no_record_overwritten(rings: Rings, memory: Mapping[str, int]) -> str | None:
    """A cell holds record n only once record n - capacity was acknowledged, and the positions make sense."""
    for at in rings:
        acknowledged, head = memory[at.ACK], memory[at.HEAD]
        if not acknowledged <= head <= acknowledged + at.capacity:
            return f"{at.name}: HEAD {head} and ACK {acknowledged} with {at.capacity} slots"
        for slot in range(at.capacity):
            newest = max((memory[at.cell(slot, half)] for half in range(at.cells)), default=0)
            if newest > acknowledged + at.capacity:
                return f"{at.name}: record {newest - 1} was written over one that was not acknowledged"
    return None


def all_delivered(rings: Rings, restarts: int, memory: Mapping[str, int], results: Mapping[str, Any]) -> str | None:
    """At the end: what was published was delivered, twice only after a restart, and nobody gave up without reason."""
    for at in rings:
        times = [memory[at.delivered(record)] for record in range(at.messages)]
        published = memory[at.HEAD]
        if max(times) > 1 + restarts:
            return f"{at.name}: deliveries {times}"
        if results.get(at.reader) and not (all(times[:published]) and memory[at.ACK] == published):
            return f"{at.name}: {published} were published, delivered {times}, and the reader thinks it is done"
        given = [memory[source.HEAD] for source in rings if source.reader == at.writer] or [at.messages]
        if results.get(at.writer) and [published] != given:
            return f"{at.name}: the writer thinks it is done after {published} of {given}"
    gave_up = [name for name, result in results.items() if result is False]
    everybody = {name for at in rings for name in (at.writer, at.reader)}
    return f"{gave_up} gave up, and nobody was killed" if gave_up and everybody <= set(results) else None


def _nothing_more(_memory: Mapping[str, int], _results: Mapping[str, Any]) -> None:
    """It is enough that everybody comes to an end."""


@dataclass(frozen=True)
class Kills:
    """SIGKILL for one of `victims`, at most `times` in a run; its supervisor starts it again or marks it as lost."""

    victims: tuple[str, ...] = ()
    times: int = 1
    restarts: bool = False


NOBODY = Kills(times=0)


def watched(process: str, lost: Words, bells: Words, kills: Kills) -> Process:
    """The supervisor of a process, as a process."""
    watch = partial(supervisor, process, lost, bells, restarts=kills.restarts)
    return Process(f"{process}'s supervisor", watch, daemon=True)


def assemble(
    rings: Rings,
    bodies: Mapping[str, Callable[[], Body]],
    kills: Kills,
    *extra: Process,
    tso: bool = True,
    reduced: bool = False,
) -> Model:
    """A model of processes around rings; where anybody can be killed, every process has its supervisor."""
    memory: dict[str, int] = {}
    for at in rings:
        memory |= at.memory()
    processes = [Process(name, body, killable=name in kills.victims) for name, body in bodies.items()]
    for name in bodies if kills.victims else ():
        written = tuple(at for at in rings if at.writer == name)
        read = tuple(at for at in rings if at.reader == name)
        lost = (*(at.WRITER_LOST for at in written), *(at.READER_LOST for at in read))
        bells = (*(at.reader_bell for at in written), *(at.writer_bell for at in read))
        silent = rings[0].fault is Fault.SILENT_SUPERVISOR
        processes.append(watched(name, lost, () if silent else bells, kills))
    return Model(
        memory,
        (*processes, *extra),
        partial(no_record_overwritten, rings),
        partial(all_delivered, rings, kills.times if kills.restarts else 0),
        kills.times,
        tso,
        reduced,
    )


def pair(
    capacity: int,
    messages: int,
    fault: Fault = Fault.NONE,
    kills: Kills = NOBODY,
    *extra: Process,
    ends: bool = True,
    batch: int = 1,
    hold: int = 1,
    tso: bool = True,
    reduced: bool = False,
) -> Model:
    """A writer and a reader; without an end the reader stops by itself after the last record."""
    at = Ring("writer", "reader", capacity, messages, fault, batch=batch, hold=hold)
    read = partial(reader, at, records=None if ends else messages)
    bodies = {"writer": partial(writer, at, ends=ends), "reader": read}
    return assemble((at,), bodies, kills, *extra, tso=tso, reduced=reduced)


def busy_reader(capacity: int, batch: int, hold: int, fault: Fault = Fault.NONE, *, tso: bool = True) -> Model:
    """The reader acknowledges `hold` records at once, then works for ever: it does not come to sleep.

    The writer has records for all the room that this makes, and must be woken by the acknowledgement alone.
    """
    at = Ring("writer", "reader", capacity, capacity + hold, fault, batch=batch, hold=hold)
    bodies = {"writer": partial(writer, at, ends=False), "reader": partial(reader, at, records=hold)}
    return replace(assemble((at,), bodies, NOBODY, tso=tso), final=_nothing_more)


def chain(capacity: int, messages: int, kills: Kills = NOBODY) -> Model:
    """Three in a row: the one in the middle reads one ring and writes the next, with one bell for both."""
    first, second = (Ring(a, b, capacity, messages, cells=1) for a, b in (("first", "middle"), ("middle", "last")))
    bodies = {"first": partial(writer, first), "middle": partial(stage, first, second), "last": partial(reader, second)}
    return assemble((first, second), bodies, kills, reduced=True)


def merge(capacity: int, messages: int, kills: Kills = NOBODY) -> Model:
    """Two writers and one reader that waits for both rings at one bell."""
    rings = tuple(Ring(name, "reader", capacity, messages, cells=1) for name in ("left", "right"))
    bodies = {at.writer: partial(writer, at) for at in rings}
    return assemble(rings, {**bodies, "reader": partial(reader, *rings)}, kills, reduced=True)


def diamond(fault: Fault = Fault.NONE) -> Model:
    """A source, a node that makes more records than it gets, and one that pairs the two: a graph that needs no growth.

    The source may wait for two acknowledgements of a node that gives one, and then waits itself for room.
    """
    wide = Ring("source", "node", 2, 3, fault, cells=0, batch=2)
    narrow = Ring("source", "zip", 1, 3, fault, cells=0)
    many = Ring("node", "zip", 1, 4, fault, cells=0)
    bodies = {
        "source": partial(source, wide, narrow),
        "node": partial(multiplier, wide, many, (2, 2, 0)),
        "zip": partial(zipper, narrow, many),
    }
    return replace(assemble((wide, narrow, many), bodies, NOBODY, reduced=True), final=_nothing_more)
