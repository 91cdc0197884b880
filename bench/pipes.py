"""Bare `multiprocessing.Pipe`s in a row, or to several sinks, with the payloads and the reading of the pipelines."""

from __future__ import annotations

import struct
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from bench import payload
from bench.figures import percentile
from bench.peers import Peer, pipe
from bench.placing import pin
from bench.timed import Timed

__all__ = ["PipeRow"]

_STAMP = struct.Struct("<q")


class PipeRow:
    """A source, `stages` processes that pass on, and sinks: processes joined by pipes, started once."""

    def __init__(
        self, stages: int = 0, nbytes: int = payload.SMALL_BYTES, *, sinks: int = 1, duplex: bool = False
    ) -> None:
        """Start it.

        Args:
            stages: processes between source and sink.
            nbytes: of a message.
            sinks: each gets every message, from the last process before them.
            duplex: join them by socket pairs, which carry small messages slower than pipes, and large ones faster.
        """
        self._stack = ExitStack()
        self._orders, orders = pipe()
        # Each process by the pipes that it writes: one to each sink from the last, one to the next from the others.
        hops = [[pipe(duplex=duplex) for _ in range(sinks if stage == stages else 1)] for stage in range(stages + 1)]
        sends = [[send for _, send in hop] for hop in hops]
        self._peers = [self._start(_source, orders, sends[0], nbytes)]
        self._peers += [self._start(_stage, hop[0][0], to) for hop, to in zip(hops, sends[1:], strict=False)]
        self._answers = []
        for receive, _ in hops[-1]:
            ours, theirs = pipe()
            self._answers.append(ours)
            self._peers.append(self._start(_sink, receive, theirs))

    def place(self, *processors: int | None) -> None:
        """Pin the processes, in their order; those for which there is none run free."""
        for number, peer in enumerate(self._peers):
            pin(peer.pid, processors[number] if number < len(processors) else None)

    def rate_hz(self, count: int) -> float:
        """Send `count` messages at full speed; those after the first tenth are timed, at the slowest sink."""
        self._order(count, 0.0)
        return min(float(answers.recv()) for answers in self._answers)

    def latencies_ns(self, count: int, rate_hz: float) -> tuple[int, int]:
        """Send `count` messages at a steady rate: p50 and p99 of how long they were on their way."""
        self._order(count, 1 / rate_hz)
        p50, p99 = max(answers.recv() for answers in self._answers)
        return p50, p99

    def _order(self, count: int, period_s: float) -> None:
        self._orders.send((count, period_s))
        for answers in self._answers:
            answers.send((count, bool(period_s)))

    def _start(self, *what: Any) -> Peer:
        return self._stack.enter_context(Peer(*what))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _source(orders: Any, sends: list[Any], nbytes: int) -> None:
    payloads = [payload.make(number, nbytes).tobytes() for number in range(payload.CYCLE)]
    while True:
        count, period_s = orders.recv()
        if period_s:
            _beat(sends, payloads[0], count, period_s)
        else:
            for number in range(count):
                for send in sends:
                    send.send_bytes(payloads[number % payload.CYCLE])


def _beat(sends: list[Any], message: bytes, count: int, period_s: float) -> None:
    stamped = bytearray(_STAMP.size + len(message))
    stamped[_STAMP.size :] = message
    for _ in range(count):
        time.sleep(period_s)
        _STAMP.pack_into(stamped, 0, time.monotonic_ns())
        for send in sends:
            send.send_bytes(stamped)


def _stage(receive: Any, sends: list[Any]) -> None:
    while True:
        message = receive.recv_bytes()
        for send in sends:
            send.send_bytes(message)


def _sink(receive: Any, answers: Any) -> None:
    while True:
        count, stamped = answers.recv()
        answers.send(_latencies(receive, count) if stamped else _rate(receive, count))


def _rate(receive: Any, count: int) -> float:
    timed = Timed(count)
    for number in timed:
        payload.check(receive.recv_bytes(), number)
    return timed.rate_hz


def _latencies(receive: Any, count: int) -> tuple[int, int]:
    times_ns = []
    for _ in range(count):
        message = receive.recv_bytes()
        times_ns.append(time.monotonic_ns() - _STAMP.unpack_from(message)[0])
        payload.check(memoryview(message)[_STAMP.size :], 0)
    return percentile(times_ns, 50), percentile(times_ns, 99)
