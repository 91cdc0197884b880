"""What a guest did wrong, in words."""

from __future__ import annotations

from typing import Any

import wasmtime

from penstock.executors.wasm.limits import WasmLimits

__all__ = ["GuestFailure", "explain"]

_FRAMES = 8


class GuestFailure(Exception):
    """A call into a guest failed.

    Attributes:
        broken: the instance can not be used any more; its state is lost.
        errno: what the guest returned, when it returned one.
    """

    def __init__(self, text: str, *, broken: bool, errno: int = 0) -> None:
        super().__init__(text)
        self.broken = broken
        self.errno = errno


def explain(error: wasmtime.Trap | wasmtime.WasmtimeError, what: str, limits: WasmLimits) -> GuestFailure:
    """A trap, or wasmtime's refusal, as a failure of `what` (the name of the export that ran)."""
    if isinstance(error, wasmtime.WasmtimeError):
        return GuestFailure(f"{what} failed: {_cause(str(error))}", broken=True)
    code = error.trap_code
    name = "TRAP" if code is None else code.name
    text = f"{what} trapped: {name}: {_remedy(name, limits) or _cause(error.message)}"
    return GuestFailure(f"{text}; guest backtrace: {_backtrace(error.frames)}", broken=True)


def _remedy(name: str, limits: WasmLimits) -> str:
    if name == "INTERRUPT":
        return f"it ran longer than its deadline of {limits.deadline_ms:g} ms (WasmLimits.deadline_ms)"
    if name == "OUT_OF_FUEL":
        return f"it used up its fuel of {limits.fuel} (WasmLimits.fuel)"
    if name == "STACK_OVERFLOW":
        return f"its calls need more than {limits.stack_bytes} bytes of stack (WasmLimits.stack_bytes)"
    return ""


def _cause(message: str) -> str:
    """The part of wasmtime's message that says why; the backtrace before it is told shorter."""
    return " ".join(message.rpartition("Caused by:")[2].split())


def _backtrace(frames: list[Any]) -> str:
    names = [frame.func_name or f"function {frame.func_index}" for frame in frames]
    more = f" < ... {len(names) - _FRAMES} more" if len(names) > _FRAMES else ""
    return (" < ".join(names[:_FRAMES]) + more) or "none"
