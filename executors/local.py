"""A node that runs in this process, driven by trio: sync, async, generators, or in a thread of its own."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, TypeAlias

import trio

from penstock.executors.contract import Json, NodeContext, RuntimeData
from penstock.executors.host import NodeHost, outputs
from penstock.executors.registry import NodeFactory
from penstock.executors.translate import node_error

__all__ = ["Emit", "LocalNode"]

Emit: TypeAlias = Callable[[str, RuntimeData], Awaitable[None]]
"""Where outputs go: `await emit(port, data)`, which waits while whoever reads them is behind."""


_METHODS = ("initialize", "process", "ended", "flush", "produce", "configure", "interrupt", "cleanup")
_CLOSING_S = 5.0
"""How long a generator of a node may take to close."""


class _GivenUp(Exception):
    """Raised in a thread that emits for a call that nobody listens to any more."""


class _Gate:
    """Where a thread emits: shut once its call was given up, so that nothing is sent behind the end of a run."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._scope: trio.CancelScope | None = None
        self._is_shut = False

    async def emit(self, port: str, data: RuntimeData) -> None:
        if not self._is_shut:
            with trio.CancelScope() as self._scope:
                await self._emit(port, data)
                return
        raise _GivenUp

    def shut(self) -> None:
        self._is_shut = True
        if self._scope is not None:
            self._scope.cancel()


class LocalNode:
    """Drives one node. One call at a time; what the node raises comes out as `NodeExecution`."""

    def __init__(self, factory: NodeFactory, ctx: NodeContext, *, thread: bool = False) -> None:
        """Build the node.

        Args:
            factory: its class or function.
            ctx: what it is told about itself.
            thread: run its synchronous code in a worker thread, so that it does not hold up the other tasks. What is
                async runs in the loop all the same.

        Raises:
            NodeExecution: its constructor failed.
        """
        self.node_id: str = ctx.node_id
        self._gate: _Gate | None = None
        self._emitted: list[tuple[str, RuntimeData]] = []
        ctx.emit = self._note_emitted
        try:
            self.host: NodeHost = NodeHost(factory, ctx)
        except Exception as error:
            raise node_error(ctx.node_id, error) from error
        self._main_port = self.host.outputs[0] if self.host.outputs else ""
        self._threaded: dict[str, bool] = {name: thread and not self.host.is_async(name) for name in _METHODS}

    @property
    def in_thread(self) -> bool:
        """Whether its calls run in a thread."""
        return self._threaded["process"]

    async def initialize(self) -> None:
        await self._plain("initialize", self.host.initialize)

    async def process(
        self, data: RuntimeData, emit: Emit, port: str = "in", params: Mapping[str, Json] | None = None
    ) -> None:
        """Give the node one datum and emit all that it makes of it."""
        await self._stream("process", lambda: self.host.process(data, port, params), emit)

    async def ended(self, port: str, emit: Emit) -> None:
        """Tell a node that wants to know it that an input has ended."""
        ended = self.host.ended
        if ended is not None:
            await self._stream("ended", lambda: ended(port), emit)

    async def flush(self, emit: Emit) -> None:
        await self._stream("flush", self.host.flush, emit)

    async def produce(self, emit: Emit) -> None:
        """Run a source until it has given everything."""
        await self._stream("produce", self.host.produce, emit)

    async def cleanup(self) -> None:
        await self._plain("cleanup", self.host.cleanup)

    async def configure(self, params: Mapping[str, Json]) -> None:
        """Give the node other parameters; not while it is in a call."""
        await self._plain("configure", lambda: self.host.configure(params))
        self.host.note(params)

    async def interrupt(self) -> None:
        """Tell the node, if it wants to know, that what it has had is stale; not while it is in a call."""
        await self._plain("interrupt", self.host.interrupt)

    def give_up(self) -> None:
        """Take nothing more from the call that runs in a thread; it goes on until it comes to its end."""
        if self._gate is not None:
            self._gate.shut()

    def _note_emitted(self, port: str, data: RuntimeData) -> None:
        if port not in self.host.outputs:
            raise ValueError(f"there is no output port {port!r}; there is {', '.join(self.host.outputs) or 'none'}")
        self._emitted.append((port, data))

    async def _plain(self, name: str, call: Callable[[], Any]) -> None:
        try:
            if self._threaded[name]:
                (result,) = await trio.to_thread.run_sync(lambda: (call(),), abandon_on_cancel=True)
            else:
                result = call()
            if inspect.isawaitable(result):
                await result
        except (Exception, SystemExit) as error:
            raise node_error(self.node_id, error) from error

    async def _stream(self, name: str, call: Callable[[], Any], emit: Emit) -> None:
        try:
            if self._threaded[name]:
                await self._stream_in_thread(call, emit)
            else:
                await self._stream_here(call, emit)
        except BaseException:
            self._emitted.clear()  # a call that failed leaves nothing behind for the next
            raise

    async def _stream_here(self, call: Callable[[], Any], emit: Emit) -> None:
        try:
            result = call()
        except (Exception, SystemExit) as error:
            raise node_error(self.node_id, error) from error
        if result is None or isinstance(result, RuntimeData):  # by far the usual case, and it needs no generator
            await self._emit_noted(emit)
            if result is not None:
                await emit(self._main_port, result)
            return
        await self._emit_results(self._results(result), emit)

    async def _stream_in_thread(self, call: Callable[[], Any], emit: Emit) -> None:
        """A thread that is stuck can not be stopped: a cancelled run leaves it behind, and takes no more from it."""
        self._gate = gate = _Gate(emit)
        try:
            rest = await trio.to_thread.run_sync(self._in_thread, call, gate.emit, abandon_on_cancel=True)
        except _GivenUp:
            self._emitted.clear()
            return
        finally:
            gate.shut()
        for result in rest:
            await self._emit_results(self._results(result), emit)

    async def _emit_results(self, results: AsyncGenerator[RuntimeData, None], emit: Emit) -> None:
        try:
            async for data in results:
                if self._emitted:
                    await self._emit_noted(emit)
                await emit(self._main_port, data)
            if self._emitted:
                await self._emit_noted(emit)
        finally:
            with trio.move_on_after(_CLOSING_S, shield=True):  # the node's own `finally` blocks
                await results.aclose()

    async def _results(self, result: Any) -> AsyncGenerator[RuntimeData, None]:
        """Everything a call gives, whatever kind of function it was."""
        try:
            if inspect.isawaitable(result):
                result = await result
            if inspect.isasyncgen(result):
                async with aclosing(result) as items:
                    async for data in items:
                        for checked in outputs(data):
                            yield checked
            else:
                for checked in outputs(result):
                    yield checked
        except (Exception, SystemExit) as error:  # sys.exit in a node is the node's failure, not the program's end
            raise node_error(self.node_id, error) from error

    def _in_thread(self, call: Callable[[], Any], emit: Emit) -> tuple[Any, ...]:
        """Run a call and emit what it gives; what is to be awaited comes back, as that belongs into the loop.

        In a tuple, as trio takes a coroutine for a mistake.
        """
        try:
            result = call()
        except (Exception, SystemExit) as error:
            raise node_error(self.node_id, error) from error
        if inspect.isawaitable(result) or inspect.isasyncgen(result):
            return (result,)
        for data in self._outputs_in_thread(result):
            trio.from_thread.run(self._emit_noted, emit)
            trio.from_thread.run(emit, self._main_port, data)
        if self._emitted:
            trio.from_thread.run(self._emit_noted, emit)
        return ()

    def _outputs_in_thread(self, result: Any) -> Iterator[RuntimeData]:
        try:
            yield from outputs(result)
        except (Exception, SystemExit) as error:
            raise node_error(self.node_id, error) from error

    async def _emit_noted(self, emit: Emit) -> None:
        noted, self._emitted = self._emitted, []
        for port, data in noted:
            await emit(port, data)
