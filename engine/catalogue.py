"""Node types by the names that graphs use, and the check of a node's parameters against its signature."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from penstock.engine.declarations import NodeDecl
from penstock.engine.foreign import ForeignType
from penstock.engine.nodes import BUILTIN
from penstock.engine.pipeline import Pipeline
from penstock.engine.problems import Problem, did_you_mean
from penstock.engine.values import Unfit, plain, settle
from penstock.executors.contract import Json, Validation
from penstock.executors.host import Signature, signature_of
from penstock.executors.multiprocess.launch import importable
from penstock.executors.multiprocess.surroundings import Surroundings
from penstock.executors.registry import NodeFactory, NodeRegistry, type_name

__all__ = ["Catalogue", "FoundType"]


@dataclass(slots=True)
class FoundType:
    """A node type that a graph names."""

    shown_name: str
    import_name: str
    factory: NodeFactory
    signature: Signature
    guest_params: Mapping[str, Any] | None = field(default=None)
    """The parameters that a wasm guest describes; None for Python."""


class Catalogue:
    """Finds node types: the built-in ones, those of installed packages, of modules, and .wasm files."""

    def __init__(self, folder: str) -> None:
        """Look up types for a graph.

        Args:
            folder: of the manifest: where paths start, and where modules are found that stand beside it, as Python
                finds those beside a script. Behind everything else on `sys.path`, so it shadows nothing.
        """
        self._folder = folder
        _find_modules_in(folder)
        self._registry = NodeRegistry(BUILTIN)

    def names(self) -> list[str]:
        """All short names."""
        return self._registry.names()

    def find(self, decl: NodeDecl) -> FoundType:
        """The type of a node.

        Raises:
            Validation: there is none of that name, or it can not be loaded.
        """
        _find_modules_in(decl.folder)
        if not isinstance(decl.node_type, str):
            assert not isinstance(decl.node_type, Pipeline)  # see flatten
            return FoundType(
                getattr(decl.node_type, "__name__", repr(decl.node_type)),
                _import_name(decl.node_type),
                decl.node_type,
                signature_of(decl.node_type),
            )
        if decl.node_type.endswith(".wasm"):
            return self._find_wasm(decl, decl.node_type)
        try:
            factory = self._registry.find(decl.node_type)
        except Validation as error:
            raise Validation(self._with_remedy(decl.node_type, error.message)) from error
        return FoundType(decl.node_type, BUILTIN.get(decl.node_type, decl.node_type), factory, signature_of(factory))

    def find_elsewhere(self, decl: NodeDecl, surroundings: Surroundings) -> FoundType:
        """The type of a node that another interpreter runs, which is asked for it.

        Raises:
            Validation: it has none of that name, or something is wrong with it.
        """
        name = decl.node_type if isinstance(decl.node_type, str) else type_name(decl.node_type)  # type: ignore[arg-type]
        if name.endswith(".wasm"):
            raise Validation("a .wasm file needs no interpreter: leave `python` out")
        import_name = importable(name)
        if import_name.startswith("__main__:"):
            raise Validation(f"{name} is defined in this program: put it into a module, for the other interpreter")
        factory = ForeignType(import_name, BUILTIN, surroundings, decl.init_timeout_s)
        signature = signature_of(factory)
        signature.is_function = factory.is_function
        return FoundType(name, BUILTIN.get(import_name, import_name), factory, signature)

    def _find_wasm(self, decl: NodeDecl, name: str) -> FoundType:
        from penstock.executors.wasm import WasmLimits, WasmType

        path = os.path.join(decl.folder or self._folder, name)
        try:
            limits = msgspec.convert(decl.limits, WasmLimits)
        except msgspec.ValidationError as error:
            raise Validation(f"limits: {error}; the limits are {', '.join(WasmLimits.__dataclass_fields__)}") from error
        factory = WasmType(path, limits)
        params = factory.description.params
        return FoundType(name, os.path.abspath(path), factory, signature_of(factory), params)

    def _with_remedy(self, name: str, message: str) -> str:
        if not message.startswith("Unknown node type") or ":" in name:
            return message
        return f"{message}; {did_you_mean(name, self.names())} (`penstock nodes` lists them; your own are module:Name)"

    def check_params(self, decl: NodeDecl, found: FoundType) -> tuple[dict[str, Json], list[Problem]]:
        """A node's parameters as its worker will get them, and what is wrong with them."""
        if found.guest_params is not None:
            return decl.params, list(self._check_guest_params(decl, found.guest_params))
        problems = list(self._check_names(decl, found))
        settled: dict[str, Json] = {}
        for name, value in decl.params.items():
            parameter = found.signature.parameters.get(name)
            try:
                folder = decl.folders.get(name, decl.folder or self._folder)
                folder = folder if decl.surroundings.cwd is None else os.path.abspath(folder)
                settled[name] = plain(value) if parameter is None else settle(value, parameter.annotation, folder)
            except Unfit as error:
                problems.append(self._problem(decl, name, f"parameter {name!r}: {error}"))
        return settled, problems

    def _check_names(self, decl: NodeDecl, found: FoundType) -> Iterator[Problem]:
        known = found.signature.parameters
        if not found.signature.takes_any:
            for name in decl.params:
                if name not in known:
                    remedy = did_you_mean(name, known)
                    yield self._problem(decl, name, f"{found.shown_name} has no parameter {name!r}: {remedy}")
        for name, parameter in known.items():
            if parameter.default is parameter.empty and name not in decl.params:
                yield Problem(decl.where, f"node {decl.node_id!r}: {found.shown_name} needs the parameter {name!r}")

    def _check_guest_params(self, decl: NodeDecl, known: Mapping[str, Any]) -> Iterator[Problem]:
        for name in decl.params:
            if name not in known:
                yield self._problem(
                    decl, name, f"{decl.node_type} has no parameter {name!r}: {did_you_mean(name, known)}"
                )

    @staticmethod
    def _problem(decl: NodeDecl, name: str, text: str) -> Problem:
        return Problem(decl.param_where.get(name, decl.where), f"node {decl.node_id!r}: {text}")


def _find_modules_in(folder: str) -> None:
    if folder and folder not in sys.path:
        sys.path.append(folder)


def _import_name(factory: NodeFactory) -> str:
    try:
        return type_name(factory)
    except Validation:
        return ""  # it can run in this process all the same; the check refuses it in a worker
