"""Executors: the contract, and the bridges that keep it. Names are imported when they are first used (PEP 562)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.executors.contract import *  # noqa: F403
    from penstock.executors.converter import SharedMemoryConverter as SharedMemoryConverter
    from penstock.executors.databridge import DataBridge as DataBridge  # type: ignore[assignment]  # not the Protocol
    from penstock.executors.multiprocess import MultiprocessExecutorBridge as MultiprocessExecutorBridge
    from penstock.executors.native import NativeExecutorBridge as NativeExecutorBridge
    from penstock.executors.router import BridgeRouter as BridgeRouter
    from penstock.executors.wasm import WasmExecutorBridge as WasmExecutorBridge

_HOMES = {
    "MultiprocessExecutorBridge": "penstock.executors.multiprocess",
    "NativeExecutorBridge": "penstock.executors.native",
    "WasmExecutorBridge": "penstock.executors.wasm",
    "BridgeRouter": "penstock.executors.router",
    "DataBridge": "penstock.executors.databridge",  # the one to use; what others implement is `contract.DataBridge`
    "SharedMemoryConverter": "penstock.executors.converter",
}
_CONTRACT = (
    "AllocationFailed",
    "AudioBuffer",
    "AudioFormat",
    "BackpressureTimeout",
    "BridgeClosed",
    "BridgeError",
    "BridgeMetrics",
    "BridgeStats",
    "ChannelNotFound",
    "ConversionError",
    "ConversionFailed",
    "DataType",
    "EndOfStream",
    "ExecutorBridge",
    "ExecutorNotInitialized",
    "ExecutorType",
    "IPCDataConverter",
    "IPCError",
    "IPCMessage",
    "Inline",
    "Internal",
    "Json",
    "Node",
    "NodeContext",
    "NodeExecution",
    "NodeStats",
    "NodeStream",
    "RuntimeData",
    "ServiceError",
    "SharedMemoryRef",
    "TypeMismatch",
    "Validation",
)

__all__ = [*_CONTRACT, *_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    home = _HOMES.get(name) or ("penstock.executors.contract" if name in _CONTRACT else None)
    if home is None:
        raise AttributeError(f"module 'penstock.executors' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return list(__all__)
