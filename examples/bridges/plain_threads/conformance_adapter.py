"""What the conformance suite needs to know of the two bridges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thread_bridge import ThreadBridge, ThreadDataBridge

from penstock.conformance import Adapter, Capabilities, Profile
from penstock.executors.contract import ExecutorType


class ThreadAdapter(Adapter):
    name = "thread-bridge"
    version = "0.1"
    capabilities = Capabilities(
        profiles={Profile.NATIVE, Profile.DATABRIDGE, Profile.METRICS},
        runtime="sync",
    )

    def make_bridge(self, kind: ExecutorType, *, session_id: str, nodes: Mapping[str, str]) -> Any:
        return ThreadBridge(session_id, nodes)

    def make_data_bridge(
        self, source: Any, target: Any, *, converter: Any, capacity: int, timeout: float | None
    ) -> Any:
        return ThreadDataBridge(source, target, converter, capacity, timeout)
