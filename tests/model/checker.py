"""A small explicit-state checker: processes as generators, a FIFO store buffer for each (TSO), SIGKILL at every step.

Every interleaving is explored, breadth first, so that the trace of a `Violation` is a shortest one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from model.behaviour import Behaviour, Process
from model.operations import KILLED

Buffer: TypeAlias = tuple[tuple[int, int], ...]  # (word, value), the oldest first
State: TypeAlias = tuple[tuple[int, ...], tuple[Buffer, ...], tuple[int, ...], int]
"""Memory, store buffers, local states, kills left."""

_ENDS = {"done", "killed"}


class Violation(Exception):
    """A property does not hold; the text has a shortest run that shows it."""


@dataclass(frozen=True)
class Model:
    """`invariant(memory)` is asked in every state, `final(memory, results)` at the end of a run: None, or what broke.

    `reduced` takes a step that nobody else can see or hinder before all others: far fewer states and the same
    verdict, but a trace that need not be a shortest one.
    """

    memory: Mapping[str, int]
    processes: tuple[Process, ...]
    invariant: Callable[[Mapping[str, int]], str | None] = lambda _: None
    final: Callable[[Mapping[str, int], Mapping[str, Any]], str | None] = lambda _, __: None
    kills: int = 0
    tso: bool = True
    reduced: bool = False


def _put(row: tuple[Any, ...], index: int, value: Any) -> tuple[Any, ...]:
    return (*row[:index], value, *row[index + 1 :])


class Checker:
    """Explores a model; afterwards `states` holds what was reached."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.words = list(model.memory)
        self._word = {name: number for number, name in enumerate(self.words)}
        self._process = {process.name: number for number, process in enumerate(model.processes)}
        self._locals = [Behaviour(process.body) for process in model.processes]
        self._ops = [local.ops for local in self._locals]
        self._sound: set[tuple[int, ...]] = set()
        self.states: list[State] = []
        self._origins: list[tuple[int, str]] = [(0, "")]  # of each state: the one before, and what happened

    def run(self) -> Checker:
        """Visit every reachable state.

        Raises:
            Violation: a property is broken, somebody waits for ever, or a run need not end.
        """
        n = len(self.model.processes)
        start: State = (tuple(self.model.memory.values()), ((),) * n, (1,) * n, self.model.kills)
        numbers, self.states, children = {start: 0}, [start], []
        for here, state in enumerate(self.states):  # grows while it is read
            children.append([self._reach(after, move, here, numbers) for move, after in self._moves(state)])
            broken = self._broken(state, last=not children[here])
            if broken is not None:
                raise Violation(self._trace(broken, here))
        endless = _on_a_cycle(children)
        if endless is not None:
            raise Violation(self._trace("a run that never ends", endless))
        return self

    def _reach(self, after: State, move: str, here: int, numbers: dict[State, int]) -> int:
        there = numbers.setdefault(after, len(self.states))
        if there == len(self.states):
            self.states.append(after)
            self._origins.append((here, move))
        return there

    def _moves(self, state: State) -> Iterator[tuple[str, State]]:
        """What can happen next: `step`, `flush` or `kill` and the number of the process."""
        memory, buffers, positions, kills = state
        private = self._private(state)
        for process in range(len(positions)) if private is None else (private,):
            buffer, (kind, subject, value) = buffers[process], self._ops[process][positions[process]]
            if buffer and private is None:
                yield f"flush {process}", (_put(memory, *buffer[0]), _put(buffers, process, buffer[1:]), *state[2:])
            if kind in _ENDS:
                continue
            if kills and self.model.processes[process].killable:
                yield f"kill {process}", (memory, buffers, _put(positions, process, 0), kills - 1)
            done = self._step(process, kind, subject, value, state)
            if done is not None:
                answer, memory_after, buffer_after, others = done
                after = _put(others, process, self._locals[process].after(positions[process], answer))
                yield f"step {process}", (memory_after, _put(buffers, process, buffer_after), after, kills)

    def _private(self, state: State) -> int | None:
        """A process whose next step (or death) commutes with whatever the others do first."""
        for process, position in enumerate(state[2]) if self.model.reduced else ():
            kind = self._ops[process][position][0]
            if kind == "count" or (kind == "store" and self.model.tso) or (kind == "fence" and not state[1][process]):
                return process
        return None

    def _step(
        self, process: int, kind: str, subject: Any, value: int, state: State
    ) -> tuple[int, tuple[int, ...], Buffer, tuple[int, ...]] | None:
        """An operation's answer, and memory, buffer and local states after it; None while it has to wait."""
        memory, buffers, positions, _ = state
        buffer = buffers[process]
        if kind == "fail" or (buffer and kind in {"fence", "ring"}):
            return None
        if kind == "fence":
            return 0, memory, buffer, positions
        if kind in {"reap", "spawn"}:
            other = self._process[subject]
            op = self._ops[other][positions[other]]
            after = _put(positions, other, 1) if kind == "spawn" else positions
            answer = 1 if op is KILLED else 0 if op[1] else 2
            return (answer, memory, buffer, after) if op[0] in _ENDS and not buffers[other] else None
        word = self._word[subject]
        if kind == "load":
            own = [kept for at, kept in buffer if at == word]
            return own[-1] if own else memory[word], memory, buffer, positions
        if kind == "store" and self.model.tso:
            return 0, memory, (*buffer, (word, value)), positions
        if kind == "poll":
            return (0, memory, buffer, positions) if memory[word] else None
        return 0, _put(memory, word, memory[word] + 1 if kind == "count" else value), buffer, positions

    def _broken(self, state: State, *, last: bool) -> str | None:
        for process, position in enumerate(state[2]):
            kind, subject, _ = self._ops[process][position]
            if kind == "fail":
                return f"{self.model.processes[process].name}: {subject}"
        if state[0] not in self._sound:
            broken = self.model.invariant(self._named(state[0]))
            if broken is not None:
                return broken
            self._sound.add(state[0])
        return self._broken_at_the_end(state) if last else None

    def _broken_at_the_end(self, state: State) -> str | None:
        results = {}
        for process, ops, position in zip(self.model.processes, self._ops, state[2], strict=True):
            kind, subject, _ = ops[position]
            if kind == "done":
                results[process.name] = subject
            elif kind != "killed" and not process.daemon:
                return f"{process.name} waits for ever: {kind} {subject}"
        return self.model.final(self._named(state[0]), results)

    def _named(self, memory: tuple[int, ...]) -> dict[str, int]:
        return dict(zip(self.words, memory, strict=True))

    def _trace(self, broken: str, here: int) -> str:
        lines: list[str] = []
        while here:
            memory = " ".join(f"{word}={value}" for word, value in self._named(self.states[here][0]).items() if value)
            here, move = self._origins[here]
            what, process = move.split()
            name = self.model.processes[int(process)].name
            lines.append(f"{name:>12}  {self._label(what, int(process), self.states[here]):<32}  {memory}")
        return "\n".join([f"{broken}; {len(lines)} steps (words that are 0 are left out):", *reversed(lines)])

    def _label(self, what: str, process: int, state: State) -> str:
        if what == "flush":
            word, value = state[1][process][0]
            return f"... {self.words[word]} = {value} reaches memory"
        kind, subject, value = op = self._ops[process][state[2][process]]
        done = self._step(process, *op, state) if what == "step" else None
        notes = {"load": f" -> {done[0] if done else '?'}", "store": f" = {value}"}
        return "SIGKILL" if what == "kill" else f"{kind} {subject or ''}{notes.get(kind, '')}".strip()


def _on_a_cycle(children: list[list[int]]) -> int | None:
    """A state on a cycle, or behind one: what is left when states without a predecessor are taken away."""
    before = [0] * len(children)
    for state in (state for row in children for state in row):
        before[state] += 1
    free = [state for state, count in enumerate(before) if not count]
    for state in free:  # grows while it is read
        for there in children[state]:
            before[there] -= 1
            if not before[there]:
                free.append(there)
    return next((state for state, count in enumerate(before) if count), None)
