"""What a node is, and what it is told about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy.typing as npt

from penstock.executors.contract.data import Json, RuntimeData
from penstock.executors.contract.loan import claim_here

__all__ = ["Node", "NodeContext"]


def _no_emit(port: str, data: RuntimeData) -> None:
    del data
    raise RuntimeError(f"ctx.emit({port!r}, ...) works only while the node runs in process() or flush()")


@dataclass(slots=True)
class NodeContext:
    """What a node knows about where it runs; given to `initialize` (executor-bridge-api.md L163-169).

    Attributes:
        node_id: the node's name in its graph or bridge.
        node_type: the name under which its class was found.
        params: its parameters; during a call `{**initialize_params, **call_params}`.
        session_id: the session (run) that it belongs to.
        metadata: free for the caller; empty by default.
        emit: `emit(port, data)` sends a datum to an output port, any number of times within a call.
        claim: `claim(shape, dtype=float32)` gives a writable array, not cleared, to make an output in. Where outputs go
            through shared memory it lies there already, and `RuntimeData.tensor(array)` sends it without a copy. That
            freezes it; slices and memoryviews that were made of it before must be gone by then.
    """

    node_id: str
    node_type: str
    params: Mapping[str, Json] = field(default_factory=dict)
    session_id: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)
    emit: Callable[[str, RuntimeData], None] = _no_emit
    claim: Callable[..., npt.NDArray[Any]] = claim_here


class Node:
    """A node: the base class is a convenience, any class with a `process` is one, and so is a plain function.

    Parameters are the keyword arguments of `__init__` (of the function: all but the first), checked against
    their annotations before a pipeline starts. `process` may return a datum, None or a list, be a generator,
    or be `async`; with several input ports it takes `process(self, data, port)`.

    A *source* has no input and a `produce()` that yields its data. A *sink* returns nothing.
    """

    inputs: ClassVar[Mapping[str, str]] = {"in": "any"}
    """Input ports, name to type: `audio`, `text`, `tensor`, `json`, several as `audio|tensor`, or `any`."""
    outputs: ClassVar[Mapping[str, str]] = {"out": "any"}
    """Output ports, likewise. What `process` returns goes to the first; `ctx.emit` reaches each."""

    stateless: ClassVar[bool] = False
    """Whether the outputs depend on nothing but the datum in hand (of a source: whether it gives the same stream each
    time). Then a worker that crashes is replaced, and nobody notices. So is one with `snapshot()`, which returns the
    node's state between two data (numbers, texts, bytes, arrays, `RuntimeData`, lists and dicts), and `restore(state)`.
    """

    def initialize(self, ctx: NodeContext) -> Any:
        """Get ready: load the model, open the file. May be `async`."""

    def process(self, data: RuntimeData) -> Any:
        """Work on one datum."""
        raise NotImplementedError(f"{type(self).__name__} has no process()")

    def flush(self) -> Any:
        """The inputs have ended: return what is still held back, as `process` does. May be `async`."""

    def cleanup(self) -> Any:
        """Give back what `initialize` took; called once, also after an error. May be `async`."""
