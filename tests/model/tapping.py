"""A third process that copies records of a ring, of which nobody knows (shm/tapping.py): what it takes must be whole.

It copies first and then looks whether it copied that record. A record has two cells here: the header, which says which
record it is, and the payload. Where it says no, the record is lost to it, which is always allowed.
"""

from __future__ import annotations

import enum
from dataclasses import replace
from functools import partial

from model.behaviour import Body, Process
from model.checker import Model
from model.drop_model import DropRing
from model.drop_systems import drop_pair
from model.lease_model import Edges, View, byte, head, payload, record, sequence
from model.lease_systems import leases
from model.operations import fail, load
from model.ring_model import Ring
from model.systems import NOBODY, Kills, pair


class TapFault(enum.Enum):
    """What is done wrong on purpose: each of these the checker must find."""

    NONE = "nothing"
    NO_LOOK = "nobody looks whether the record was still there"
    LOOKS_FIRST = "it is looked at before the copy"
    ONE_TOO_LATE = "a slot counts as whole until HEAD is past the record that follows in it"
    BYTE_ALONE = "the byte of the lane is looked at, and not its sequence"
    SEQUENCE_ALONE = "the sequence is looked at, and not the byte"
    SEQUENCE_BEFORE_BYTE = "the sequence is looked at, then the byte"


def tap(at: Ring, wrong: TapFault) -> Body:
    """Copies what is in a ring that keeps what it has."""
    newest = yield load(at.HEAD)
    for position in range(newest):
        there = (yield from _is_there(at, position, wrong)) if wrong is TapFault.LOOKS_FIRST else True
        header = yield load(at.cell(position, 0))
        contents = yield load(at.cell(position, 1))
        if wrong is not TapFault.LOOKS_FIRST:
            there = yield from _is_there(at, position, wrong)
        if there and header == position + 1 and contents != header:
            yield fail(f"half of record {position} was taken")
    return True


def _is_there(at: Ring, position: int, wrong: TapFault) -> Body:
    if wrong is TapFault.NO_LOOK:
        return True
    if (yield load(at.ACK)) <= position:
        return True
    last = position + at.capacity - (wrong is not TapFault.ONE_TOO_LATE)
    return (yield load(at.HEAD)) <= last


def tap_dropping(at: DropRing, wrong: TapFault) -> Body:
    """Copies what is in a ring that drops its oldest."""
    newest = yield load("HEAD")
    for position in range(newest):
        slot = yield load(at.index(position))
        header = yield load(at.cell(slot, 0))
        contents = yield load(at.cell(slot, 1))
        again = header if wrong is TapFault.NO_LOOK else (yield load(at.cell(slot, 0)))
        if header == again == position + 1 and contents != header:
            yield fail(f"half of record {position} was taken")
    return True


def tap_slabs(at: Edges, wrong: TapFault) -> Body:
    """Copies what stands in the slabs of a lane."""
    newest = yield load(head(0))
    for position in range(newest):
        slab = yield load(record(0, position))
        held = (yield from _is_held(slab, position, wrong)) if wrong is TapFault.LOOKS_FIRST else True
        contents = yield load(payload(slab))
        if wrong is not TapFault.LOOKS_FIRST:
            held = yield from _is_held(slab, position, wrong)
        if held and contents != position + 1:
            yield fail(f"another payload than that of record {position} was taken")
    return True


def _is_held(slab: int, position: int, wrong: TapFault) -> Body:
    if wrong is TapFault.NO_LOOK:
        return True
    if wrong is TapFault.SEQUENCE_BEFORE_BYTE:
        is_its = (yield load(sequence(slab, 0))) == position
        return is_its and bool((yield load(byte(slab, 0))))
    if wrong is not TapFault.SEQUENCE_ALONE and not (yield load(byte(slab, 0))):
        return False
    return wrong is TapFault.BYTE_ALONE or (yield load(sequence(slab, 0))) == position


def _with(model: Model, body: Body) -> Model:
    """A model with somebody who looks on, for whom nobody waits and who changes nothing."""
    return replace(model, processes=(*model.processes, Process("tap", body)))


def tapped(capacity: int, messages: int, fault: TapFault = TapFault.NONE, kills: Kills = NOBODY) -> Model:
    at = Ring("writer", "reader", capacity, messages)
    return _with(pair(capacity, messages, kills=kills, ends=False, reduced=True), partial(tap, at, fault))


def tapped_dropping(capacity: int, messages: int, fault: TapFault = TapFault.NONE, kills: Kills = NOBODY) -> Model:
    at = DropRing(capacity, messages, cells=2)
    model = drop_pair(capacity, messages, kills=kills, cells=2, ends=False, bell=False)
    return _with(model, partial(tap_dropping, at, fault))


def tapped_slabs(slabs: int, messages: int, fault: TapFault = TapFault.NONE, view: View = View.AFTER_ACK) -> Model:
    return _with(leases(slabs, 1, messages, view=view), partial(tap_slabs, Edges(slabs, 1, messages, view), fault))
