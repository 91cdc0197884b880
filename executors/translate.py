"""Errors at the border of the executors: of shared memory, and of nodes, as the contract's own."""

from __future__ import annotations

import os
import traceback

from penstock.executors.contract import (
    AllocationFailed,
    BackpressureTimeout,
    BridgeClosed,
    BridgeError,
    IPCError,
    NodeExecution,
    ServiceError,
)
from penstock.shm.errors import ChannelClosed, EdgeFull, OutOfSharedMemory, SendTimeout, SharedMemoryError

__all__ = ["contract_error", "node_error"]


def contract_error(error: SharedMemoryError, edge: str) -> ServiceError:
    """The contract's error for one of shared memory, naming the edge."""
    if isinstance(error, OutOfSharedMemory):
        return AllocationFailed(f"edge {edge}: {error}")
    if isinstance(error, SendTimeout):
        return BackpressureTimeout(error.timeout_s)
    if isinstance(error, EdgeFull):
        return BridgeError(f"edge {edge}: {error}")
    if isinstance(error, ChannelClosed):
        return BridgeClosed()
    return IPCError(f"edge {edge}: {error}")


def node_error(node_id: str, error: BaseException) -> NodeExecution:
    """What a node raised, as `NodeExecution` with its own text."""
    if isinstance(error, NodeExecution):
        return error
    if isinstance(error, ServiceError):  # its message says it all
        return NodeExecution(node_id, error.message)
    return NodeExecution(
        node_id,
        str(error) or repr(error),
        kind=type(error).__name__,
        location=_location(error),
        details="".join(traceback.format_exception(error)),
    )


def _location(error: BaseException) -> str:
    """The deepest line that is neither ours nor a library's; empty where there is none."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(part in frame.filename for part in _NOT_THEIRS) and frame.filename not in _OURS
    ]
    if not frames:
        return ""
    frame = frames[-1]
    return f"{os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}"


_NOT_THEIRS = ("site-packages", "/lib/python", "<frozen")
_HERE = os.path.dirname(os.path.abspath(__file__))
_OURS = {
    os.path.join(_HERE, *parts)
    for parts in (
        ("host.py",),
        ("local.py",),
        ("multiprocess", "loop.py"),
        ("multiprocess", "serve.py"),
        ("contract", "data.py"),
    )
}
