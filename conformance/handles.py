"""What checks hold instead of the objects under test: every call in its runtime, within a bound, and looked at."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import trio

from penstock.conformance.expect import Failure, ForeignError, Hang, described
from penstock.executors.contract import BridgeClosed, EndOfStream, ExecutorType, Json, RuntimeData, ServiceError

if TYPE_CHECKING:
    from penstock.conformance.adapter import Adapter
    from penstock.conformance.portal import Portal

__all__ = ["BridgeHandle", "ConverterHandle", "DataBridgeHandle", "Handle", "Surroundings"]


class Surroundings:
    """What all handles of a check share: the bound of each call, and the list of what happened."""

    def __init__(self, liveness_s: float, cleanup_s: float) -> None:
        self.liveness_s = liveness_s
        self.cleanup_s = cleanup_s
        self.events: list[str] = []
        self._start = trio.current_time()

    def note(self, what: str) -> None:
        """Add to the witness; the first and the last are kept."""
        self.events.append(f"{trio.current_time() - self._start:9.4f}s  {what}")
        if len(self.events) > 400:
            del self.events[200:210]


class Handle:
    """One object under test."""

    def __init__(self, raw: Any, adapter: Adapter, portal: Portal, around: Surroundings, name: str) -> None:
        self.raw = raw
        self.adapter = adapter
        self.portal = portal
        self.around = around
        self.name = name

    async def aclose(self) -> None:
        """Close it through the adapter."""
        await self.call("aclose", self.adapter.aclose, self.raw, bound_s=2 * self.around.cleanup_s)

    async def call(self, name: str, method: Callable[..., Any], *args: Any, bound_s: float | None = None) -> Any:
        """Call a method; errors of the contract pass, everything else is a failure."""
        bound_s = self.around.liveness_s if bound_s is None else bound_s
        words = f"{self.name}.{name}({', '.join(_word(argument) for argument in args if argument is not self.raw)})"
        self.around.note(f"{words} ...")
        with trio.move_on_after(bound_s):
            try:
                result = await self.portal.call(method, *args)
            except BaseException as error:
                judged = self._judged(error, words)
                if judged is error:
                    raise
                raise judged from error
            self.around.note(f"{words} -> {described(result)}")
            return result
        self.around.note(f"{words} did not return")
        raise Hang(f"{self.name}.{name} returns or raises within {bound_s:g} s", "it did neither")

    def _judged(self, error: BaseException, words: str) -> BaseException:
        """The error as the check gets it."""
        if isinstance(error, trio.Cancelled | Failure) or _only_cancelled(error):
            return error
        self.around.note(f"{words} raised {type(error).__name__}: {error}")
        mapped = self.adapter.classify(error)
        if isinstance(mapped, ServiceError | EndOfStream | StopAsyncIteration | StopIteration):
            mapped.add_note(f"from {words}")
            return EndOfStream() if isinstance(mapped, StopIteration | StopAsyncIteration) else mapped
        return ForeignError(words, error)

    def method(self, name: str) -> Callable[..., Any]:
        """A method of the object, by name."""
        method = getattr(self.raw, name, None)
        if not callable(method):
            raise Failure(f"{self.name} has a method {name}", f"{type(self.raw).__name__}.{name} is {method!r}")
        return method  # type: ignore[no-any-return]

    async def get_stats(self) -> Stats:
        """A snapshot of the counters."""
        return Stats(await self.call("get_stats", self.method("get_stats")))


class Stats:
    """A snapshot, whose fields are looked up one by one."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def number(self, name: str) -> int:
        value = getattr(self.raw, name, None)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Failure(f"get_stats().{name} is a whole number", described(value))
        return value

    @property
    def executions(self) -> int:
        return self.number("total_executions")

    @property
    def transfers(self) -> int:
        return self.number("total_transfers")

    @property
    def bytes(self) -> int:
        return self.number("total_bytes")

    @property
    def average_us(self) -> int:
        return self.number("avg_conversion_latency_us")

    def all(self) -> dict[str, int]:
        return {
            "total_executions": self.executions,
            "total_transfers": self.transfers,
            "total_bytes": self.bytes,
            "avg_conversion_latency_us": self.average_us,
        }


class BridgeHandle(Handle):
    """An executor bridge."""

    @property
    def executor_type(self) -> ExecutorType:
        try:
            value = self.raw.executor_type
        except Exception as error:
            raise ForeignError("executor_type", error) from error
        if not isinstance(value, ExecutorType):
            raise Failure("executor_type is an ExecutorType (a property)", described(value))
        return value

    async def initialize(self, node_id: str, node_type: str, params: Mapping[str, Json] | None = None) -> None:
        await self.call("initialize_node", self.method("initialize_node"), node_id, node_type, dict(params or {}))

    async def execute(
        self, node_id: str, node_type: str, data: RuntimeData, params: Mapping[str, Json] | None = None
    ) -> RuntimeData:
        method = self.method("execute_node")
        answer = await self.call("execute_node", method, node_id, node_type, data, dict(params or {}))
        return _datum(answer, "execute_node")

    async def cleanup(self, node_id: str, bound_s: float | None = None) -> None:
        await self.call("cleanup_node", self.method("cleanup_node"), node_id, bound_s=bound_s)


class ConverterHandle(Handle):
    """A converter."""

    async def to_ipc(self, data: RuntimeData) -> Any:
        return await self.call("to_ipc", self.method("to_ipc"), data)

    async def from_ipc(self, message: Any) -> RuntimeData:
        return _datum(await self.call("from_ipc", self.method("from_ipc"), message), "from_ipc")

    async def round_trip(self, data: RuntimeData) -> RuntimeData:
        return await self.from_ipc(await self.to_ipc(data))


class DataBridgeHandle(Handle):
    """A DataBridge."""

    async def transfer(self, data: RuntimeData) -> RuntimeData:
        return _datum(await self.call("transfer", self.method("transfer"), data), "transfer")

    async def put(self, data: RuntimeData) -> RuntimeData:
        """`transfer_with_backpressure`."""
        method = self.method("transfer_with_backpressure")
        answer = await self.call("transfer_with_backpressure", method, data)
        return _datum(answer, "transfer_with_backpressure")

    async def take(self) -> RuntimeData:
        """The next datum, through the adapter.

        Raises:
            BridgeClosed: the end, however it was said.
        """
        try:
            answer = await self.call("take", self.adapter.take, self.raw)
        except EndOfStream:
            raise BridgeClosed from None
        return _datum(answer, "receive")

    async def take_all(self) -> list[RuntimeData]:
        """Everything up to the end of a closed bridge."""
        taken: list[RuntimeData] = []
        while True:
            try:
                taken.append(await self.take())
            except BridgeClosed:
                return taken

    async def iterate(self) -> AsyncIterator[RuntimeData]:
        """`async for`, or `for` where the runtime is sync; each step in its runtime."""
        asynchronous = hasattr(self.raw, "__aiter__")
        iterator = self.raw.__aiter__() if asynchronous else iter(self.raw)
        step = iterator.__anext__ if asynchronous else iterator.__next__
        while True:
            try:
                yield _datum(await self.call("iteration", _caught(step)), "iteration")
            except EndOfStream:
                return
            except BridgeClosed as error:
                raise Failure("iteration ends when the bridge is closed and drained", described(error)) from None

    async def close(self) -> None:
        await self.call("close", self.method("close"), bound_s=self.around.cleanup_s)


def _caught(step: Callable[[], Any]) -> Callable[[], Any]:
    """StopIteration can not cross a thread or a coroutine: say the end in another way."""

    async def call() -> Any:
        try:
            result = step()
            return await result if inspect.isawaitable(result) else result
        except (StopAsyncIteration, StopIteration):
            raise EndOfStream from None

    return call


def _datum(answer: object, call: str) -> RuntimeData:
    if not isinstance(answer, RuntimeData):
        raise Failure(f"{call} returns RuntimeData", described(answer))
    return answer


def _only_cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_only_cancelled(part) for part in error.exceptions)
    return isinstance(error, trio.Cancelled)


def _word(argument: object) -> str:
    text = str(argument) if isinstance(argument, RuntimeData) else repr(argument)
    return text if len(text) < 80 else f"{text[:70]}..."
