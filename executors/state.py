"""The snapshot of a node as bytes, and back: JSON with arrays, bytes and data in it. No pickle."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from penstock.executors.contract import DataType, RuntimeData

__all__ = ["decode_state", "encode_state"]

_LENGTH: Final = struct.Struct("<Q")
_KEY: Final = "__penstock__"


def encode_state(state: Any) -> bytes:
    """The bytes of a state: None, numbers, str, bytes, numpy arrays, `RuntimeData`, and lists and dicts of them.

    Raises:
        TypeError: there is something else in it; the text says what and where.
    """
    parts: list[bytes] = []
    tree = _flatten(state, "snapshot", parts)
    head = json.dumps([tree, [len(part) for part in parts]], separators=(",", ":")).encode()
    return b"".join([_LENGTH.pack(len(head)), head, *parts])


def decode_state(blob: bytes) -> Any:
    """The state again; arrays are writable copies, tuples have become lists.

    Raises:
        ValueError: these are no bytes of a state.
    """
    (length,) = _LENGTH.unpack_from(blob)
    at = _LENGTH.size + length
    tree, sizes = json.loads(blob[_LENGTH.size : at])
    parts: list[bytes] = []
    for size in sizes:
        parts.append(blob[at : at + size])
        at += size
    if at != len(blob):
        raise ValueError(f"a snapshot of {len(blob)} bytes says that it has {at}")
    return _restore(tree, parts)


def _flatten(value: Any, where: str, parts: list[bytes]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key == _KEY:
                raise TypeError(f"{where} has the key {key!r}: the keys of a snapshot are texts")
        return {key: _flatten(item, f"{where}[{key!r}]", parts) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_flatten(item, f"{where}[{index}]", parts) for index, item in enumerate(value)]
    if isinstance(value, bytes | bytearray | memoryview):
        parts.append(bytes(value))
        return {_KEY: "bytes", "part": len(parts) - 1}
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject or value.dtype.names is not None:
            raise TypeError(f"{where} is an array of {value.dtype}: only plain numbers can be kept")
        parts.append(value.tobytes())
        return {_KEY: "array", "part": len(parts) - 1, "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, RuntimeData):
        parts.append(bytes(value.payload))
        return {_KEY: "data", "part": len(parts) - 1, **_fields(value)}
    what = "numbers, texts, bytes, arrays, data, lists and dicts"
    raise TypeError(f"{where} is {type(value).__name__}: a snapshot holds {what}")


def _fields(data: RuntimeData) -> dict[str, Any]:
    return {
        "type": data.data_type.value,
        "session": data.session_id,
        "timestamp": data.timestamp_ns,
        "dtype": None if data.dtype is None else data.dtype.str,
        "shape": list(data.shape),
        "rate": data.sample_rate,
        "channels": data.channels,
        "meta": dict(data.meta),
    }


def _restore(tree: Any, parts: list[bytes]) -> Any:
    if isinstance(tree, list):
        return [_restore(item, parts) for item in tree]
    if not isinstance(tree, dict):
        return tree
    kind = tree.get(_KEY)
    if kind is None:
        return {key: _restore(item, parts) for key, item in tree.items()}
    part = parts[tree["part"]]
    if kind == "bytes":
        return part
    if kind == "array":
        return np.frombuffer(part, np.dtype(tree["dtype"])).reshape(tree["shape"]).copy()
    return RuntimeData(
        DataType(tree["type"]),
        part,
        tree["session"],
        tree["timestamp"],
        None if tree["dtype"] is None else np.dtype(tree["dtype"]),
        tuple(tree["shape"]),
        tree["rate"],
        tree["channels"],
        tree["meta"],
    )
