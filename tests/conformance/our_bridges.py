"""Adapters of our own bridges: `penstock conformance run --bridge our_bridges:Native`, from this folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

from wasm_nodes import guests

from penstock.conformance import Adapter, Capabilities, Fault, Profile
from penstock.executors import MultiprocessExecutorBridge, NativeExecutorBridge, WasmExecutorBridge
from penstock.executors.contract import ExecutorType
from penstock.executors.multiprocess.calls import Calls
from penstock.executors.multiprocess.supervisor import WorkerOptions
from penstock.shm.errors import OutOfSharedMemory, PeerLost


class Native(Adapter):
    """Nodes in this process."""

    name = "penstock native"
    version = "0.1.0"
    capabilities = Capabilities(profiles={Profile.NATIVE})

    async def make_bridge(self, kind: ExecutorType, *, session_id: str, nodes: Mapping[str, str]) -> Any:
        return NativeExecutorBridge(session_id, nodes=nodes)


class Multiprocess(Adapter):
    """Nodes in workers."""

    name = "penstock multiprocess"
    version = "0.1.0"
    capabilities = Capabilities(profiles={Profile.MULTIPROCESS})

    async def make_bridge(self, kind: ExecutorType, *, session_id: str, nodes: Mapping[str, str]) -> Any:
        options = WorkerOptions(on_output=lambda *_: None, grace_s=1.0)
        return MultiprocessExecutorBridge(session_id, nodes=nodes, options=options)

    def worker_pids(self, bridge: Any, node_id: str) -> list[int]:
        return list(bridge.worker_pids(node_id))

    def inject(self, obj: Any, fault: Fault) -> contextlib.AbstractContextManager[Any] | None:
        return _broken(obj, fault) if fault in {Fault.SEND, Fault.CONVERT} else None


class Wasm(Adapter):
    """Nodes in a sandbox: guests that do what the suite's nodes do, without files, clocks and processes."""

    name = "penstock wasm"
    version = "0.1.0"
    capabilities = Capabilities(
        profiles={Profile.WASM},
        params_at_execute=False,  # a guest gets its parameters when it is opened
        nodes={"echo", "affine", "counter", "fail", "fail_init", "slow"},
    )

    async def make_bridge(self, kind: ExecutorType, *, session_id: str, nodes: Mapping[str, str]) -> Any:
        return WasmExecutorBridge(session_id, nodes=guests())


@contextlib.contextmanager
def _broken(bridge: MultiprocessExecutorBridge, fault: Fault) -> Iterator[None]:
    """The rings of every node of this bridge refuse what is sent."""
    error = PeerLost("injected") if fault is Fault.SEND else OutOfSharedMemory("injected", 1, 0)

    def refuse(*_: Any) -> Any:
        raise error

    with contextlib.ExitStack() as stack:
        for node in bridge._nodes.values():
            calls: Calls = node.calls
            stack.enter_context(mock.patch.object(calls._requests, "offer", refuse))
        yield
