"""A process of a model as a table: which operation it is at, and where the answer leads it.

A generator can not be copied, so a local state is known by where its frames stand and by their local variables, and is
reached again by replaying the answers that first led there. So a body keeps what it must remember in local variables;
a `for` is fine as long as its variable tells the turn.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from model.operations import KILLED, Op

Body: TypeAlias = Generator[Op, int, Any]
"""Yields operations, is sent the answer of each, and returns its result."""


@dataclass(frozen=True)
class Process:
    """`killable`: SIGKILL may end it at any step. `daemon`: it may wait for ever without being stuck."""

    name: str
    body: Callable[[], Body]
    killable: bool = False
    daemon: bool = False


class Behaviour:
    """The local states of one process, numbered as they are found; 0 is 'killed', 1 the start."""

    def __init__(self, body: Callable[[], Body]) -> None:
        self._body = body
        self.ops: list[Op] = [KILLED]
        self._histories: list[tuple[int, ...]] = [()]
        self._numbers: dict[Any, int] = {}
        self._after: dict[tuple[int, int], int] = {}
        self._enter(())

    def after(self, number: int, answer: int) -> int:
        """The local state that follows when the operation of `number` gives `answer`."""
        if (number, answer) not in self._after:
            self._after[number, answer] = self._enter((*self._histories[number], answer))
        return self._after[number, answer]

    def _enter(self, history: tuple[int, ...]) -> int:
        op, where = self._replay(history)
        number = self._numbers.setdefault((op, where), len(self.ops))
        if number == len(self.ops):
            self.ops.append(op)
            self._histories.append(history)
        return number

    def _replay(self, history: tuple[int, ...]) -> tuple[Op, Any]:
        generator = self._body()
        try:
            op = next(generator)
            for answer in history:
                op = generator.send(answer)
        except StopIteration as stop:
            return ("done", stop.value, 0), None
        return op, _position(generator)


def _position(generator: Any) -> tuple[Any, ...]:
    frames = []
    while generator is not None:
        frame = generator.gi_frame
        frames.append((frame.f_code, frame.f_lasti, tuple(frame.f_locals.items())))
        generator = generator.gi_yieldfrom
    return tuple(frames)
