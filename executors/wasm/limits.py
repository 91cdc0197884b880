"""What a guest may use. There is always a limit: wasmtime itself sets none on memory (WASM.md A4)."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import wasmtime

from penstock.executors.contract import Validation

__all__ = ["TICK_S", "WasmLimits", "engine_for"]

TICK_S = 0.005
"""Length of an epoch tick: the grain of `deadline_ms`."""

_PAGE_BYTES = 65536


@dataclass(frozen=True, slots=True)
class WasmLimits:
    """The limits of one guest; they are set before any of its code runs.

    Attributes:
        memory_bytes: most linear memory, in bytes; `memory.grow` fails beyond it.
        table_elements: most elements of its tables.
        instances: instances in its store; a core module needs one.
        stack_bytes: host stack for its calls, 16 KiB to 1 MiB. (C keeps its arrays on a stack of its own in linear
            memory, whose size the linker sets.)
        deadline_ms: most time for a call and what belongs to it (`ps_next`), in ms. The grain is a tick of 5 ms: a
            guest is stopped at most two ticks late. None: no deadline, for a trusted guest in a supervised worker.
        fuel: instructions (about) for a call: the same input always stops at the same place. None: not counted.
    """

    memory_bytes: int = 64 * 2**20
    table_elements: int = 10_000
    instances: int = 1
    stack_bytes: int = 512 * 1024
    deadline_ms: float | None = 1000.0
    fuel: int | None = None

    def __post_init__(self) -> None:
        _within("memory_bytes", self.memory_bytes, _PAGE_BYTES, 2**32)
        _within("table_elements", self.table_elements, 0, 2**31)
        _within("instances", self.instances, 1, 1000)
        _within("stack_bytes", self.stack_bytes, 16 * 1024, 2**20)
        if self.deadline_ms is not None and not 0 < self.deadline_ms < 1e12:
            raise Validation(
                f"WasmLimits.deadline_ms is {self.deadline_ms}: give more than 0 ms, or None for no deadline"
            )
        if self.fuel is not None:
            _within("fuel", self.fuel, 1, 2**63)

    @property
    def deadline_ticks(self) -> int:
        """Ticks after which a call is stopped: one more than its time holds, for the tick that is already running."""
        return 0 if self.deadline_ms is None else math.ceil(self.deadline_ms / 1000 / TICK_S) + 1

    def apply(self, store: wasmtime.Store) -> None:
        """Set what holds for the life of a store."""
        store.set_limits(
            memory_size=self.memory_bytes,
            table_elements=self.table_elements,
            instances=self.instances,
            tables=8,
            memories=1,
        )


def _within(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Validation(f"WasmLimits.{name} is {value!r}: give an integer from {least} to {most}")


_engines: dict[str, wasmtime.Engine] = {}
_lock = threading.Lock()


def config_key(limits: WasmLimits) -> str:
    """Names the compiler settings that these limits ask for; modules of different settings do not mix."""
    return f"epoch{limits.deadline_ms is not None:d}-fuel{limits.fuel is not None:d}-stack{limits.stack_bytes}"


def engine_for(limits: WasmLimits) -> wasmtime.Engine:
    """The process's engine with the settings that these limits ask for."""
    key = config_key(limits)
    with _lock:
        if key not in _engines:
            _engines[key] = wasmtime.Engine(_config(limits))
        return _engines[key]


def _config(limits: WasmLimits) -> wasmtime.Config:
    """What a node of ABI 1 needs, and no more of the proposals: each is surface that a hostile guest could use."""
    config = wasmtime.Config()
    config.epoch_interruption = limits.deadline_ms is not None
    config.consume_fuel = limits.fuel is not None
    config.max_wasm_stack = limits.stack_bytes
    config.wasm_threads = False
    config.wasm_memory64 = False
    config.wasm_multi_memory = False
    config.wasm_gc = False
    config.wasm_function_references = False
    config.wasm_exceptions = False
    config.wasm_stack_switching = False
    config.gc_support = False
    return config
