"""Runs the code of one node, in this process or in a worker."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from penstock.executors.contract import Json, NodeContext, RuntimeData, Validation

__all__ = ["Host", "find"]


def find(node_type: str, types: Mapping[str, str]) -> Any:
    """The class behind the name of a node type.

    Raises:
        Validation: there is none.
    """
    module, _, name = types.get(node_type, "").partition(":")
    if not name:
        raise Validation(f"Unknown node type: {node_type}")
    return getattr(importlib.import_module(module), name)


class Host:
    """A node and its parameters."""

    def __init__(self, factory: Any, ctx: NodeContext) -> None:
        self._node = factory()
        self._ctx = ctx
        self._params = dict(ctx.params)

    def initialize(self) -> None:
        if hasattr(self._node, "initialize"):
            self._node.initialize(self._ctx)

    def process(self, data: RuntimeData, params: Mapping[str, Json]) -> Any:
        """What `process` returns, which may be awaitable; the node sees `{**initialize_params, **call_params}`."""
        self._ctx.params = {**self._params, **params}
        return self._node.process(replace(data))

    def cleanup(self) -> None:
        if hasattr(self._node, "cleanup"):
            self._node.cleanup()
