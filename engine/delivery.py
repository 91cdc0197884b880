"""What becomes of a node whose process dies: from what a graph says to what its worker is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from penstock.engine.catalogue import FoundType
from penstock.engine.declarations import DeliveryDecl
from penstock.engine.problems import did_you_mean
from penstock.executors.multiprocess.delivery import Delivery, DeliveryMode, Restarts

__all__ = ["delivery_of"]

UNLIMITED = "unlimited"
_MODES = {mode.value: mode for mode in DeliveryMode}
_FIELDS = {"window": "window_s", "backoff": "backoff_s", "max_backoff": "max_backoff_s"}


def delivery_of(said: DeliveryDecl, found: FoundType, *, sets_aside: bool) -> tuple[Delivery, list[str]]:
    """The options, and what is wrong with what was said.

    Args:
        said: in the graph.
        found: the type of the node.
        sets_aside: whether a datum that the node fails on fails the run no more than that (`on_error`).
    """
    signature = found.signature
    problems = list(_problems(said, found))
    if problems:
        return Delivery(), problems
    mode = DeliveryMode.FAIL if said.mode is None else _MODES[said.mode]
    if said.mode is None and (signature.stateless or signature.snapshots):
        mode = DeliveryMode.REPLAY
    redeliveries = 3 if said.max_redeliveries is None else said.max_redeliveries
    return (
        Delivery(
            mode,
            signature.snapshots and not signature.is_source,
            said.snapshot_every,
            None if isinstance(redeliveries, str) else redeliveries,
            sets_aside=sets_aside,
            restarts=_restarts(said.restart),
        ),
        [],
    )


def _problems(said: DeliveryDecl, found: FoundType) -> Iterator[str]:
    signature = found.signature
    if said.mode is not None and said.mode not in _MODES:
        yield f"there is no delivery {said.mode!r}: {did_you_mean(str(said.mode), _MODES)}"
    elif said.mode == "replay" and not _can_replay(found):
        yield (
            f"delivery replay needs to know that {found.shown_name} gives the same again: say `stateless = True` in "
            "its class, if its outputs depend on nothing but the datum in hand, or give it snapshot() and restore()"
        )
    most = said.max_redeliveries
    if most is not None and most != UNLIMITED and not _is_count(most, 0):
        yield f"max_redeliveries is a whole number, or unlimited, not {most!r}"
    if said.snapshot_every is not None:
        if not _is_count(said.snapshot_every, 1):
            yield f"snapshot_every is a whole number of at least 1, not {said.snapshot_every!r}"
        elif not signature.snapshots:
            yield f"snapshot_every is for nodes with snapshot() and restore(), which {found.shown_name} has not"
    for name, value in said.restart.items():
        if name != "max" and name not in _FIELDS:
            yield f"restart has no {name!r}: {did_you_mean(name, ['max', *_FIELDS])}"
        elif name == "max" and value != UNLIMITED and not _is_count(value, 0):
            yield f"max of restart is a whole number, or unlimited, not {value!r}"
        elif name != "max" and not (isinstance(value, int | float) and not isinstance(value, bool) and value >= 0):
            yield f"{name} of restart is a number of seconds, not {value!r}"


def _can_replay(found: FoundType) -> bool:
    """A function is taken at its user's word, and so is a guest, whose class nobody can write in."""
    signature = found.signature
    return signature.stateless or signature.snapshots or signature.is_function or found.guest_params is not None


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _restarts(said: Mapping[str, Any]) -> Restarts:
    given: dict[str, Any] = {_FIELDS[name]: float(value) for name, value in said.items() if name != "max"}
    if "max" in said:
        given["max"] = None if said["max"] == UNLIMITED else said["max"]
    return Restarts(**given)
