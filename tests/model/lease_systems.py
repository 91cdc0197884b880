"""A writer with slabs, and the readers of its lanes, any of whom may be killed; and what must hold."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from model.behaviour import Process
from model.checker import Model
from model.lease_model import Edges, Fault, View, ack, byte, head, lost, reader, writer
from model.systems import NOBODY, Kills, watched


def nothing_leaks(at: Edges, memory: Mapping[str, int], _results: Mapping[str, Any]) -> str | None:
    """At the end: what was published on a lane whose reader lives is acknowledged, and no byte is set."""
    for lane in range(at.lanes):
        if not memory[lost(lane)] and memory[head(lane)] != memory[ack(lane)]:
            return f"lane {lane}: {memory[ack(lane)]} of {memory[head(lane)]} are acknowledged"
        for slab in range(at.slabs):
            if memory[byte(slab, lane)]:
                return f"slab {slab} leaks on lane {lane}"
    return None


def leases(
    slabs: int,
    lanes: int,
    messages: int,
    fault: Fault = Fault.NONE,
    kills: Kills = NOBODY,
    *,
    view: View = View.AFTER_ACK,
    tso: bool = True,
    reduced: bool = True,
) -> Model:
    """Victims are the `writer` and `reader0`; a reader that is not started again is lost."""
    mortal = bool(kills.victims) and not kills.restarts
    at = Edges(slabs, lanes, messages, view, fault, mortal)
    processes = [Process("writer", partial(writer, at), killable="writer" in kills.victims, daemon=mortal)]
    for lane in range(lanes):
        name = f"reader{lane}"
        processes.append(Process(name, partial(reader, at, lane), killable=name in kills.victims, daemon=True))
    marks = {"writer": (), "reader0": (lost(0),)}
    processes += [watched(victim, marks[victim], (), kills) for victim in kills.victims]
    return Model(
        at.memory(),
        tuple(processes),
        final=partial(nothing_leaks, at),
        kills=kills.times,
        tso=tso,
        reduced=reduced,
    )
