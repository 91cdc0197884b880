"""Counters of a bridge (executor-bridge-api.md L387-436, errata D-21 to D-25, D-42)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["BridgeMetrics", "BridgeStats", "NodeStats"]


@dataclass(frozen=True, slots=True)
class NodeStats:
    """What one node has done."""

    executions: int
    """Calls that succeeded."""
    total_time_us: int
    """Time spent in them, in microseconds."""


@dataclass(frozen=True, slots=True)
class BridgeStats:
    """A consistent snapshot of a bridge's counters. Only what succeeded is counted."""

    total_executions: int = 0
    total_transfers: int = 0
    total_bytes: int = 0
    """Payload bytes of the data handed to transfers, before conversion."""
    avg_conversion_latency_us: int = 0
    """Mean time of a transfer in microseconds, rounded down; 0 without transfers."""
    per_node: Mapping[str, NodeStats] = field(default_factory=dict)


class BridgeMetrics:
    """Counts executions and transfers; safe to use from any task and any thread, and never waits for I/O."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nodes: dict[str, list[int]] = {}  # node id: [executions, ns]
        self._transfers = 0
        self._bytes = 0
        self._latency_ns = 0

    def record_execution(self, node_id: str, duration_ns: int) -> None:
        with self._lock:
            entry = self._nodes.get(node_id)
            if entry is None:
                entry = self._nodes[node_id] = [0, 0]
            entry[0] += 1
            entry[1] += duration_ns

    def record_transfer(self, payload_bytes: int, latency_ns: int) -> None:
        with self._lock:
            self._transfers += 1
            self._bytes += payload_bytes
            self._latency_ns += latency_ns

    def get_stats(self) -> BridgeStats:
        with self._lock:
            return BridgeStats(
                total_executions=sum(count for count, _ in self._nodes.values()),
                total_transfers=self._transfers,
                total_bytes=self._bytes,
                avg_conversion_latency_us=self._latency_ns // 1000 // max(1, self._transfers),
                per_node={name: NodeStats(count, ns // 1000) for name, (count, ns) in self._nodes.items()},
            )
