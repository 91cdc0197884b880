"""What the conformance suite needs to know of the bridge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

import zmq_bridge

from penstock.conformance import Adapter, Capabilities, Fault, Profile
from penstock.executors.contract import ExecutorType

_METHODS = {Fault.SEND: "send", Fault.RECV: "receive", Fault.CLEANUP: "end"}


class ZmqAdapter(Adapter):
    name = "zmq-bridge"
    version = "0.1"
    capabilities = Capabilities(
        profiles={Profile.MULTIPROCESS, Profile.METRICS},
        zero_copy=False,  # payloads are copied through a socket
    )

    async def make_bridge(self, kind: ExecutorType, *, session_id: str, nodes: Mapping[str, str]) -> Any:
        return zmq_bridge.ZmqBridge(session_id, nodes)

    def inject(self, obj: Any, fault: Fault) -> AbstractContextManager[Any] | None:
        return _failing(_METHODS[fault]) if fault in _METHODS else None


@contextmanager
def _failing(method: str) -> Iterator[None]:
    """A method of every node raises."""
    with mock.patch.object(zmq_bridge._Node, method, side_effect=OSError("injected")):
        yield
