"""Errors at the border of the executors: of shared memory, and of nodes, as the contract's own."""

from __future__ import annotations

import traceback

from penstock.executors.contract import (
    AllocationFailed,
    BackpressureTimeout,
    BridgeClosed,
    IPCError,
    NodeExecution,
    ServiceError,
)
from penstock.shm.errors import ChannelClosed, OutOfSharedMemory, SendTimeout, SharedMemoryError

__all__ = ["contract_error", "node_error"]


def contract_error(error: SharedMemoryError, edge: str) -> ServiceError:
    """The contract's error for one of shared memory, naming the edge."""
    if isinstance(error, OutOfSharedMemory):
        return AllocationFailed(f"edge {edge}: {error}")
    if isinstance(error, SendTimeout):
        return BackpressureTimeout(error.timeout_s)
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
    """The deepest line that is neither ours nor a library's, or the deepest one."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    own = [frame for frame in frames if "site-packages" not in frame.filename and "/lib/python" not in frame.filename]
    frame = (own or frames)[-1]
    return f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} in {frame.name}"
