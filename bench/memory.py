"""`memory`: what idle nodes and edges hold, in the engine and in workers, beside a trio task and a bare Python."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import trio
import trio.testing

from bench.figures import OURS, Series
from bench.nodes import Forward, Quiet, Silence
from bench.options import Options
from penstock.engine.pipeline import Pipeline

__all__ = ["run"]

_NODES = 400
_WORKERS = 6
_IDLE = "import numpy, sys; print('up', flush=True); sys.stdin.read()"

_Opened = Callable[[], AbstractAsyncContextManager[object]]


def run(options: Options) -> Series:
    """KiB of the engine for a native node with its edge; of a worker, what is its own or its share (PSS); of a ring."""
    series = Series("memory")
    for _ in range(options.choose(quick=1, full=3)):
        for name, opened in ((OURS, _line), ("trio task, channel", _tasks)):
            series.add("a native node and its edge", name, "KiB", trio.run(_allocated_kib, opened) / _NODES)
        trio.run(_workers, series)
        series.add("a worker, PSS", "python -c 'import numpy'", "KiB", _bare_kib())
    return series


async def _allocated_kib(opened: _Opened) -> float:
    """What Python has allocated: exact, where the resident set hides small things in free pages."""
    async with opened():
        pass  # what is imported and cached at first use is not counted
    gc.collect()
    tracemalloc.start()
    try:
        async with opened():
            await trio.testing.wait_all_tasks_blocked()
            gc.collect()
            return tracemalloc.get_traced_memory()[0] / 1024
    finally:
        tracemalloc.stop()


def _line() -> AbstractAsyncContextManager[object]:
    names = ["silence", *(f"node{number}" for number in range(_NODES - 1)), "sink"]
    pipeline = Pipeline("bench").add("silence", Silence).add("sink", Quiet)
    for name in names[1:-1]:
        pipeline.add(name, Forward)
    return pipeline.connect(*names).open()


@asynccontextmanager
async def _tasks() -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for _ in range(_NODES):
            send, receive = trio.open_memory_channel[object](64)
            nursery.start_soon(_wait, send, receive)
        yield
        nursery.cancel_scope.cancel()


async def _wait(send: object, receive: trio.MemoryReceiveChannel[object]) -> None:
    await receive.receive()
    del send


async def _workers(series: Series) -> None:
    before = _shm_kib()
    names = [f"worker{number}" for number in range(_WORKERS)]
    pipeline = Pipeline("bench").add("silence", Silence).add("sink", Quiet)
    for name in names:
        pipeline.add(name, "bench.nodes:Forward", executor="multiprocess")
    async with pipeline.connect("silence", *names, "sink").open() as run:
        await trio.sleep(0.3)
        pids = [node.pid for node in run.report().nodes if node.pid]
        series.add("a worker, PSS", OURS, "KiB", sum(map(_pss_kib, pids)) / _WORKERS)
        series.add("a ring of 64 slots", OURS, "KiB", (_shm_kib() - before) / (_WORKERS + 1))


def _shm_kib() -> float:
    """What the segments of this process's runs take, whoever else has some there."""
    own = f'"pid": {os.getpid()}'
    tokens = [path.name.split("-")[1] for path in _segments("*-owner") if own in path.read_text()]
    return sum(path.stat().st_blocks * 512 for token in tokens for path in _segments(f"{token}-*")) / 1024


def _segments(pattern: str) -> list[Path]:
    return list(Path("/dev/shm").glob(f"pstk-{pattern}"))


def _bare_kib() -> float:
    with subprocess.Popen([sys.executable, "-c", _IDLE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        kib = _pss_kib(process.pid)
        process.kill()
    return kib


def _pss_kib(pid: int) -> float:
    """Its own pages, and its share of those that others have, too."""
    found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return float(found[1])
