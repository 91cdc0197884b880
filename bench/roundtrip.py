"""Who carries 4 KiB of float32 to another process, has it doubled there, and brings it back: penstock, and bare means.

A contestant is a function that awaits one round trip and gives the answer, and the process at the other end.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import trio

from bench import payload
from bench.figures import OURS
from bench.peers import Fd, Peer, pipe
from penstock.executors import MultiprocessExecutorBridge
from penstock.executors.contract import RuntimeData

__all__ = ["FLOOR", "PIPE_IN_TRIO", "Contestant", "Once", "SharedPipe", "bare", "double", "penstock", "time_calls"]

Once = Callable[[], Awaitable[Any]]
FLOOR = "eventfd in trio (floor)"
PIPE_IN_TRIO = "Pipe in trio"
_TYPE = "bench.nodes:double"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to make a round trip."""

    once: Once
    pid: int


async def penstock(bridge: MultiprocessExecutorBridge) -> dict[str, Contestant]:
    """A worker of the bridge, by `execute_node`."""
    await bridge.initialize_node("double", _TYPE, {})
    data = RuntimeData.tensor(payload.make(0))

    async def once() -> Any:
        answer = await bridge.execute_node("double", _TYPE, data, {})
        return answer.as_tensor()

    return {OURS: Contestant(once, bridge.worker_pids("double")[0])}


def bare(stack: ExitStack) -> Mapping[str, Contestant]:
    """A pipe, awaited and not, and two eventfds that only wake."""
    ours, theirs = pipe()
    ping, pong = os.eventfd(0), os.eventfd(0)
    stack.enter_context(ours)
    stack.enter_context(theirs)
    stack.callback(os.close, ping)
    stack.callback(os.close, pong)
    doubler = stack.enter_context(Peer(double, theirs))
    echo = stack.enter_context(Peer(_echo, Fd(ping), Fd(pong)))
    return {
        PIPE_IN_TRIO: Contestant(_pipe(ours, in_trio=True), doubler.pid),
        "Pipe, blocking": Contestant(_pipe(ours, in_trio=False), doubler.pid),
        FLOOR: Contestant(_wake(ping, pong), echo.pid),
    }


async def time_calls(once: Once, count: int) -> list[int]:
    """Call it, one call after the other; answers are checked outside of the time."""
    times_ns = []
    for _ in range(count):
        start_ns = time.perf_counter_ns()
        answer = await once()
        times_ns.append(time.perf_counter_ns() - start_ns)
        if answer is not None:  # bare wake-ups carry nothing
            payload.check(answer, 1)
    return times_ns


def _pipe(connection: Any, *, in_trio: bool) -> Once:
    message = payload.make(0).tobytes()

    async def once() -> Any:
        connection.send_bytes(message)
        if in_trio:
            await trio.lowlevel.wait_readable(connection.fileno())
        return np.frombuffer(connection.recv_bytes(), np.float32)

    return once


class SharedPipe:
    """A pipe that many tasks call through: a task of its own hands out the answers, which come in order."""

    def __init__(self, stack: ExitStack) -> None:
        self._connection, theirs = pipe()
        stack.enter_context(self._connection)
        stack.enter_context(theirs)
        self.pid: int = stack.enter_context(Peer(double, theirs)).pid
        self._message = payload.make(0).tobytes()
        self._waiting: deque[tuple[trio.Event, list[Any]]] = deque()

    async def once(self) -> Any:
        done, answer = trio.Event(), list[Any]()
        self._connection.send_bytes(self._message)
        self._waiting.append((done, answer))
        await done.wait()
        return answer[0]

    async def hand_out(self) -> None:
        """Until it is cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._connection.fileno())
            done, answer = self._waiting.popleft()
            answer.append(np.frombuffer(self._connection.recv_bytes(), np.float32))
            done.set()


def _wake(ping: int, pong: int) -> Once:
    async def once() -> None:
        os.eventfd_write(ping, 1)
        await trio.lowlevel.wait_readable(pong)
        os.eventfd_read(pong)

    return once


def double(connection: Any) -> None:
    """What the process at the other end of a pipe does."""
    while True:
        connection.send_bytes(np.frombuffer(connection.recv_bytes(), np.float32) * 2)


def _echo(ping: Fd, pong: Fd) -> None:
    while True:
        os.eventfd_read(ping.number)
        os.eventfd_write(pong.number, 1)
