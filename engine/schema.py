"""What a manifest may say, as tables: the reader has its keys from them, and so has the JSON schema for editors.

A schema refuses nothing that the reader takes. What takes more than a look at one place (names of nodes, types of
ports) is left to the check.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from penstock.engine.declarations import POLICIES
from penstock.engine.faults import ON_ERROR
from penstock.engine.nodes import BUILTIN
from penstock.executors.contract import ExecutorType
from penstock.executors.host import signature_of
from penstock.executors.multiprocess.delivery import DeliveryMode
from penstock.executors.registry import NodeRegistry
from penstock.shm.patience import WAIT_MODES

__all__ = ["EDGE", "INPUT", "MANIFEST", "NODE", "OUTPUT", "PARAMETER", "manifest_schema"]

Schema: TypeAlias = dict[str, Any]

_NAME: Final = "^[A-Za-z_][A-Za-z0-9_-]*$"
_USES_PARAMETER: Final = r"\$\{"


def _of(*kinds: str, says: str, **more: Any) -> Schema:
    """A value that may be left out, or be null."""
    return {"type": [*kinds, "null"], "description": says, **more}


def _one_of(values: Any, says: str) -> Schema:
    return {"enum": [*values, None], "description": says}


def _unlimited(says: str, least: int = 0) -> Schema:
    return {"anyOf": [{"type": "integer", "minimum": least}, {"enum": ["unlimited", None]}], "description": says}


_EXECUTOR = _one_of(
    [executor.value.lower() for executor in ExecutorType], "Where it runs; left out, the rules of `executors` decide."
)
_RESTART: dict[str, Schema] = {
    "max": _unlimited("Restarts within the window: 5."),
    "window": {"type": "number", "minimum": 0, "description": "Seconds: 60."},
    "backoff": {"type": "number", "minimum": 0, "description": "Seconds, once a restart brought nothing: 0.1."},
    "max_backoff": {"type": "number", "minimum": 0, "description": "The longest backoff, in seconds: 10."},
}

NODE: Final[dict[str, Schema]] = {
    "type": {
        "type": "string",
        "description": "A short name, package.module:Name, the path of a .wasm file, or of another manifest.",
    },
    "params": _of("object", says="Its parameters."),
    "executor": _EXECUTOR,
    "thread": _of("boolean", says="Run a native node's synchronous code in a thread."),
    "init_timeout": _of("number", says="Seconds that a worker may take to initialize: 60.", exclusiveMinimum=0),
    "limits": _of("object", says="Of a node on the wasm executor."),
    "delivery": _one_of([mode.value for mode in DeliveryMode], "What a crash of its worker means."),
    "restart": _of("object", says="How often, and how soon.", properties=_RESTART, additionalProperties=False),
    "max_redeliveries": _unlimited("How often one datum may be in its hands when its worker dies: 3."),
    "snapshot_every": _of("integer", says="Inputs between two snapshots at most.", minimum=1),
    "on_error": _one_of(ON_ERROR, "What becomes of a datum that the node fails on: fail."),
    "timeout": _of("number", says="Seconds that one call of an async or threaded node may take.", exclusiveMinimum=0),
    "replicas": _of("integer", says="Workers that share the data of a stateless node: 1.", minimum=1),
    "python": _of("string", says="The interpreter of its worker, which needs numpy alone: a path, or a name on PATH."),
    "env": _of(
        "object",
        says="Variables for its worker; with `inherit: false` it gets no others.",
        properties={"inherit": {"type": "boolean"}},
        additionalProperties={"type": ["string", "number"]},
    ),
    "cwd": _of("string", says="Where its worker works."),
}
"""Keys of a node."""

_BOUNDS: dict[str, Schema] = {
    "capacity": _of("integer", says="Data that were sent and are not done with: 64.", minimum=1),
    "max_bytes": _of("integer", says="Likewise, bytes: 16 MiB.", minimum=1),
    "max_age": _of("number", says="What waited for longer, in seconds, is dropped.", exclusiveMinimum=0),
    "timeout": _of("number", says="Seconds that a writer may wait for room.", exclusiveMinimum=0),
    "policy": _one_of(POLICIES, "What happens when there is no room: block."),
}
_END = {"type": "string", "description": "`node` or `node.port`."}
EDGE: Final[dict[str, Schema]] = {
    "from": _END,
    "to": _END,
    **_BOUNDS,
    "feedback": _of("boolean", says="It leads back, and closes a cycle."),
}
"""Keys of an edge."""
_ENDS = {"anyOf": [_END, {"type": "array", "items": _END, "minItems": 1}]}
INPUT: Final[dict[str, Schema]] = {"to": _ENDS, **_BOUNDS}
"""Keys of an external input."""
OUTPUT: Final[dict[str, Schema]] = {"from": _END, **_BOUNDS}
"""Keys of an external output."""
PARAMETER: Final[dict[str, Schema]] = {"default": {"description": "Its value unless another is given."}}
"""Keys of a parameter of the whole pipeline."""


def _object(keys: Mapping[str, Schema], *required: str) -> Schema:
    return {"type": "object", "properties": dict(keys), "required": list(required), "additionalProperties": False}


def _named(value: Schema, says: str) -> Schema:
    return _of("object", says=says, propertyNames={"pattern": _NAME}, additionalProperties=value)


_CHAIN = {"type": "string", "pattern": ".->.", "description": "`node -> node.port -> node`."}
MANIFEST: Final[dict[str, Schema]] = {
    "penstock": {"const": 1, "description": "The version of this format."},
    "name": _of("string", says="For reports; else that of the file."),
    "nodes": _named({"$ref": "#/$defs/node"}, "The nodes by name."),
    "edges": _of("array", says="What joins them.", items={"anyOf": [_CHAIN, _object(EDGE, "from", "to")]}),
    "inputs": _named({"anyOf": [_ENDS, _object(INPUT, "to")]}, "What comes from outside, and where it goes."),
    "outputs": _named({"anyOf": [_END, _object(OUTPUT, "from")]}, "What goes out, and where it comes from."),
    "parameters": _named(
        {"anyOf": [{"type": "null"}, _object(PARAMETER)]}, 'Of the whole pipeline: used as "${name}".'
    ),
    "executors": _of("object", says="Where types run: by name, or pattern.", additionalProperties=_EXECUTOR),
    "wait": {"enum": list(WAIT_MODES), "description": "How processes wait for each other."},
    "max_growth": _of("integer", says="How often an edge may double where nodes wait for each other: 8.", minimum=0),
}
"""Keys of a manifest."""


def manifest_schema() -> Schema:
    """The JSON schema (2020-12) of manifests, with the parameters of the nodes that come with penstock."""
    node = _object(NODE, "type")
    node["allOf"] = [
        {"if": {"properties": {"type": {"const": name}}}, "then": {"properties": {"params": params}}}
        for name, params in _params_of_types()
    ]
    node["properties"]["type"] = {**NODE["type"], "examples": sorted(BUILTIN)}
    schema = _object(MANIFEST)
    schema["$defs"] = {"node": node}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "penstock manifest", **schema}


def _params_of_types() -> Iterator[tuple[str, Schema]]:
    registry = NodeRegistry(BUILTIN)
    for name in BUILTIN:
        parameters = signature_of(registry.find(name)).parameters
        yield (
            name,
            {
                "type": ["object", "null"],
                "properties": {one.name: _parameter(one) for one in parameters.values()},
                "additionalProperties": False,
            },
        )


def _parameter(parameter: inspect.Parameter) -> Schema:
    """The schema of a parameter's annotation, or a text with a parameter of the pipeline in it."""
    (said,), _ = msgspec.json.schema_components([parameter.annotation], schema_hook=_schema_of)
    if parameter.default is not parameter.empty:
        said["default"] = msgspec.to_builtins(parameter.default, enc_hook=str)
    return {"anyOf": [said, {"type": "string", "pattern": _USES_PARAMETER}]}


def _schema_of(kind: type) -> Schema:
    if kind is Path:
        return {"type": "string"}
    raise NotImplementedError
