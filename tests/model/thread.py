"""A process with its store buffer, compiled: what each of its local states can do, as functions on states.

A state of the whole system is one integer: the kills that are left, the local state of each process, the words of
memory. So a move is hardly more than an addition, and a state is small enough to keep millions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from model.behaviour import Behaviour, Process
from model.operations import Op

Buffer: TypeAlias = tuple[tuple[str, int], ...]
"""(word, value), the oldest first."""
Move: TypeAlias = Callable[[int], "int | None"]
"""From a state to the one after it; None when it can not be made there."""
Choices: TypeAlias = "tuple[bool, list[tuple[Thread, str, Move]]]"
"""What a process may do next: who, how, and the move; and whether that comes before all that the others may do."""

KILLS_MASK = (1 << 4) - 1
LOCAL_BITS, WORD_BITS = 20, 8
LOCAL_MASK, WORD_MASK = (1 << LOCAL_BITS) - 1, (1 << WORD_BITS) - 1
KILLED, START = 0, 1
"""The local states that every process has."""
ENDS = frozenset({"done", "killed"})
EFFECTS = frozenset({"store", "count", "ring", "drain", "spawn"})
"""What somebody else may notice."""


class Failed(Exception):
    """A process came to a `fail`."""


@dataclass(frozen=True)
class Layout:
    """Where the fields of a state are."""

    words: tuple[str, ...]
    processes: int

    @property
    def memory_shift(self) -> int:
        return self.process(self.processes)

    @cached_property
    def words_at(self) -> dict[str, int]:
        return {name: self.memory_shift + number * WORD_BITS for number, name in enumerate(self.words)}

    def word(self, name: str) -> int:
        return self.words_at[name]

    def process(self, number: int) -> int:
        return KILLS_MASK.bit_length() + number * LOCAL_BITS

    def memory(self, state: int) -> dict[str, int]:
        return {name: state >> shift & WORD_MASK for name, shift in self.words_at.items()}


class _Answers(dict[int, int]):
    """What each answer to an operation adds to the state, worked out when it is first given."""

    def __init__(self, work_out: Callable[[int], int]) -> None:
        self._work_out = work_out

    def __missing__(self, answer: int) -> int:
        self[answer] = self._work_out(answer)
        return self[answer]


class Thread:
    """One process, and all its local states: 0 is 'killed', 1 the start, the others are numbered as they are found."""

    def __init__(self, number: int, process: Process, layout: Layout, *, tso: bool, reduced: bool) -> None:
        self.process = process
        self.shift = layout.process(number)
        self.others: dict[str, Thread] = {}
        self._layout, self._tso, self._reduced = layout, tso, reduced
        self._behaviour = Behaviour(process.body)
        self._places: list[tuple[int, Buffer]] = []  # position in the body, and store buffer
        self._numbers: dict[tuple[int, Buffer], int] = {}
        self._choices: dict[int, Choices] = {}
        for place in (KILLED, START):
            self._number(place, ())

    def op(self, state: int) -> Op:
        """What the process is about to do."""
        return self._behaviour.ops[self._place(state)[0]]

    def buffer(self, state: int) -> Buffer:
        return self._place(state)[1]

    def choices(self, state: int) -> Choices:
        """What the process may do next.

        Raises:
            Failed: it found a property broken.
        """
        number = state >> self.shift & LOCAL_MASK
        known = self._choices.get(number)
        if known is None:
            private = self._reduced and self._private(state)
            moves = self._compile(number, state, private=private)
            known = self._choices[number] = private, [(self, name, move) for name, move in moves.items()]
        return known

    def _private(self, state: int) -> bool:
        """Whether its next step commutes with whatever the others do first."""
        kind = self.op(state)[0]
        return kind == "count" or (kind == "store" and self._tso) or (kind == "fence" and not self.buffer(state))

    def _at(self, state: int) -> int:
        return state >> self.shift & LOCAL_MASK

    def _place(self, state: int) -> tuple[int, Buffer]:
        return self._places[self._at(state)]

    def _number(self, position: int, buffer: Buffer) -> int:
        number = self._numbers.setdefault((position, buffer), len(self._places))
        if number == len(self._places):
            assert number <= LOCAL_MASK, f"{self.process.name} has too many local states"
            self._places.append((position, buffer))
        return number

    def _compile(self, number: int, state: int, *, private: bool) -> dict[str, Move]:
        """`step`, `flush`, `kill`, and `die`: a step that is the last one."""
        (kind, subject, _), (position, buffer) = self.op(state), self._places[number]
        moves: dict[str, Move] = {}
        if kind == "fail":
            raise Failed(f"{self.process.name}: {subject}")
        if buffer and not private:
            moves["flush"] = self._write(*buffer[0], self._delta(number, position, buffer[1:]))
        if kind in ENDS:
            return moves
        if not (buffer and kind in {"fence", "ring"}):
            moves["step"] = self._step(number, *self.op(state))
        if self.process.killable and self._reduced and kind in EFFECTS and "step" in moves:
            moves["die"] = self._then_die(moves["step"])
        # When reduced: whose last steps nobody could notice might as well have been killed before them.
        if self.process.killable and (number == START or not self._reduced):
            moves["kill"] = self._die
        return moves

    def _delta(self, number: int, position: int, buffer: Buffer) -> int:
        """What it adds to a state when local state `number` gives way to another."""
        return self._number(position, buffer) - number << self.shift

    def _die(self, state: int) -> int | None:
        delta = self._delta(self._at(state), KILLED, self.buffer(state))
        return state - 1 + delta if state & KILLS_MASK else None

    def _then_die(self, step: Move) -> Move:
        return lambda state: None if (after := step(state)) is None else self._die(after)

    def _step(self, number: int, kind: str, subject: str, value: int) -> Move:
        position, buffer = self._places[number]

        def after(answer: int, buffer: Buffer = buffer) -> int:
            return self._delta(number, self._behaviour.after(position, answer), buffer)

        if kind in {"reap", "spawn"}:
            return self.others[subject]._watched(kind, _Answers(after))
        if kind == "fence":
            return _add(after(0))
        own = dict(buffer).get(subject)
        if kind == "load":
            return _load(self._layout.word(subject), _Answers(after)) if own is None else _add(after(own))
        if kind == "store" and self._tso:
            return _add(after(0, (*buffer, (subject, value))))
        if kind == "poll":
            return _poll(self._layout.word(subject), value, after(0))
        if kind == "count":
            return _add(after(0) + (1 << self._layout.word(subject)))
        return self._write(subject, value, after(0))

    def _write(self, name: str, value: int, delta: int) -> Move:
        assert 0 <= value <= WORD_MASK, f"{self.process.name} writes {value} into {name}"
        word = self._layout.word(name)
        return lambda state: state + delta + (value - (state >> word & WORD_MASK) << word)

    def _watched(self, kind: str, answers: _Answers) -> Move:
        """Somebody reaps this process, or spawns it again."""

        def watch(state: int) -> int | None:
            end, result, _ = self.op(state)
            if end not in ENDS or self.buffer(state):
                return None
            if kind == "spawn":
                return state + answers[0] + (START - self._at(state) << self.shift)
            return state + answers[1 if end == "killed" else 0 if result else 2]

        return watch


def _add(delta: int) -> Move:
    return lambda state: state + delta


def _load(word: int, answers: _Answers) -> Move:
    return lambda state: state + answers[state >> word & WORD_MASK]


def _poll(word: int, above: int, delta: int) -> Move:
    return lambda state: state + delta if (state >> word & WORD_MASK) > above else None
