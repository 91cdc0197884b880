"""What the conformance suite needs to know of the bridge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

from pipe_bridge import PipeBridge

from penstock.conformance import Adapter, Capabilities, Fault, Profile
from penstock.executors.contract import ExecutorType

_TARGETS = {Fault.SEND: "multiprocessing.connection.Connection.send", Fault.CLEANUP: "pipe_bridge._Node.end"}


class PipeAdapter(Adapter):
    name = "pipe-bridge"
    version = "0.1"
    capabilities = Capabilities(
        profiles={Profile.MULTIPROCESS, Profile.METRICS},
        runtime="asyncio",
        zero_copy=False,  # everything is pickled through the pipe
    )

    async def make_bridge(self, kind: ExecutorType, *, session_id: str, nodes: Mapping[str, str]) -> Any:
        return PipeBridge(session_id, nodes)

    def worker_pids(self, bridge: Any, node_id: str) -> list[int]:
        return list(bridge.worker_pids(node_id))

    def inject(self, obj: Any, fault: Fault) -> AbstractContextManager[Any] | None:
        return _failing(_TARGETS[fault]) if fault in _TARGETS else None


@contextmanager
def _failing(target: str) -> Iterator[None]:
    """A method fails, for every object of this process."""
    with mock.patch(target, side_effect=OSError("injected")):
        yield
