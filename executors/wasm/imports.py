"""What a guest may call in the host: `ps.log` and `ps.now_ns`.

Nothing here raises: wasmtime keeps the exception of a host function in one global for all threads.
"""

from __future__ import annotations

import contextlib
import logging
import time

import wasmtime

from penstock.executors.wasm.abi import MEMORY

__all__ = ["make_linker"]

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
_LONGEST_LINE_BYTES = 4096


def make_linker(engine: wasmtime.Engine, logger: logging.Logger) -> wasmtime.Linker:
    """A linker with the two imports of ABI 1; the guest's log goes to `logger`."""
    i32, i64 = wasmtime.ValType.i32, wasmtime.ValType.i64

    def log(caller: wasmtime.Caller, level: int, pointer: int, length: int) -> None:
        with contextlib.suppress(Exception):  # a logging handler's mistake is not the guest's
            text = _text(caller, pointer & 0xFFFF_FFFF, length & 0xFFFF_FFFF)
            logger.log(_LEVELS[min(level & 0xFFFF_FFFF, len(_LEVELS) - 1)], "%s", text)

    linker = wasmtime.Linker(engine)
    linker.define_func("ps", "log", wasmtime.FuncType([i32(), i32(), i32()], []), log, access_caller=True)
    linker.define_func("ps", "now_ns", wasmtime.FuncType([], [i64()]), time.time_ns)
    return linker


def _text(caller: wasmtime.Caller, pointer: int, length: int) -> str:
    memory = caller[MEMORY]
    assert isinstance(memory, wasmtime.Memory)
    if pointer + length > memory.data_len(caller):
        return f"(a log line out of bounds of the guest's memory: {length} bytes at {pointer:#x})"
    line = memory.read(caller, pointer, pointer + min(length, _LONGEST_LINE_BYTES))
    return line.decode("utf-8", "replace")
