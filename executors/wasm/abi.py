"""Penstock node ABI 1: what a module exports and imports (docs/wasm.md). Checked once, when a module is loaded."""

from __future__ import annotations

import os

import wasmtime

from penstock.executors.contract import Validation
from penstock.executors.wasm.call import Signature
from penstock.executors.wasm.limits import WasmLimits

__all__ = ["ABI", "EINVAL", "EXPORTS", "IMPORTS", "MEMORY", "OPTIONAL", "check_module"]

ABI = 1
EINVAL = 22
"""The errno with which `ps_open` says that its parameters are wrong."""

MEMORY = "memory"
EXPORTS: dict[str, Signature] = {
    "ps_abi": ("", "i"),
    "ps_alloc": ("ii", "i"),
    "ps_free": ("iii", ""),
    "ps_describe": ("", "l"),
    "ps_open": ("ii", "i"),
    "ps_process": ("ii", "i"),
    "ps_next": ("i", "i"),
    "ps_flush": ("i", "i"),
    "ps_close": ("i", ""),
    "ps_error": ("", "l"),
    "_initialize": ("", ""),
}
OPTIONAL = frozenset({"ps_next", "_initialize"})
"""`ps_next` serves guests with several outputs; `_initialize` runs the constructors of a libc (a WASI reactor)."""

IMPORTS: dict[tuple[str, str], Signature] = {
    ("ps", "log"): ("iii", ""),
    ("ps", "now_ns"): ("", "l"),
}

_PAGE_BYTES = 65536
_LETTERS = {"i32": "i", "i64": "l"}
_NAMES = {"i": "i32", "l": "i64", "f": "f32", "d": "f64"}


def check_module(module: wasmtime.Module, path: str | os.PathLike[str], limits: WasmLimits) -> None:
    """Refuse a module that is no node of ABI 1, before any of its code runs.

    Raises:
        Validation: every reason at once, with the file's name.
    """
    wrong = [*_wrong_imports(module), *_wrong_exports(module, limits)]
    if wrong:
        raise Validation(f"{os.fspath(path)}: is no penstock node of ABI {ABI}: {'; '.join(wrong)}")


def _wrong_imports(module: wasmtime.Module) -> list[str]:
    wrong = []
    for item in module.imports:
        name = (item.module, item.name or "")
        if item.module.startswith("wasi"):
            wrong.append(
                f"imports {'.'.join(name)}: WASI is not granted to nodes; build without a libc, or without stdio"
            )
        elif name not in IMPORTS:
            wrong.append(f"imports {'.'.join(name)}: a guest may import ps.log and ps.now_ns alone")
        elif _signature(item.type) != IMPORTS[name]:
            wrong.append(f"imports {'.'.join(name)} as {_say(item.type)}, it is {_spell(IMPORTS[name])}")
    return wrong


def _wrong_exports(module: wasmtime.Module, limits: WasmLimits) -> list[str]:
    exports = {item.name: item.type for item in module.exports}
    wrong = [
        f"exports {name} as {_say(exports[name])}, it is {_spell(signature)}"
        for name, signature in EXPORTS.items()
        if name in exports and _signature(exports[name]) != signature
    ]
    missing = sorted((EXPORTS.keys() | {MEMORY}) - OPTIONAL - exports.keys())
    if missing:
        wrong.append(f"does not export {', '.join(missing)}")
    return wrong + _wrong_memory(exports.get(MEMORY), limits)


def _wrong_memory(memory: object, limits: WasmLimits) -> list[str]:
    if memory is None:
        return []
    if not isinstance(memory, wasmtime.MemoryType):
        return [f"exports {MEMORY!r} as {_say(memory)}, it is a memory"]
    least = memory.limits.min * _PAGE_BYTES
    if least > limits.memory_bytes:
        return [f"needs {least} bytes of memory to start, its limit is {limits.memory_bytes} (memory_bytes)"]
    return []


def _signature(kind: object) -> Signature | None:
    """The signature of a function over i32 and i64; None for everything else."""
    if not isinstance(kind, wasmtime.FuncType):
        return None
    letters = [[_LETTERS.get(str(value), "?") for value in values] for values in (kind.params, kind.results)]
    return "".join(letters[0]), "".join(letters[1])


def _say(kind: object) -> str:
    if not isinstance(kind, wasmtime.FuncType):
        return type(kind).__name__.removesuffix("Type").lower()
    return f"({', '.join(map(str, kind.params))}) -> ({', '.join(map(str, kind.results))})"


def _spell(signature: Signature) -> str:
    parameters, results = (", ".join(_NAMES[letter] for letter in letters) for letters in signature)
    return f"({parameters}) -> ({results})"
