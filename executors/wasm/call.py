"""Calling an export: 0.6 µs where the public `Func.__call__` takes 23 to 36 (WASM.md A2).

`wasmtime_func_call_unchecked` takes its arguments and leaves its results in raw slots of 16 bytes. "Unchecked" means
that a wrong number or type of arguments is undefined behaviour: `check_module` compares every export with its signature
at load, and nothing else of penstock makes such a call. It needs private names of wasmtime, so the version is pinned in
pyproject.toml, and where a name is missing `PublicCall` does the same through the public interface.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import wasmtime

try:
    from wasmtime import _ffi as ffi
    from wasmtime._func import maybe_raise_last_exn

    def _native(name: str, result: Any, *arguments: Any, hold_gil: bool = False) -> Any:
        address = ctypes.cast(getattr(ffi.dll, name), ctypes.c_void_p).value
        assert address
        make = ctypes.PYFUNCTYPE if hold_gil else ctypes.CFUNCTYPE
        return make(result, *arguments)(address)

    _P, _SIZE = ctypes.c_void_p, ctypes.c_size_t
    # The guest runs without the GIL: its deadline's ticker, and the rest of the program, go on.
    _call = _native("wasmtime_func_call_unchecked", _P, _P, _P, _P, _SIZE, _P)
    _set_deadline = _native("wasmtime_context_set_epoch_deadline", None, _P, ctypes.c_uint64, hold_gil=True)
    _data_size = _native("wasmtime_memory_data_size", _SIZE, _P, _P, hold_gil=True)
    HAS_RAW = ctypes.sizeof(ffi.wasmtime_val_raw_t) == 16
except (ImportError, AttributeError):  # pragma: no cover - another wasmtime than the pinned one
    HAS_RAW = False

__all__ = [
    "HAS_RAW",
    "Call",
    "PublicCall",
    "RawCall",
    "Signature",
    "bind_call",
    "bind_deadline",
    "bind_length",
    "signed",
]

Call: TypeAlias = Callable[..., int]
"""Takes and returns unsigned integers (0 where there is no result); raises `Trap` or `WasmtimeError`."""

Signature: TypeAlias = tuple[str, str]
"""Parameters and result as letters: `i` is i32, `l` is i64; ("ii", "i") takes two i32 and returns one."""

_MASKS = {"": 0, "i": 0xFFFF_FFFF, "l": 0xFFFF_FFFF_FFFF_FFFF}


def signed(value: int) -> int:
    """An i32 result as a signed number."""
    return value - 0x1_0000_0000 if value & 0x8000_0000 else value


class RawCall:
    """One export, its slots and its trap pointer made once. Not for two threads at a time, like its store."""

    __slots__ = ("_arguments", "_keep", "_mask", "_raw", "_trap")

    def __init__(self, store: wasmtime.Store, func: wasmtime.Func, signature: Signature) -> None:
        parameters, result = signature
        slots = max(len(parameters), len(result))
        self._raw = (ctypes.c_uint64 * (2 * max(slots, 1)))()
        self._trap = ctypes.c_void_p()
        self._mask = _MASKS[result]
        self._keep = (store, func)  # the addresses below are theirs
        self._arguments = (
            _context(store),
            ctypes.addressof(func._func),
            ctypes.addressof(self._raw),
            slots,
            ctypes.addressof(self._trap),
        )

    def __call__(self, *arguments: int) -> int:
        raw = self._raw
        slot = 0
        for argument in arguments:
            raw[slot] = argument
            slot += 2
        error = _call(*self._arguments)
        if error or self._trap.value:
            self._fail(error)
        return raw[0] & self._mask

    def _fail(self, error: int | None) -> None:
        """Raise what the call left; the pointer is forgotten first, its object frees it."""
        trap, self._trap.value = self._trap.value, None
        failure = _error_at(error) if error else _trap_at(trap or 0)
        maybe_raise_last_exn()  # a KeyboardInterrupt that arrived inside a host function
        raise failure


class PublicCall:
    """The same through wasmtime's public interface."""

    __slots__ = ("_func", "_mask", "_parameters", "_store")

    def __init__(self, store: wasmtime.Store, func: wasmtime.Func, signature: Signature) -> None:
        self._store, self._func = store, func
        self._parameters = signature[0]
        self._mask = _MASKS[signature[1]]

    def __call__(self, *arguments: int) -> int:
        values = (_as_signed(value, letter) for value, letter in zip(arguments, self._parameters, strict=True))
        return (self._func(self._store, *values) or 0) & self._mask


def _as_signed(value: int, letter: str) -> int:
    bits = 32 if letter == "i" else 64
    return value - (1 << bits) if value >> (bits - 1) else value


def _context(store: wasmtime.Store) -> int:
    address = ctypes.cast(store._context(), ctypes.c_void_p).value
    assert address
    return address


def _error_at(address: int) -> Exception:
    return wasmtime.WasmtimeError._from_ptr(ctypes.cast(address, ctypes.POINTER(ffi.wasmtime_error_t)))


def _trap_at(address: int) -> Exception:
    return wasmtime.Trap._from_ptr(ctypes.cast(address, ctypes.POINTER(ffi.wasm_trap_t)))


def bind_call(store: wasmtime.Store, func: wasmtime.Func, signature: Signature) -> Call:
    """The fastest way to call `func` that this wasmtime offers. Its type must be `signature`."""
    return (RawCall if HAS_RAW else PublicCall)(store, func, signature)


def bind_deadline(store: wasmtime.Store) -> Callable[[int], None]:
    """`store.set_epoch_deadline`, in 0.3 µs instead of 1.1."""
    return functools.partial(_set_deadline, _context(store)) if HAS_RAW else store.set_epoch_deadline


def bind_length(store: wasmtime.Store, memory: wasmtime.Memory) -> Callable[[], int]:
    """The length of the memory in bytes; the caller keeps store and memory."""
    if HAS_RAW:
        return functools.partial(_data_size, _context(store), ctypes.addressof(memory._memory))
    return functools.partial(memory.data_len, store)
