"""The errors of the contract, with its exact messages (executor-bridge-api.md L443-478, errata D-02).

Every one of them is a `ServiceError`, so `except ServiceError` catches whatever a bridge can raise.
`ConversionError` says that a datum could not cross, `BridgeError` that a bridge can not serve now.
"""

from __future__ import annotations

__all__ = [
    "AllocationFailed",
    "BackpressureTimeout",
    "BridgeClosed",
    "BridgeError",
    "ChannelNotFound",
    "ConversionError",
    "ConversionFailed",
    "EndOfStream",
    "ExecutorNotInitialized",
    "IPCError",
    "Internal",
    "NodeExecution",
    "ServiceError",
    "TypeMismatch",
    "Validation",
]


class ServiceError(Exception):
    """Base of every error that the contract knows; `message` is its text."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Validation(ServiceError):
    """What was asked for does not exist or is not allowed; nothing ran."""


class NodeExecution(ServiceError):
    """A node, or the process that runs it, failed.

    Attributes:
        node_id: the node that failed.
        message: the node's own text, or what happened to its process.
        kind: the class of the node's exception, where there was one.
        location: "file.py:12 in process", the deepest line of the node's own code, where there was an exception.
        details: the traceback, or the last lines that a dead process wrote; may be empty.
    """

    def __init__(self, node_id: str, message: str, *, kind: str = "", location: str = "", details: str = "") -> None:
        super().__init__(message)
        self.node_id = node_id
        self.kind = kind
        self.location = location
        self.details = details

    def __str__(self) -> str:
        kind = f"{self.kind}: " if self.kind else ""
        where = f" ({self.location})" if self.location else ""
        return f"node {self.node_id!r}: {kind}{self.message}{where}"


class Internal(ServiceError):
    """The bridge failed, not the node and not the caller."""


class ConversionError(ServiceError):
    """A datum could not be converted for, or read back from, another executor."""


class TypeMismatch(ConversionError):
    """The datum is not of the type that was asked for, or its payload is not what its type says."""

    def __init__(self, expected: object, actual: object) -> None:
        super().__init__(f"Type mismatch: expected {expected}, got {actual}")
        self.expected = expected
        self.actual = actual


class AllocationFailed(ConversionError):
    """There is not enough shared memory; the text says how much is needed, how much there is, and the remedy."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Shared memory allocation failed: {reason}")


class ChannelNotFound(ConversionError):
    """The channel (session or edge) does not exist."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Channel not found: {name}")


class IPCError(ConversionError):
    """What came from another process makes no sense, or can not be reached any more."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"IPC error: {reason}")


class BridgeError(ServiceError):
    """The bridge can not serve this call now."""


class ExecutorNotInitialized(BridgeError):
    """The node was not initialized on this executor, or has been cleaned up, or its process died."""

    def __init__(self, executor: object) -> None:
        super().__init__(f"Executor not initialized: {executor}")
        self.executor = executor


class ConversionFailed(BridgeError):
    """A `ConversionError`, which is the `__cause__`, stopped a transfer."""

    def __init__(self, cause: ConversionError) -> None:
        super().__init__(f"Data conversion failed: {cause}")
        self.__cause__: BaseException | None = cause


class BackpressureTimeout(BridgeError):
    """The other side made no room within `timeout` seconds."""

    def __init__(self, timeout: float) -> None:
        super().__init__(f"Backpressure timeout after {timeout:g}s")
        self.timeout = timeout


class BridgeClosed(BridgeError):
    """The bridge, or the stream, was closed by its owner."""

    def __init__(self) -> None:
        super().__init__("Bridge closed")


class EndOfStream(Exception):
    """A node stream has given everything it will ever give. Not an error: the end."""
