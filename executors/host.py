"""Runs a node's own code: builds it from its parameters, calls it, and makes one stream of whatever it returns."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from penstock.executors.contract import Json, NodeContext, NodeExecution, RuntimeData
from penstock.executors.parameters import typed
from penstock.executors.registry import NodeFactory

__all__ = [
    "NodeHost",
    "Signature",
    "configurable",
    "exactly_one",
    "outputs",
    "signature_of",
    "wants_nothing",
]


class Signature:
    """The parameters and ports of a node type, read from its class or function."""

    def __init__(self, factory: NodeFactory) -> None:
        self.is_function: bool = inspect.isroutine(factory) or isinstance(factory, functools.partial)
        parameters = _parameters(factory)  # a class's own leave out self; a function's first is the datum
        if self.is_function:
            parameters = parameters[1:]
        self.takes_any: bool = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        self.parameters: dict[str, inspect.Parameter] = {
            parameter.name: parameter
            for parameter in parameters
            if parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}
        }
        self.inputs: Mapping[str, str] = getattr(factory, "inputs", {"in": "any"})
        self.outputs: Mapping[str, str] = getattr(factory, "outputs", {"out": "any"})
        ports = getattr(factory, "ports", None)
        self.ports_of: Callable[..., tuple[Mapping[str, str], Mapping[str, str]]] | None = (
            ports if callable(ports) and not self.is_function else None
        )
        """`ports(**params)` of a class whose ports depend on its parameters: (inputs, outputs)."""
        self.is_source: bool = hasattr(factory, "produce")
        self.stateless: bool = bool(getattr(factory, "stateless", False))
        """Whether its author says that outputs depend on nothing but the datum in hand."""
        self.snapshots: bool = hasattr(factory, "snapshot") and hasattr(factory, "restore")
        self.works: bool = self.is_source or hasattr(factory, "process") or not inspect.isclass(factory)
        """Whether it has the one method that it needs, as far as can be known before it is called."""

    def ports(self, params: Mapping[str, Json]) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """(inputs, outputs) of a node with these parameters, name to type; may raise what the class does."""
        return (self.inputs, self.outputs) if self.ports_of is None else self.ports_of(**self.accepted(params))

    def accepted(self, params: Mapping[str, Json]) -> dict[str, Any]:
        """The parameters that the class or function names; the node finds the others in `ctx.params`."""
        return {
            name: typed(value, self.parameters[name].annotation) if name in self.parameters else value
            for name, value in params.items()
            if self.takes_any or name in self.parameters
        }


def _parameters(factory: NodeFactory) -> list[inspect.Parameter]:
    for evaluate in (True, False):  # an annotation may be for type checkers alone: its name is not to be had here
        try:
            return list(inspect.signature(factory, eval_str=evaluate).parameters.values())
        except (TypeError, ValueError):
            return []
        except Exception:  # noqa: S112  whatever evaluating an annotation may raise
            continue
    return []


def signature_of(factory: NodeFactory) -> Signature:
    """The parameters and ports of a node type."""
    return Signature(factory)


def configurable(factory: NodeFactory) -> Signature | None:
    """The parameters that can be changed while a node runs: those of a function, or of a class's `configure`.

    A `configure(self, **params)` takes what the constructor takes.
    """
    own = signature_of(factory)
    if own.is_function:
        return own
    method = getattr(factory, "configure", None)
    if method is None:
        return None
    signature = signature_of(method)
    if signature.takes_any:
        signature.parameters = {**own.parameters, **signature.parameters}
        signature.takes_any = own.takes_any
    return signature


class _FunctionNode:
    """A plain function as a node."""

    def __init__(self, function: Callable[..., Any], signature: Signature) -> None:
        self._function = function
        self._signature = signature
        self._ctx: NodeContext | None = None
        self._params: Mapping[str, Json] = {}
        self._arguments: Mapping[str, Any] = {}

    def initialize(self, ctx: NodeContext) -> None:
        self._ctx = ctx

    def process(self, data: RuntimeData) -> Any:
        params = self._ctx.params if self._ctx else self._params
        if params is not self._params:  # those of a call, for once, or those of the node again
            self._params, self._arguments = params, self._signature.accepted(params)
        return self._function(data, **self._arguments)


class NodeHost:
    """A node and its context. `begin` and the other calls only call the node; who drives it awaits or iterates."""

    def __init__(self, factory: NodeFactory, ctx: NodeContext, signature: Signature | None = None) -> None:
        """Build the node from `ctx.params`; may raise whatever its `__init__` does.

        Args:
            factory: its class or function.
            ctx: what it is told.
            signature: of the factory, where it is known already.
        """
        self.ctx = ctx
        signature = signature or signature_of(factory)
        self._params = ctx.params
        self._function = factory if signature.is_function else None
        self.node: Any = (
            _FunctionNode(factory, signature) if signature.is_function else factory(**signature.accepted(ctx.params))
        )
        inputs, outputs = signature.ports(ctx.params)
        if signature.ports_of is None:
            inputs, outputs = getattr(self.node, "inputs", inputs), getattr(self.node, "outputs", outputs)
        self.inputs: tuple[str, ...] = tuple(inputs)
        self.outputs: tuple[str, ...] = tuple(outputs)
        self.is_source: bool = hasattr(self.node, "produce")
        self._process: Callable[..., Any] = getattr(self.node, "process", self._no_process)
        self._wants_port = len(self.inputs) > 1
        self.wants: Callable[[str], bool] | None = getattr(self.node, "wants", None)
        """Of a node that takes from one input rather than another: whether it can use a datum of this port now."""
        self.ended: Callable[[str], Any] | None = getattr(self.node, "ended", None)
        """Of a node that has to know when one of several inputs has ended; gives data as `process` does."""

    def _no_process(self, data: RuntimeData, port: str = "") -> Any:
        del data, port
        raise TypeError(f"node {self.ctx.node_id!r} has no process()")

    def initialize(self) -> Any:
        method = getattr(self.node, "initialize", None)
        return None if method is None else method(self.ctx)

    def process(self, data: RuntimeData, port: str, params: Mapping[str, Json] | None = None) -> Any:
        """What `process` returns: still to be awaited or iterated. Call parameters stand over the node's own."""
        process = self._process
        if params:
            self.ctx.params = {**self._params, **params}
        elif self.ctx.params is not self._params:
            self.ctx.params = self._params
        return process(data, port) if self._wants_port else process(data)

    def produce(self) -> Any:
        return self.node.produce()

    def flush(self) -> Any:
        method = getattr(self.node, "flush", None)
        return None if method is None else method()

    def configure(self, params: Mapping[str, Json]) -> Any:
        """Other parameters for the node; a function has them with its next datum."""
        if isinstance(self.node, _FunctionNode):
            return None
        signature = configurable(type(self.node))
        return self.node.configure(**(params if signature is None else signature.accepted(params)))

    def note(self, params: Mapping[str, Json]) -> None:
        """Its parameters are changed from now on."""
        self._params = self.ctx.params = {**self._params, **params}

    def interrupt(self) -> Any:
        """What the node holds back is stale."""
        method = getattr(self.node, "interrupt", None)
        return None if method is None else method()

    def snapshot(self) -> Any:
        return self.node.snapshot()

    def restore(self, state: Any) -> Any:
        return self.node.restore(state)

    def cleanup(self) -> Any:
        method = getattr(self.node, "cleanup", None)
        return None if method is None else method()

    def is_async(self, name: str) -> bool:
        """Whether a method of the node gives a coroutine or an async generator, as far as its definition says."""
        method = self._function if name == "process" and self._function is not None else getattr(self.node, name, None)
        return inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)


def outputs(result: Any) -> Iterable[RuntimeData]:
    """The data that a synchronous call gave: one, none, a list, or a generator that is still to run.

    Raises:
        TypeError: it gave something else.
    """
    if result is None:
        return ()
    if isinstance(result, RuntimeData):
        return (result,)
    if isinstance(result, list | tuple | Iterator):
        return _checked(result)
    raise _wrong(result)


def _wrong(result: Any) -> TypeError:
    return TypeError(
        f"a node gives RuntimeData, None, a list of them, or yields them, not {type(result).__name__}: "
        "wrap it with RuntimeData.audio, .text, .tensor or .json"
    )


def _checked(items: Iterable[Any]) -> Iterator[RuntimeData]:
    for item in items:
        if item is None:
            continue
        if not isinstance(item, RuntimeData):
            raise _wrong(item)
        yield item


def exactly_one(node_id: str, answers: list[RuntimeData]) -> RuntimeData:
    """The one answer of an `execute_node`.

    Raises:
        NodeExecution: there is none, or there are several.
    """
    if len(answers) != 1:
        raise NodeExecution(
            node_id, f"answered one datum with {len(answers)}: use open_node, which gives a stream of any number"
        )
    return answers[0]


def wants_nothing(node_id: str, ports: Iterable[str]) -> NodeExecution:
    """The error of a node whose `wants` would have it wait for ever."""
    return NodeExecution(node_id, f"wants none of the inputs that are left: {', '.join(sorted(set(ports)))}")
