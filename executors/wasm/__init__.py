"""Nodes in a wasmtime sandbox, by the penstock node ABI 1 (docs/wasm.md). Names are imported when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.executors.wasm.bridge import WasmExecutorBridge as WasmExecutorBridge
    from penstock.executors.wasm.limits import WasmLimits as WasmLimits
    from penstock.executors.wasm.node import WasmNode as WasmNode
    from penstock.executors.wasm.node import describe as describe
    from penstock.executors.wasm.type import WasmType as WasmType

_HOMES = {
    "WasmExecutorBridge": "penstock.executors.wasm.bridge",
    "WasmLimits": "penstock.executors.wasm.limits",
    "WasmNode": "penstock.executors.wasm.node",
    "WasmType": "penstock.executors.wasm.type",
    "describe": "penstock.executors.wasm.node",
}

__all__ = ["WasmExecutorBridge", "WasmLimits", "WasmNode", "WasmType", "describe"]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'penstock.executors.wasm' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
