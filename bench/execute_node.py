"""`execute_node`: 4 KiB to a worker and back, beside a pipe with the same work, and beside bare wake-ups."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import trio

from bench import payload
from bench.figures import OURS, Series
from bench.options import Options
from bench.peers import Fd, Peer, pipe
from bench.placing import PLACINGS, pinned
from penstock.executors import MultiprocessExecutorBridge
from penstock.executors.contract import RuntimeData

__all__ = ["run"]

Once = Callable[[], Awaitable[Any]]
_TYPE = "bench.nodes:double"


def run(options: Options) -> Series:
    """Blocks of calls by each contestant in turn, on one core and on two."""
    return trio.run(_main, options)


async def _main(options: Options) -> Series:
    series = Series("execute_node")
    with ExitStack() as stack:
        async with MultiprocessExecutorBridge() as bridge:
            await bridge.initialize_node("double", _TYPE, {})
            contestants = {OURS: (_penstock(bridge), bridge.worker_pids("double")[0]), **_bare(stack)}
            await _blocks(options, series, contestants)
    return series


async def _blocks(options: Options, series: Series, contestants: Mapping[str, tuple[Once, int]]) -> None:
    count = options.choose(quick=300, full=2000)
    for once, _ in contestants.values():
        await _time(once, count)  # warm up
    for _ in range(options.choose(quick=3, full=9)):
        for case, (here, there) in PLACINGS.items():
            for name, (once, pid) in contestants.items():
                with pinned({0: here, pid: there}):
                    await _time(once, 20)  # until both have moved
                    series.add_latencies(case, name, await _time(once, count))


async def _time(once: Once, count: int) -> list[int]:
    times_ns = []
    for _ in range(count):
        start_ns = time.perf_counter_ns()
        answer = await once()
        times_ns.append(time.perf_counter_ns() - start_ns)
        if answer is not None:  # bare wake-ups carry nothing
            payload.check(answer, 1)
    return times_ns


def _penstock(bridge: MultiprocessExecutorBridge) -> Once:
    data = RuntimeData.tensor(payload.make(0))

    async def once() -> Any:
        answer = await bridge.execute_node("double", _TYPE, data, {})
        return answer.as_tensor()

    return once


def _bare(stack: ExitStack) -> dict[str, tuple[Once, int]]:
    ours, theirs = pipe()
    ping, pong = os.eventfd(0), os.eventfd(0)
    stack.enter_context(ours)
    stack.enter_context(theirs)
    stack.callback(os.close, ping)
    stack.callback(os.close, pong)
    doubler = stack.enter_context(Peer(_double, theirs))
    echo = stack.enter_context(Peer(_echo, Fd(ping), Fd(pong)))
    return {
        "Pipe in trio": (_pipe(ours, in_trio=True), doubler.pid),
        "Pipe, blocking": (_pipe(ours, in_trio=False), doubler.pid),
        "eventfd in trio (floor)": (_wake(ping, pong), echo.pid),
    }


def _pipe(connection: Any, *, in_trio: bool) -> Once:
    message = payload.make(0).tobytes()

    async def once() -> Any:
        connection.send_bytes(message)
        if in_trio:
            await trio.lowlevel.wait_readable(connection.fileno())
        return np.frombuffer(connection.recv_bytes(), np.float32)

    return once


def _wake(ping: int, pong: int) -> Once:
    async def once() -> None:
        os.eventfd_write(ping, 1)
        await trio.lowlevel.wait_readable(pong)
        os.eventfd_read(pong)

    return once


def _double(connection: Any) -> None:
    while True:
        connection.send_bytes(np.frombuffer(connection.recv_bytes(), np.float32) * 2)


def _echo(ping: Fd, pong: Fd) -> None:
    while True:
        os.eventfd_read(ping.number)
        os.eventfd_write(pong.number, 1)
