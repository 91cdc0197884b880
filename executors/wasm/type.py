"""A .wasm file as a node type."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from penstock.executors.contract import Json
from penstock.executors.wasm.limits import WasmLimits
from penstock.executors.wasm.node import Description, WasmNode, describe

__all__ = ["WasmType"]


class WasmType:
    """A .wasm file as a node type: called with parameters, it gives a node."""

    def __init__(self, path: str, limits: WasmLimits | None = None) -> None:
        self.path = path
        self.limits: WasmLimits = limits or WasmLimits()

    @cached_property
    def description(self) -> Description:
        """What the guest says of itself.

        Raises:
            Validation: the file is no node of this ABI; with its name and every reason.
        """
        return describe(self.path, self.limits)

    @property
    def inputs(self) -> Mapping[str, str]:
        return self.description.inputs

    @property
    def outputs(self) -> Mapping[str, str]:
        return self.description.outputs

    def __call__(self, **params: Json) -> WasmNode:
        return WasmNode(self.path, params, self.limits)
