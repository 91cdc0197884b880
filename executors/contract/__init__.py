"""The contract between an engine and its executors: the types that a third party implements against.

It needs numpy and nothing else of penstock, so that `penstock.conformance` can stand alone on it.
"""

from penstock.executors.contract.bridge import ExecutorBridge, ExecutorType, NodeStream
from penstock.executors.contract.converter import Inline, IPCDataConverter, IPCMessage, SharedMemoryRef
from penstock.executors.contract.data import AudioBuffer, AudioFormat, DataType, Json, RuntimeData
from penstock.executors.contract.databridge import DataBridge
from penstock.executors.contract.errors import (
    AllocationFailed,
    BackpressureTimeout,
    BridgeClosed,
    BridgeError,
    ChannelNotFound,
    ConversionError,
    ConversionFailed,
    EndOfStream,
    ExecutorNotInitialized,
    Internal,
    IPCError,
    NodeExecution,
    ServiceError,
    TypeMismatch,
    Validation,
)
from penstock.executors.contract.metrics import BridgeMetrics, BridgeStats, NodeStats
from penstock.executors.contract.node import Node, NodeContext

__all__ = [
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
    "DataBridge",
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
]
