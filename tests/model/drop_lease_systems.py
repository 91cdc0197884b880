"""Slabs on a dropping ring between two processes that may be killed, and what must hold."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from model.behaviour import Process
from model.checker import Model
from model.drop_lease_model import PUBLISHED, LeasedRing, LeaseFault, byte, reader, sequence, writer
from model.drop_systems import Ledger, ledger_is_exact
from model.lease_model import View
from model.systems import NOBODY, Kills, watched


def nothing_leaks(at: LeasedRing, memory: Mapping[str, int], results: Mapping[str, Any]) -> str | None:
    """At the end: everything was read or dropped, and only what the writer would still look at holds a slab."""
    if Ledger.of(memory).in_flight:
        return f"something is left in the ring: {Ledger.of(memory)}"
    _, limbo = results["writer"]
    for slab in range(at.slabs):
        value = memory[byte(slab)]
        if value and (value, (memory[sequence(slab)], slab)) != (PUBLISHED, limbo):
            return f"slab {slab} leaks with byte {value}"
    return None


def drop_leases(
    capacity: int,
    messages: int,
    slabs: int,
    fault: LeaseFault = LeaseFault.NONE,
    kills: Kills = NOBODY,
    *,
    view: View = View.AFTER_ACK,
    tso: bool = True,
    reduced: bool = True,
) -> Model:
    """A writer that never waits, and a reader that waits for ever; who is killed is started again."""
    at = LeasedRing(capacity, messages, slabs=slabs, view=view, wrong=fault)
    processes = [
        Process("writer", partial(writer, at), killable="writer" in kills.victims),
        Process("reader", partial(reader, at), killable="reader" in kills.victims, daemon=True),
    ]
    processes += [watched(victim, (), (), kills) for victim in kills.victims]
    return Model(
        at.memory(),
        tuple(processes),
        partial(ledger_is_exact, at),
        partial(nothing_leaks, at),
        kills.times,
        tso,
        reduced,
    )
