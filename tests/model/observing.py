"""A third process that reads the words of a ring while both sides are at work: what `Ring.statistics` may say.

On a ring that drops, the position of each side moves, so both must be the same before and after the look, or the
figures do not fit together. What is claimed is looked at after EVICT: a claim that was in time is seen then. Whether it
was in time is not known before VALID says so, so whatever is claimed counts as in hand.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from model.behaviour import Body, Process
from model.checker import Model
from model.drop_model import DropRing, unpacked
from model.drop_systems import Ledger, drop_pair
from model.operations import fail, load
from model.ring_model import Ring
from model.systems import pair


class LookFault(enum.Enum):
    """What is done wrong on purpose: each of these the checker must find."""

    NONE = "nothing"
    HEAD_FIRST = "the position of the writer is looked at before that of the reader"
    ACK_LOOKED_AT_ONCE = "nobody looks whether the reader went on meanwhile"
    EVICT_LOOKED_AT_ONCE = "nobody looks whether the writer went on meanwhile"
    CLAIM_BEFORE_EVICT = "what is claimed is looked at before EVICT"
    CLAIM_MUST_BE_VALID = "a claim that may yet turn out to have been in time counts as none"


def look(at: Ring, wrong: LookFault) -> Body:
    """(received, in flight) of a ring that keeps what it has."""
    while True:
        early = (yield load(at.HEAD)) if wrong is LookFault.HEAD_FIRST else None
        acknowledged = yield load(at.ACK)
        head = (yield load(at.HEAD)) if early is None else early
        if wrong is LookFault.ACK_LOOKED_AT_ONCE or (yield load(at.ACK)) == acknowledged:
            break
    in_flight = head - acknowledged
    if not 0 <= in_flight <= at.capacity:
        yield fail(f"{in_flight} are in flight")
    return acknowledged, in_flight


def look_at_dropping(at: DropRing, *wrong: LookFault) -> Body:
    """(received, dropped, in flight) of a ring that drops its oldest."""
    while True:
        packed = yield load("NEXT")
        received = yield load(f"RECEIVED{packed & 1}")
        claim = (yield load("CLAIM")) if LookFault.CLAIM_BEFORE_EVICT in wrong else None
        evicted = yield load("EVICT")
        if claim is None:
            claim = yield load("CLAIM")
        behind = max(packed >> 1, evicted)
        in_hand = packed >> 1 <= unpacked(claim)[0] < behind
        if in_hand and LookFault.CLAIM_MUST_BE_VALID in wrong:
            in_hand = claim == (yield load("VALID"))
        head = yield load("HEAD")
        same = LookFault.EVICT_LOOKED_AT_ONCE in wrong or (yield load("EVICT")) == evicted
        if same and (LookFault.ACK_LOOKED_AT_ONCE in wrong or (yield load("NEXT")) == packed):
            break
    dropped, in_flight = behind - received - in_hand, head - behind + in_hand
    if dropped < 0 or not 0 <= in_flight <= at.slots:
        yield fail(f"received {received}, dropped {dropped}, in flight {in_flight}")
    return received, dropped, in_flight


def _seen_was_true(memory: Mapping[str, int], results: Mapping[str, Any]) -> str | None:
    """Nothing was said to be received, or dropped, that is not so at the end."""
    ledger = Ledger.of(memory)
    received, dropped, _ = results["observer"]
    if received > ledger.received or dropped > ledger.dropped:
        return f"somebody saw {received} received and {dropped} dropped: {ledger}"
    return None


def observed(capacity: int, messages: int, fault: LookFault = LookFault.NONE) -> Model:
    """A ring that keeps what it has, its two sides, and somebody who looks."""
    at = Ring("writer", "reader", capacity, messages)
    model = pair(capacity, messages, reduced=True)
    watch = Process("observer", partial(look, at, fault))

    def final(memory: Mapping[str, int], results: Mapping[str, Any]) -> str | None:
        return "more was seen than received" if results["observer"][0] > memory[at.ACK] else None

    return replace(model, processes=(*model.processes, watch), final=final)


def observed_dropping(capacity: int, messages: int, *faults: LookFault) -> Model:
    """A ring that drops its oldest, its two sides, and somebody who looks."""
    model = drop_pair(capacity, messages, ends=False, bell=False)
    watch = Process("observer", partial(look_at_dropping, DropRing(capacity, messages), *faults))
    return replace(model, processes=(*model.processes, watch), final=_seen_was_true)
