"""What becomes of a datum that a node fails on: the run fails, the datum is skipped, or set aside as a dead letter."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from penstock.engine.catalogue import FoundType
from penstock.engine.declarations import NodeDecl
from penstock.engine.problems import did_you_mean
from penstock.executors.contract import NodeExecution, RuntimeData

__all__ = ["ON_ERROR", "DeadLetter", "Faults", "OnDeadLetter", "problems_of_faults"]

ON_ERROR = ("fail", "skip", "dead_letter")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A datum that a node failed on, with `on_error: dead_letter`."""

    node_id: str
    port: str
    data: RuntimeData
    error: NodeExecution


OnDeadLetter: TypeAlias = Callable[[DeadLetter], None]


class Faults:
    """The failed calls of one node.

    Attributes:
        errors: calls that failed, and did not fail the run.
        dead_letters: those whose data were set aside.
    """

    def __init__(self, decl: NodeDecl, on_dead_letter: OnDeadLetter) -> None:
        self._decl = decl
        self._on_dead_letter = on_dead_letter
        self.timeout_s: float | None = decl.timeout_s
        self.errors = self.dead_letters = 0

    def take(self, error: NodeExecution, data: RuntimeData, port: str) -> None:
        """Do with a datum what its node's `on_error` says; raises the error again where that is `fail`."""
        if self._decl.on_error == "fail":
            raise error
        self.errors += 1
        if self.errors == 1:
            logging.getLogger("penstock").warning("%s; on_error: %s (told once)", error, self._decl.on_error)
        if self._decl.on_error == "dead_letter":
            self.set_aside(error, data, port)

    def set_aside(self, error: NodeExecution, data: RuntimeData, port: str) -> None:
        """Hand on a dead letter."""
        self.dead_letters += 1
        self._on_dead_letter(DeadLetter(self._decl.node_id, port, data, error))

    def too_slow(self) -> NodeExecution:
        return NodeExecution(self._decl.node_id, f"took longer than its timeout of {self.timeout_s:g} s for one datum")


def problems_of_faults(decl: NodeDecl, found: FoundType, *, in_worker: bool) -> Iterator[str]:
    """What is wrong with a node's `on_error` and `timeout`."""
    if decl.on_error not in ON_ERROR:
        yield f"there is no on_error {decl.on_error!r}: {did_you_mean(str(decl.on_error), ON_ERROR)}"
    elif decl.on_error != "fail" and found.signature.is_source:
        yield "on_error is for nodes that are given data: a source that fails has no more"
    timeout_s = decl.timeout_s
    if timeout_s is None:
        return
    if not isinstance(timeout_s, int | float) or isinstance(timeout_s, bool) or not 0 < timeout_s < float("inf"):
        yield f"timeout is a number of seconds above 0, not {timeout_s!r}"
    elif found.guest_params is not None:
        yield "timeout is for Python nodes: a wasm node has `limits`"
    elif found.signature.is_source:
        yield "timeout is for one call of process(), which a source has not"
    elif in_worker:
        return  # it ends the process
    elif decl.thread and decl.on_error != "fail":
        yield "timeout can not end a thread, which would be at work beside the next datum: leave on_error or thread out"
    elif not decl.thread and not _is_async(found.factory):
        yield "timeout can not interrupt synchronous code in the engine's process: make it async, or say `thread: true`"


def _is_async(factory: object) -> bool:
    process = getattr(factory, "process", factory)
    return inspect.iscoroutinefunction(process) or inspect.isasyncgenfunction(process)
