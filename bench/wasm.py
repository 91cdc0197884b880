"""`wasm`: a 4 KiB audio frame through the speech example's guest, beside the same filter in numpy."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.figures import OURS, Series
from bench.options import Options
from penstock.executors.contract import NodeContext, RuntimeData
from penstock.executors.wasm.node import WasmNode

__all__ = ["run"]

_EXAMPLE = Path(__file__).parents[1] / "examples" / "speech"
Process = Callable[[RuntimeData], Any]


def run(options: Options) -> Series:
    """Blocks of whole calls: a datum in, a datum out."""
    series = Series("wasm")
    node = WasmNode(_EXAMPLE / "clean.wasm")
    node.initialize(NodeContext("clean", "clean.wasm"))
    try:
        _blocks(options, series, {OURS: lambda data: node.process(data)[0], "numpy": _twin().process})
    finally:
        node.cleanup()
    return series


def _blocks(options: Options, series: Series, contestants: dict[str, Process]) -> None:
    noise = np.random.default_rng(0).standard_normal(1024).astype(np.float32)
    data = RuntimeData.audio(noise, sample_rate=16000)
    count = options.choose(quick=1000, full=10_000)
    sums = {name: _time(process, data, count)[1] for name, process in contestants.items()}  # warm up
    for _ in range(options.choose(quick=3, full=9)):
        for name, process in contestants.items():
            times_ns, sums[name] = _time(process, data, count)
            series.add_latencies("4 KiB frame", name, times_ns)
    _agree(sums)


def _time(process: Process, data: RuntimeData, count: int) -> tuple[list[int], float]:
    """The times, and the energy of all that came out."""
    times_ns, energy = [], 0.0
    for _ in range(count):
        start_ns = time.perf_counter_ns()
        answer = process(data)
        times_ns.append(time.perf_counter_ns() - start_ns)
        samples = answer.as_audio().samples
        energy += float(samples.dot(samples))
    return times_ns, energy


def _agree(sums: dict[str, float]) -> None:
    """Both filters have heard the same, so they have said the same."""
    if not np.allclose(list(sums.values()), sums[OURS], rtol=1e-4):
        raise ValueError(f"the guest and its twin do not agree: {sums}")


def _twin() -> Any:
    spec = importlib.util.spec_from_file_location("clean_twin", _EXAMPLE / "clean_twin.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Clean()
