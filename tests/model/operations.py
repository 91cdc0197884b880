"""What a process of a model can do: each is one step, and yields one answer."""

from __future__ import annotations

from typing import Any, TypeAlias

Op: TypeAlias = tuple[str, Any, int]

FENCE: Op = ("fence", None, 0)
KILLED: Op = ("killed", None, 0)


def load(word: str) -> Op:
    return ("load", word, 0)


def store(word: str, value: int) -> Op:
    return ("store", word, value)


def count(word: str) -> Op:
    """Add one to a word that only the properties look at: no access of the protocol, so it orders nothing."""
    return ("count", word, 0)


def ring(bell: str) -> Op:
    """Write an eventfd: an atomic in the kernel, so the caller's stores are in memory before it."""
    return ("ring", bell, 1)


def poll(bell: str, above: int = 0) -> Op:
    """Wait until the bell was rung.

    Or until any word is above a number: a wait that can not go wrong, for models whose concern is something else.
    """
    return ("poll", bell, above)


def drain(bell: str) -> Op:
    """Read the eventfd to 0; taken to order nothing."""
    return ("drain", bell, 0)


def reap(process: str) -> Op:
    """Wait until a process has ended and its stores have reached memory.

    Answers 0 when it did its work, 1 when it was killed, 2 when it gave up (its result was false).
    """
    return ("reap", process, 0)


def spawn(process: str) -> Op:
    """Start an ended process again, from the beginning of its body."""
    return ("spawn", process, 0)


def fail(broken: str) -> Op:
    """A property does not hold."""
    return ("fail", broken, 0)
