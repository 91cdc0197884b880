"""`steps`: where the time of a 4 KiB call goes, step by step in one warm process: nobody waits, nothing is cold."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import trio

from bench import nodes, payload
from bench.figures import OURS, Series
from bench.options import Options
from penstock.executors.codec import Codec
from penstock.executors.contract import NodeContext, RuntimeData
from penstock.executors.host import NodeHost
from penstock.executors.multiprocess.loop import WorkerLoop
from penstock.executors.multiprocess.messages import NodeSpec, WorkerSpec
from penstock.executors.multiprocess.wiring import Wiring
from penstock.shm.record import Kind

__all__ = ["run"]


def run(options: Options) -> Series:
    """Microseconds; the worker's loop is called from here, between the engine's two ends."""
    return trio.run(_main, options)


async def _main(options: Options) -> Series:
    series = Series("steps")
    with ExitStack() as stack:
        call = _Call(stack.enter_context(Wiring("bench", "sleep")))
        count = options.choose(quick=2000, full=10_000)
        for _ in range(options.choose(quick=3, full=9)):
            for step, taken_ns in call.times_ns(count).items():
                series.add(step, OURS, "us", taken_ns / count / 1000)
    return series


class _Call:
    """Both ends of a call, in one process."""

    def __init__(self, wiring: Wiring) -> None:
        worker = wiring.party("worker")
        requests, answers = wiring.link("calls", wiring.engine, worker), wiring.link("answers", worker, wiring.engine)
        spec = WorkerSpec(
            NodeSpec("double", "double"),
            worker.bell.fds,
            worker.family,
            (requests.reader_spec(None),),
            (answers.writer_spec(None),),
        )
        self._loop = WorkerLoop(NodeHost(nodes.double, NodeContext("double", "double")), spec)
        self._loop.initialize()
        self._link = self._loop._inputs[0]
        self._sender, self._receiver = wiring.sender(requests), wiring.receiver(answers)
        self._encoder, self._decoder = Codec("calls"), Codec("answers")
        self._data = RuntimeData.tensor(payload.make(0))

    def times_ns(self, count: int) -> dict[str, int]:
        """Of each step, over many calls; a look at the clock is in each, some 50 ns."""
        times: dict[str, int] = {}
        link, node = self._link, "worker: decode, node, encode, publish"

        def timed(step: str, function: Callable[..., Any], *arguments: Any) -> Any:
            start_ns = time.perf_counter_ns()
            result = function(*arguments)
            times[step] = times.get(step, 0) + time.perf_counter_ns() - start_ns
            return result

        for number in range(count):
            message = timed("engine: encode", lambda: self._encoder.encode(self._data, kind=Kind.CALL, correlation=1))
            timed("engine: publish", self._sender.offer, message)
            record = timed("worker: take", link.receiver.take)
            timed(node, self._loop._handle, link, record)
            timed("worker: acknowledge", link.receiver.acknowledge)
            answer = timed("engine: take", self._receiver.take)
            data, _, _ = timed("engine: decode", self._decoder.decode_call, answer)
            timed("engine: acknowledge", self._receiver.acknowledge)
            if not number:
                payload.check(data.as_tensor(), 1)
            timed("the node alone", nodes.double, data)
        return times
