"""Where a line of executor-bridge-api.md belongs: its parts, so that a citation says more than a number."""

from __future__ import annotations

from penstock.conformance.requirements.model import Requirement

__all__ = ["PARTS", "quoted"]

PARTS: tuple[tuple[int, int, str], ...] = (
    (3, 6, "Overview"),
    (13, 13, "ExecutorBridge: Send + Sync"),
    (14, 21, "ExecutorBridge.execute_node"),
    (23, 29, "ExecutorBridge.initialize_node"),
    (31, 32, "ExecutorBridge.cleanup_node"),
    (34, 36, "ExecutorBridge.executor_type"),
    (43, 51, "NativeExecutorBridge"),
    (55, 79, "NativeExecutorBridge.execute_node"),
    (81, 90, "NativeExecutorBridge.initialize_node"),
    (92, 95, "NativeExecutorBridge.cleanup_node"),
    (97, 100, "NativeExecutorBridge.executor_type"),
    (105, 115, "MultiprocessExecutorBridge"),
    (119, 154, "MultiprocessExecutorBridge.execute_node"),
    (156, 178, "MultiprocessExecutorBridge.initialize_node"),
    (180, 186, "MultiprocessExecutorBridge.cleanup_node"),
    (188, 191, "MultiprocessExecutorBridge.executor_type"),
    (203, 235, "IPCDataConverter.to_ipc: audio"),
    (236, 239, "IPCDataConverter.to_ipc: text"),
    (240, 243, "IPCDataConverter.to_ipc: tensor"),
    (244, 249, "IPCDataConverter.to_ipc: JSON"),
    (251, 275, "IPCDataConverter.from_ipc: references"),
    (276, 287, "IPCDataConverter.from_ipc: inline"),
    (297, 303, "DataBridge"),
    (306, 346, "DataBridge.transfer"),
    (348, 373, "DataBridge.transfer_with_backpressure"),
    (375, 383, "DataBridge.close"),
    (392, 408, "BridgeMetrics"),
    (411, 417, "BridgeMetrics.record_execution"),
    (419, 423, "BridgeMetrics.record_transfer"),
    (425, 434, "BridgeMetrics.get_stats"),
    (443, 461, "Conversion errors"),
    (465, 480, "Bridge errors"),
    (488, 492, "Unit test requirements"),
    (496, 500, "Integration test requirements"),
    (504, 523, "Test fixtures"),
)
"""First line, last line, what stands there."""

FIXTURES = (504, 523)
"""The fixtures are the smoke gate and one of the vectors of R-CV-05 (D-44, D-45): no requirement cites them."""


def quoted(requirement: Requirement) -> list[str]:
    """The parts of the contract that a requirement stands on, with their lines."""
    lines = requirement.lines
    return [
        f"L{first}-{last} {title}" if last > first else f"L{first} {title}"
        for first, last, title in PARTS
        if lines & set(range(first, last + 1))
    ]
