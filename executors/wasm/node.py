"""A node that runs in a sandbox: what a bridge or a worker drives."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import TypeVar

import wasmtime

from penstock.executors.contract import Json, NodeContext, NodeExecution, RuntimeData, Validation
from penstock.executors.wasm.abi import EINVAL, check_module
from penstock.executors.wasm.cache import load_module
from penstock.executors.wasm.description import Description
from penstock.executors.wasm.failure import GuestFailure
from penstock.executors.wasm.guest import Guest
from penstock.executors.wasm.limits import WasmLimits

__all__ = ["Description", "WasmLimits", "WasmNode", "describe"]

T = TypeVar("T")

_DEFAULTS = WasmLimits()
_LOST = "; the instance is dropped and its state lost: the next call starts a fresh one"


def describe(path: str | os.PathLike[str], limits: WasmLimits = _DEFAULTS) -> Description:
    """The ports and parameters of a guest, for a check before anything starts.

    Raises:
        Validation: the file is no node of this ABI; with its name and every reason.
    """
    return _describe(path, _load(path, limits), limits)


def _load(path: str | os.PathLike[str], limits: WasmLimits) -> wasmtime.Module:
    module = load_module(path, limits)
    check_module(module, path, limits)
    return module


def _describe(path: str | os.PathLike[str], module: wasmtime.Module, limits: WasmLimits) -> Description:
    """In an instance of its own: a guest that fails here is refused before it is a node."""
    try:
        guest = Guest(module, limits, logging.getLogger("penstock.node"))
        try:
            return guest.describe()
        finally:
            guest.close()
    except GuestFailure as failure:
        raise Validation(f"{os.fspath(path)}: {failure}") from None


class WasmNode:
    """A node whose code is a WebAssembly module. All its methods are synchronous.

    Calls are made one at a time; from several threads they wait for each other. After a trap the guest's instance is
    dropped, and made again by the next call: what the guest held is lost, and the error says so.

    Args:
        path: of the .wasm file.
        params: for the guest's `ps_open`.
        limits: memory, time and stack; always applied.
        node_id: for errors and for the logger `penstock.node.<node_id>`; else `initialize` gives it.
    """

    inputs: Mapping[str, str] = {"in": "any"}
    outputs: Mapping[str, str] = {"out": "any"}

    def __init__(
        self,
        path: str | os.PathLike[str],
        params: Mapping[str, Json] | None = None,
        limits: WasmLimits = _DEFAULTS,
        *,
        node_id: str = "",
    ) -> None:
        self._guest: Guest | None = None
        self._module: wasmtime.Module | None = None
        self._lock = threading.Lock()
        self._closed = False
        self.path: str = os.fspath(path)
        self.params: dict[str, Json] = dict(params or {})
        self.limits = limits
        self.node_id: str = node_id

    def initialize(self, ctx: NodeContext) -> None:
        """Load the module, check it and the parameters, and open the node.

        Raises:
            Validation: the file is no node of this ABI, or the parameters are wrong.
            NodeExecution: the guest failed to start.
        """
        self.node_id = self.node_id or ctx.node_id
        with self._lock:
            self._drop()
            self._closed = False
            self._prepare()
            try:
                self._start()
            except GuestFailure as failure:
                if failure.errno == EINVAL:
                    raise Validation(f"node {self.node_id!r} ({self.path}): {failure}") from None
                raise self._execution(failure) from None

    def process(self, data: RuntimeData) -> list[RuntimeData]:
        """Give the guest a datum: 0..n outputs.

        Raises:
            NodeExecution: the guest failed, ran out of its limits, or the frame can not say this datum.
        """
        return self._serve(Guest.process, data)

    def flush(self) -> list[RuntimeData]:
        """The inputs have ended: what the guest still held back.

        Raises:
            NodeExecution: as `process`.
        """
        return self._serve(Guest.flush)

    def cleanup(self) -> None:
        """Close the guest and give its memory back; idempotent. Waits for a call that runs in another thread."""
        with self._lock:
            self._closed = True
            self._drop(broken=False)

    def _serve(self, work: Callable[..., T], *arguments: RuntimeData) -> T:
        with self._lock:
            try:
                return work(self._guest or self._start(), *arguments)
            except GuestFailure as failure:
                raise self._execution(failure) from None
            except BaseException:
                self._drop()  # interrupted inside the guest: nobody knows how far it came
                raise

    def _prepare(self) -> Description:
        """Everything that can be wrong before the node runs."""
        self._module = _load(self.path, self.limits)
        description = _describe(self.path, self._module, self.limits)
        wrong = description.wrong_params(self.params)
        if wrong:
            raise Validation(f"node {self.node_id!r} ({self.path}): {'; '.join(wrong)}")
        self.inputs, self.outputs = description.inputs, description.outputs
        return description

    def _start(self) -> Guest:
        """A fresh instance, opened."""
        if self._closed:
            raise GuestFailure("was cleaned up: initialize it again", broken=False)
        if self._module is None:
            self._prepare()
        assert self._module is not None
        guest = Guest(self._module, self.limits, logging.getLogger(f"penstock.node.{self.node_id}"))
        try:
            guest.describe()
            guest.open(self.params)
        except BaseException:
            guest.close(broken=True)
            raise
        self._guest = guest
        return guest

    def _execution(self, failure: GuestFailure) -> NodeExecution:
        if not failure.broken:
            return NodeExecution(self.node_id, str(failure))
        self._drop()
        return NodeExecution(self.node_id, f"{failure}{_LOST}")

    def _drop(self, *, broken: bool = True) -> None:
        guest, self._guest = self._guest, None
        if guest is not None:
            try:
                guest.close(broken=broken)
            except GuestFailure as failure:
                logging.getLogger(f"penstock.node.{self.node_id}").warning("%s", failure)

    def __del__(self) -> None:
        if getattr(self, "_guest", None) is not None:
            warnings.warn(f"{self.path}: a WasmNode was not cleaned up: call cleanup()", ResourceWarning, stacklevel=2)
