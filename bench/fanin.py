"""`fanin`: 4 KiB from one and from four sources to one sink, each in a worker, beside pipes that a sink waits for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import wait
from typing import Any

import trio

from bench import payload
from bench.figures import OURS, Series
from bench.options import Options
from bench.peers import Peer, pipe
from bench.placing import FREE
from bench.steady import watch
from bench.timed import Timed
from penstock.engine.pipeline import Pipeline

__all__ = ["run"]

_WIDTHS = (1, 4)


def run(options: Options) -> Series:
    """Messages a second of all sources together."""
    series = Series("fanin")
    window_s, count = options.choose(quick=0.4, full=1.5), options.choose(quick=10_000, full=80_000)
    with ExitStack() as stack:
        pipes = {width: stack.enter_context(_Pipes(width)) for width in _WIDTHS}
        for _ in range(options.choose(quick=2, full=5)):
            for width in _WIDTHS:
                case = f"{FREE}, from {width}"
                series.add(case, OURS, "msg/s", trio.run(watch, _pipeline(width), window_s).rate_hz)
                series.add(case, "Pipe", "msg/s", pipes[width].rate_hz(count // width))
    return series


def _pipeline(width: int) -> Pipeline:
    pipeline = Pipeline("bench")
    names = [f"source{number}" for number in range(width)]
    for name in names:
        pipeline.add(name, "bench.nodes:Source", {"session_id": name}, executor="multiprocess")
    pipeline.add("sink", "bench.nodes:MergingSink", executor="multiprocess")
    for name in names:
        pipeline.connect(name, "sink")
    return pipeline


class _Pipes(ExitStack):
    """Sources that each write a pipe, and a sink that waits for all of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._orders: list[Any] = []
        receives = []
        for _ in range(width):
            order, orders = pipe()
            receive, send = pipe(duplex=False)
            self.enter_context(Peer(_source, orders, send))
            self._orders.append(order)
            receives.append(receive)
        self._answers, answers = pipe()
        self.enter_context(Peer(_sink, receives, answers))

    def rate_hz(self, count: int) -> float:
        """Each source sends `count` messages."""
        for orders in (self._answers, *self._orders):
            orders.send(count)
        return float(self._answers.recv())


def _source(orders: Any, send: Any) -> None:
    payloads = [payload.make(number).tobytes() for number in range(payload.CYCLE)]
    while True:
        for number in range(orders.recv()):
            send.send_bytes(payloads[number % payload.CYCLE])


def _sink(receives: Sequence[Any], answers: Any) -> None:
    while True:
        count = answers.recv()
        left, timed = dict.fromkeys(receives, 0), Timed(count * len(receives))
        ready: list[Any] = []
        for _ in timed:
            if not ready:
                ready = list(wait([receive for receive, number in left.items() if number < count]))
            receive = ready.pop()
            payload.check(receive.recv_bytes(), left[receive])
            left[receive] += 1
        answers.send(timed.rate_hz)
