"""`rivals.round_trip`: 4 KiB of float32 to another process, x * 2, and back."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import trio

from bench import payload
from bench.figures import Series
from bench.options import Options
from bench.peers import Peer, pipe
from bench.placing import PLACINGS, pinned
from bench.rivals.field import BUSY, MODULES
from bench.rivals.flow import Link, fresh_folder, installed
from bench.roundtrip import Once, bare, penstock, time_calls
from penstock.executors import MultiprocessExecutorBridge

__all__ = ["run"]


@dataclass(frozen=True, slots=True)
class _Contestant:
    times_ns: Callable[[int], Awaitable[list[int]]]
    """So many calls, one after the other."""
    there: int
    """The process that answers."""
    here: int = 0
    """The process that calls; 0: this one."""


def run(options: Options) -> Series:
    """Blocks of calls by each in turn, on one core and on two."""
    return trio.run(_main, options)


async def _main(options: Options) -> Series:
    series = Series("rivals.round_trip")
    async with AsyncExitStack() as stack:
        bridge = await stack.enter_async_context(MultiprocessExecutorBridge())
        ours = {**await penstock(bridge), **bare(stack)}  # type: ignore[arg-type]
        found = {name: _Contestant(functools.partial(time_calls, each.once), each.pid) for name, each in ours.items()}
        for package, module in MODULES.items():
            if installed(package):
                _enter[package](stack, importlib.import_module(f"bench.rivals.{module}"), found)
        if installed("trio-parallel"):
            await _trio_parallel(stack, found)
        await _blocks(options, series, found)
    return series


async def _blocks(options: Options, series: Series, found: dict[str, _Contestant]) -> None:
    count = options.choose(quick=300, full=2000)
    for block in range(options.choose(quick=3, full=8)):
        for case, (here, there) in PLACINGS.items():
            for name, contestant in found.items():
                if name == BUSY and here == there:
                    continue  # a poll that is busy has to have its core to itself
                with pinned({contestant.here: here, contestant.there: there}):
                    await contestant.times_ns(20)  # until both have moved
                    times_ns = await contestant.times_ns(count)
                if block:  # the first warms up
                    series.add_latencies(case, name, times_ns)


def _peer(stack: AsyncExitStack, function: Callable[..., None], *arguments: object) -> tuple[Peer, Any]:
    """A process that says when it is ready, takes numbers of calls, and ends when it is told 0."""
    ours, theirs = pipe()
    peer = stack.enter_context(Peer(function, theirs, *arguments))
    theirs.close()
    stack.callback(peer.finish)
    stack.callback(ours.send, 0)
    ours.recv()
    return peer, ours


def _counted(once: Once, orders: Any) -> Callable[[int], Awaitable[list[int]]]:
    async def times_ns(count: int) -> list[int]:
        orders.send(count)
        return await time_calls(once, count)

    return times_ns


def _iceoryx(stack: AsyncExitStack, module: Any, found: dict[str, _Contestant]) -> None:
    for rival, busy in zip(module.RIVALS, (False, True), strict=True):
        link = Link(fresh_folder(stack), payload.SMALL_BYTES)
        caller = module.Caller(link, busy=busy)
        stack.callback(caller.close)
        peer, orders = _peer(stack, module.answer, link, busy)
        found[rival.name] = _Contestant(_counted(caller.once, orders), peer.pid)


def _pyzmq(stack: AsyncExitStack, module: Any, found: dict[str, _Contestant]) -> None:
    for name in ("pyzmq, blocking", "pyzmq in trio"):
        link = Link(fresh_folder(stack), payload.SMALL_BYTES)
        caller = module.PairCaller(link)
        stack.callback(caller.close)
        peer, orders = _peer(stack, module.answer, link)
        once = caller.in_trio if "trio" in name else caller.blocking
        found[name] = _Contestant(_counted(once, orders), peer.pid)


def _ezmsg(stack: AsyncExitStack, module: Any, found: dict[str, _Contestant]) -> None:
    link = Link(fresh_folder(stack), payload.SMALL_BYTES)
    caller, times = _peer(stack, module.call, link)
    answerer, orders = _peer(stack, module.answer, link)

    async def times_ns(count: int) -> list[int]:
        orders.send(count)
        times.send(count)
        found: list[int] = times.recv()
        return found

    found["ezmsg"] = _Contestant(times_ns, answerer.pid, caller.pid)


_enter = {"iceoryx2": _iceoryx, "pyzmq": _pyzmq, "ezmsg": _ezmsg}


async def _trio_parallel(stack: AsyncExitStack, found: dict[str, _Contestant]) -> None:
    """One cached worker, kept for as long as it takes, as its documentation says for the least latency."""
    import trio_parallel

    context = await stack.enter_async_context(trio_parallel.open_worker_context(idle_timeout=float("inf")))
    message = payload.make(0)

    async def once() -> Any:
        return await context.run_sync(_twice, message)

    pid = await context.run_sync(os.getpid)
    found["trio-parallel"] = _Contestant(functools.partial(time_calls, once), pid)


def _twice(message: Any) -> Any:
    return np.multiply(message, 2)
