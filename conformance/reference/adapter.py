"""The adapter of the reference; mutants replace one of its parts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from penstock.conformance.adapter import Adapter, Capabilities, Fault, Profile
from penstock.conformance.reference.converter import PlainConverter, ReferenceConverter
from penstock.conformance.reference.databridge import ReferenceDataBridge
from penstock.conformance.reference.multiprocess import ReferenceMultiprocess, WorkerLost
from penstock.conformance.reference.native import ReferenceNative
from penstock.executors.contract import ExecutorType, IPCError

__all__ = ["ReferenceAdapter"]


class ReferenceAdapter(Adapter):
    """Everything, in trio."""

    name = "reference"
    version = "1"
    capabilities = Capabilities(profiles={Profile.FULL}, wasm=True)
    native: ClassVar[Any] = ReferenceNative
    multiprocess: ClassVar[Any] = ReferenceMultiprocess
    converter: ClassVar[Any] = ReferenceConverter
    data_bridge: ClassVar[Any] = ReferenceDataBridge

    async def make_bridge(self, kind: ExecutorType, *, session_id: str, nodes: Mapping[str, str]) -> Any:
        factory = self.multiprocess if kind is ExecutorType.MULTIPROCESS else self.native
        return factory(session_id, nodes)

    async def make_converter(self, *, session_id: str, peer: Any = None) -> Any:
        del peer  # sessions have one converter here
        return self.converter(session_id)

    async def make_data_bridge(
        self, source: Any, target: Any, *, converter: Any, capacity: int, timeout: float | None
    ) -> Any:
        return self.data_bridge(source, target, converter, capacity, timeout, wasm=self.capabilities.wasm)

    @staticmethod
    def plain_converter(session_id: str) -> PlainConverter:
        """A converter with plain methods, for data bridges without a loop."""
        return PlainConverter(session_id)

    def inject(self, obj: Any, fault: Fault) -> AbstractContextManager[Any] | None:
        if isinstance(obj, ReferenceMultiprocess):
            return _broken(obj, fault)
        if isinstance(obj, ReferenceConverter) and fault is Fault.CONVERT:
            return _replaced(obj.plain, "store", _fails(IPCError("injected")))
        return None


def _fails(error: Exception) -> Any:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def _fails_later(error: Exception) -> Any:
    async def fail(*_: Any) -> Any:
        raise error

    return fail


@contextlib.contextmanager
def _replaced(obj: Any, name: str, stand_in: Any) -> Iterator[None]:
    setattr(obj, name, stand_in)
    try:
        yield
    finally:
        delattr(obj, name)


@contextlib.contextmanager
def _broken(bridge: ReferenceMultiprocess, fault: Fault) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if fault is Fault.CONVERT:
            stack.enter_context(_replaced(bridge, "outgoing", _fails(IPCError("injected"))))
        elif fault is Fault.CLEANUP:
            stack.enter_context(_replaced(bridge, "terminate", _fails_later(OSError("injected"))))
        else:
            name, error = ("send", OSError("injected")) if fault is Fault.SEND else ("receive", WorkerLost("injected"))
            for node in bridge.nodes.values():
                stack.enter_context(_replaced(node.worker, name, _fails_later(error)))
        yield
