"""Nodes in a wasmtime sandbox, by the penstock node ABI 1 (docs/wasm.md). Importing this imports wasmtime."""

from penstock.executors.wasm.bridge import WasmExecutorBridge, WasmType
from penstock.executors.wasm.limits import WasmLimits
from penstock.executors.wasm.node import Description, WasmNode, describe

__all__ = ["Description", "WasmExecutorBridge", "WasmLimits", "WasmNode", "WasmType", "describe"]
