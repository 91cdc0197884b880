"""A small explicit-state checker: processes as generators, a FIFO store buffer for each (TSO), SIGKILL at every step.

Every interleaving is explored, breadth first, so that the trace of a `Violation` is a shortest one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from model.behaviour import Process
from model.edges import Edges
from model.thread import START, Failed, Layout, Move, Thread


class Violation(Exception):
    """A property does not hold; the text has a shortest run that shows it."""


@dataclass(frozen=True)
class Model:
    """`invariant(memory)` is asked in every state, `final(memory, results)` at the end of a run: None, or what broke.

    `reduced` takes a step that nobody else can see or hinder before all others, and lets a process be killed only
    right after a step that somebody can see: far fewer states and the same verdict, but a trace that need not be a
    shortest one.
    """

    memory: Mapping[str, int]
    processes: tuple[Process, ...]
    invariant: Callable[[Mapping[str, int]], str | None] = lambda _: None
    final: Callable[[Mapping[str, int], Mapping[str, Any]], str | None] = lambda _, __: None
    kills: int = 0
    tso: bool = True
    reduced: bool = False


class Checker:
    """Explores a model; afterwards `states` holds what was reached."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._layout = layout = Layout(tuple(model.memory), len(model.processes))
        self._threads = [
            Thread(number, process, layout, tso=model.tso, reduced=model.reduced)
            for number, process in enumerate(model.processes)
        ]
        for thread in self._threads:
            thread.others = {other.process.name: other for other in self._threads}
        self.states: list[int] = []
        self._before = [0]
        """Of each state the one from which it was first reached."""

    def run(self) -> Checker:
        """Visit every reachable state.

        Raises:
            Violation: a property is broken, somebody waits for ever, or a run need not end.
        """
        self.states = states = [self._start()]
        numbers, before, edges, sound = {states[0]: 0}, self._before, Edges(), set()
        shift = self._layout.memory_shift
        for here, state in enumerate(states):  # grows while it is read
            try:
                possible = self._moves(state)
            except Failed as failed:
                raise Violation(self._trace(str(failed), here)) from None
            for _, _, move in possible:
                after = move(state)
                if after is not None:
                    there = numbers.setdefault(after, len(states))
                    if there == len(states):
                        states.append(after)
                        before.append(here)
                    edges.add(there)
            last = edges.close()
            if last or state >> shift not in sound:
                broken = self._broken(state, last=last)
                if broken is not None:
                    raise Violation(self._trace(broken, here))
                sound.add(state >> shift)
        endless = edges.on_a_cycle()
        if endless is not None:
            raise Violation(self._trace("a run that never ends", endless))
        return self

    def memories(self) -> set[tuple[int, ...]]:
        """The contents that memory had, in the order of the model's words."""
        return {tuple(self._layout.memory(state).values()) for state in self.states}

    def _start(self) -> int:
        words = sum(value << self._layout.word(word) for word, value in self.model.memory.items())
        return self.model.kills + sum(START << thread.shift for thread in self._threads) + words

    def _moves(self, state: int) -> list[tuple[Thread, str, Move]]:
        """What may happen next: who, how, and the move."""
        every: list[tuple[Thread, str, Move]] = []
        for thread in self._threads:
            private, moves = thread.choices(state)
            if private:
                return moves
            every += moves
        return every

    def _broken(self, state: int, *, last: bool) -> str | None:
        memory = self._layout.memory(state)
        broken = self.model.invariant(memory)
        if broken is not None or not last:
            return broken
        results = {}
        for thread in self._threads:
            kind, subject, _ = thread.op(state)
            if kind == "done":
                results[thread.process.name] = subject
            elif kind != "killed" and not thread.process.daemon:
                return f"{thread.process.name} waits for ever: {kind} {subject}"
        return self.model.final(memory, results)

    def _trace(self, broken: str, here: int) -> str:
        lines: list[str] = []
        while here:
            after, here = self.states[here], self._before[here]
            state = self.states[here]
            thread, move = next((thread, name) for thread, name, move in self._moves(state) if move(state) == after)
            memory = " ".join(f"{word}={value}" for word, value in self._layout.memory(after).items() if value)
            lines.append(f"{thread.process.name:>12}  {self._label(thread, move, state):<32}  {memory}")
        return "\n".join([f"{broken}; {len(lines)} steps (words that are 0 are left out):", *reversed(lines)])

    def _label(self, thread: Thread, move: str, state: int) -> str:
        (kind, subject, value), buffer = thread.op(state), thread.buffer(state)
        if move == "kill":
            return "SIGKILL"
        if move == "flush":
            return f"... {buffer[0][0]} = {buffer[0][1]} reaches memory"
        if kind == "load":
            return f"load {subject} -> {dict(buffer).get(subject, self._layout.memory(state)[subject])}"
        then = ", then SIGKILL" if move == "die" else ""
        return f"{kind} {subject or ''}{f' = {value}' if kind == 'store' else ''}".strip() + then


def verdict(*models: Model) -> str | None:
    """What the first wrong one of some models breaks, None when they are all right."""
    for model in models:
        try:
            Checker(model).run()
        except Violation as violation:
            return str(violation).splitlines()[0]
    return None
