"""One instance of a module: its exports as calls, its memory as a view, and the areas that the host uses in it."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import wasmtime

from penstock.executors.wasm.abi import EXPORTS, MEMORY
from penstock.executors.wasm.call import Call, bind_call, bind_deadline, bind_length
from penstock.executors.wasm.failure import GuestFailure
from penstock.executors.wasm.frame import FrameError
from penstock.executors.wasm.imports import make_linker
from penstock.executors.wasm.limits import WasmLimits, engine_for
from penstock.executors.wasm.ticker import TICKER

__all__ = ["Area", "Instance"]

_MIB = 2**20


@dataclass(slots=True)
class Area:
    """A piece of guest memory that the host allocated: its address, and its size in bytes."""

    pointer: int = 0
    size: int = 0


class Instance:
    """A checked module, instantiated within its limits. Not for two threads at a time.

    `enter` and `leave` stand around every stretch of calls: they start its deadline and its fuel.
    """

    def __init__(self, module: wasmtime.Module, limits: WasmLimits, logger: logging.Logger) -> None:
        self.limits = limits
        self._engine = engine_for(limits)
        self._ticks = limits.deadline_ticks
        self._closed = False
        self.calls: dict[str, Call] = {}
        self.view: memoryview = memoryview(b"")
        self._store = wasmtime.Store(self._engine)
        limits.apply(self._store)
        self._set_deadline = bind_deadline(self._store)
        self._linker = make_linker(self._engine, logger)
        if self._ticks:
            TICKER.retain(self._engine)
        try:
            self._instantiate(module)
        except BaseException:
            self.close()
            raise

    def _instantiate(self, module: wasmtime.Module) -> None:
        self.enter()  # a start function is guest code
        try:
            exports = self._linker.instantiate(self._store, module).exports(self._store)
        finally:
            self.leave()
        memory = exports[MEMORY]
        assert isinstance(memory, wasmtime.Memory)
        self._memory = memory
        self._length = bind_length(self._store, memory)
        self.calls = {name: call for name in EXPORTS if (call := self._bind(exports, name))}
        self.refresh()

    def _bind(self, exports: Mapping[str, object], name: str) -> Call | None:
        func = exports.get(name)
        return bind_call(self._store, func, EXPORTS[name]) if isinstance(func, wasmtime.Func) else None

    def enter(self) -> None:
        """The guest is about to run: its deadline begins."""
        if self._ticks:
            TICKER.begin()
            self._set_deadline(self._ticks)
        if self.limits.fuel is not None:
            self._store.set_fuel(self.limits.fuel)

    def leave(self) -> None:
        """The guest has returned."""
        if self._ticks:
            TICKER.end()

    def refresh(self) -> None:
        """Take the view anew when the memory has grown; after every call."""
        length = self._length()
        if length != len(self.view):
            self.view = self._map(length)

    def _map(self, length: int) -> memoryview:
        address = ctypes.cast(self._memory.data_ptr(self._store), ctypes.c_void_p).value
        assert address
        window = (ctypes.c_ubyte * length).from_address(address)  # does not keep the store: this object does
        return np.frombuffer(memoryview(window), np.uint8).data  # through numpy, for a format that takes bytes

    def reserve(self, area: Area, size: int, align: int) -> None:
        """Make an area hold at least `size` bytes; what it held is gone when it has to grow.

        Raises:
            GuestFailure: the guest has no room for it; the instance stays usable.
            FrameError: the guest gave an address that makes no sense.
        """
        if size <= area.size:
            return
        if size > self.limits.memory_bytes:
            raise _no_room(size, self.limits)
        rounded = _round(size)
        if area.size:
            self.calls["ps_free"](area.pointer, area.size, align)
            area.size = 0
        pointer = self.calls["ps_alloc"](rounded, align)
        self.refresh()
        if not pointer:
            raise _no_room(size, self.limits)
        if pointer % align or pointer + rounded > len(self.view):
            raise FrameError(
                f"ps_alloc({rounded}, {align}) gave {pointer:#x}: misaligned or out of bounds of the memory"
            )
        area.pointer, area.size = pointer, rounded

    def text_at(self, packed: int, longest: int) -> bytes:
        """The bytes that `(ptr << 32) | len` points at.

        Raises:
            FrameError: they are not inside the memory, or too many.
        """
        pointer, length = packed >> 32, packed & 0xFFFF_FFFF
        if length > longest or pointer + length > len(self.view):
            raise FrameError(f"a text of {length} bytes at {pointer:#x} is too long or out of bounds of the memory")
        return bytes(self.view[pointer : pointer + length])

    def close(self) -> None:
        """Give the memory back; idempotent."""
        if self._closed:
            return
        self._closed = True
        self.view = memoryview(b"")  # before the memory that it shows
        self.calls = {}
        self._store.close()
        self._linker.close()
        if self._ticks:
            TICKER.release(self._engine)


def _round(size: int) -> int:
    """A size to allocate: powers of two up to 1 MiB, whole MiB above, so that a stream soon has its last area."""
    return max(4096, 1 << (size - 1).bit_length()) if size <= _MIB else -(-size // _MIB) * _MIB


def _no_room(size: int, limits: WasmLimits) -> GuestFailure:
    return GuestFailure(
        f"out of memory: the guest has no room for {size} bytes; its limit is {limits.memory_bytes} bytes"
        " (WasmLimits.memory_bytes)",
        broken=False,
    )
