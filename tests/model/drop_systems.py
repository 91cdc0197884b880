"""The dropping ring between two processes that may be killed, its ledger, and what must hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from model.behaviour import Process
from model.checker import Model
from model.drop_model import BELL, DropRing, Fault, acknowledged, delivered, reader, unpacked, writer
from model.systems import NOBODY, Kills, watched


@dataclass(frozen=True)
class Ledger:
    """What the words of a dropping ring say of its records."""

    sent: int
    received: int
    dropped: int
    in_flight: int
    in_hand: int | None
    """The record that a reader has taken and not acknowledged."""

    @classmethod
    def of(cls, memory: Mapping[str, int]) -> Ledger:
        head, following, received = memory["HEAD"], memory["NEXT"] >> 1, memory[f"RECEIVED{memory['NEXT'] & 1}"]
        oldest = max(following, memory["EVICT"])
        taken = unpacked(memory["CLAIM"])[0] if memory["CLAIM"] == memory["VALID"] else -1
        aside = following <= taken < oldest  # evicted since it was taken: neither dropped nor in the ring
        return cls(
            head,
            received,
            oldest - received - aside,
            head - oldest + aside,
            taken if taken >= following else None,
        )


def ledger_is_exact(at: DropRing, memory: Mapping[str, int]) -> str | None:
    """In every state: counts say what was done, and nothing is dropped from a ring that is not full."""
    ledger = Ledger.of(memory)
    done = sum(memory[acknowledged(record)] > 0 for record in range(memory["NEXT"] >> 1))
    if ledger.received != done:
        return f"{done} were acknowledged, and the ledger says {ledger.received}"
    if not (0 <= ledger.dropped and 0 <= ledger.in_flight <= at.slots):
        return f"the ledger makes no sense: {ledger}"
    if ledger.sent != ledger.received + ledger.dropped + ledger.in_flight:
        return f"the ledger does not add up: {ledger}"
    if memory["EVICT"] and memory["EVICT"] + at.capacity > memory["HEAD"] + 1:
        return f"EVICT {memory['EVICT']} drops from a ring that is not full: {ledger}"
    return None


def all_accounted_for(at: DropRing, restarts: int, memory: Mapping[str, int], results: Mapping[str, Any]) -> str | None:
    """At the end, whoever was killed: what was taken is received or in hand, and the last record was delivered."""
    ledger = Ledger.of(memory)
    times = [memory[delivered(record)] for record in range(at.messages)]
    for record, taken in enumerate(times):
        if taken and record >= memory["NEXT"] >> 1 and record != ledger.in_hand:
            return f"record {record} was taken, and the ledger has lost it: {ledger}"
        if taken > 1 + restarts:
            return f"deliveries {times}"
    if results.get("writer") and results.get("reader"):
        if not times[-1] or ledger.in_flight or ledger.sent != at.messages:
            return f"the reader thinks it is done, with deliveries {times}: {ledger}"
    return None


def drop_pair(
    capacity: int,
    messages: int,
    fault: Fault = Fault.NONE,
    kills: Kills = NOBODY,
    *,
    cells: int = 1,
    ends: bool = True,
    tso: bool = True,
    reduced: bool = True,
) -> Model:
    """A writer that never waits, and a reader that reads to the end."""
    at = DropRing(capacity, messages, fault, cells)
    processes = [
        Process("writer", partial(writer, at, ends=ends), killable="writer" in kills.victims),
        Process("reader", partial(reader, at, ends=ends), killable="reader" in kills.victims),
    ]
    watches = {
        "writer": watched("writer", ("WRITER_LOST",), (BELL,), kills),
        "reader": watched("reader", ("READER_LOST",), (), kills),
    }
    processes += [watches[victim] for victim in kills.victims]
    restarts = kills.times if kills.restarts else 0
    return Model(
        at.memory(),
        tuple(processes),
        partial(ledger_is_exact, at),
        partial(all_accounted_for, at, restarts),
        kills.times,
        tso,
        reduced,
    )
