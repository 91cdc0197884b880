"""A node of this process as a stream."""

from __future__ import annotations

from collections.abc import Callable

import trio

from penstock.executors.arguments import check_call
from penstock.executors.background import Background
from penstock.executors.contract import BridgeClosed, EndOfStream, RuntimeData, ServiceError, Validation
from penstock.executors.lifetime import StreamLoop
from penstock.executors.local import LocalNode

__all__ = ["InProcessStream"]

_CAPACITY = 64


class InProcessStream(StreamLoop):
    """A task runs the node, between two bounded channels (see `NodeStream`)."""

    def __init__(self, node: LocalNode, forget: Callable[[InProcessStream], None]) -> None:
        self._node = node
        self._forget = forget
        self._failure: ServiceError | None = None
        self._in, self._inputs = trio.open_memory_channel[tuple[RuntimeData, str]](_CAPACITY)
        self._outputs, self._out = trio.open_memory_channel[tuple[str, RuntimeData]](_CAPACITY)
        self._closed = False
        self._task = Background(self._run, f"penstock stream {node.node_id}")

    async def send(self, data: RuntimeData, port: str = "in") -> None:
        """Give the node one datum (see `NodeStream`)."""
        check_call(self._node.node_id, data, {})
        ports = self._node.host.inputs
        if port not in ports:
            raise Validation(f"there is no input port {port!r}; there is {', '.join(ports) or 'none'}")
        try:
            await self._in.send((data, port))
        except trio.BrokenResourceError:
            raise (self._failure or BridgeClosed()) from None
        except trio.ClosedResourceError:
            raise BridgeClosed from None

    async def send_eof(self) -> None:
        """No more inputs. Idempotent."""
        await self._in.aclose()

    async def receive(self) -> tuple[str, RuntimeData]:
        """The next output (see `NodeStream`)."""
        try:
            return await self._out.receive()
        except trio.EndOfChannel:
            if self._failure is not None:
                raise self._failure from None
            raise EndOfStream from None
        except trio.ClosedResourceError:
            raise BridgeClosed from None

    async def aclose(self) -> None:
        """Stop the node and clean it up. Idempotent."""
        if self._closed:
            return
        self._closed = True
        await self._task.aclose()
        self._in.close()
        self._out.close()
        self._forget(self)

    async def _run(self) -> None:
        async def emit(port: str, data: RuntimeData) -> None:
            await self._outputs.send((port, data))

        with self._inputs, self._outputs:
            try:
                try:
                    async for data, port in self._inputs:
                        await self._node.process(data, emit, port)
                    await self._node.flush(emit)
                finally:
                    with trio.CancelScope(shield=True):
                        await self._node.cleanup()
            except ServiceError as error:
                self._failure = error
            except trio.BrokenResourceError:
                pass  # nobody reads any more: the stream was closed
