"""How a datum looks in a record, and back (what `shm` calls the description, the payload and the tail).

Description, 48 bytes, little endian:

     0 u8 data type   1 u8 dtype code   2 u8 dimensions   3 u8 0   4 u32 sample rate   8 u32 channels   12 u32 port
    16 u64 shape[4]

Dtype code 0 means that the tail has the dtype, 255 dimensions that it has the shape. The tail is JSON and absent in
the common case: s = session, where there is one; m = meta; d = dtype; h = shape; p = parameters of a call.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

import numpy as np

from penstock.executors.contract import DataType, IPCError, Json, RuntimeData, TypeMismatch, Validation
from penstock.shm.record import DESCRIPTION_BYTES, Field, Kind, Outgoing, Record

__all__ = ["Codec"]

_DESCRIPTION: Final = struct.Struct("<BBBBIII4Q")
assert _DESCRIPTION.size == DESCRIPTION_BYTES

_TYPES: Final = (DataType.AUDIO, DataType.TEXT, DataType.TENSOR, DataType.JSON)
_CODE_OF_TYPE: Final = {data_type: code for code, data_type in enumerate(_TYPES, 1)}
_NAMES: Final = "? u1 i1 <u2 <i2 <u4 <i4 <u8 <i8 <f2 <f4 <f8 <c8 <c16 >i2 >i4 >f4 >f8"
_DTYPES: Final = tuple(np.dtype(name) for name in _NAMES.split())
_CODE_OF_DTYPE: Final = {dtype: code for code, dtype in enumerate(_DTYPES, 1)}
_SHAPE_IN_TAIL: Final = 255
_CACHED: Final = 512

_DESCRIPTION_FIELD: Final = Field.DESCRIPTION
_TIMESTAMP_FIELD: Final = Field.TIMESTAMP_NS
_NOTHING: Final[Mapping[str, Json]] = MappingProxyType({})
"""The parameters of a call that has none."""

_Meaning = tuple[DataType, "np.dtype[Any] | None", tuple[int, ...], int, int, int, "int | None"]


_Cache = TypeVar("_Cache", bound="dict[Any, Any]")


class Codec:
    """Encodes and decodes for one edge. What recurs (descriptions, sessions) is worked out once."""

    def __init__(self, edge: str) -> None:
        self._edge = edge
        self._session_tails: dict[str, bytes] = {"": b""}
        self._tail_sessions: dict[bytes, str] = {b"": ""}
        self._descriptions: dict[tuple[object, ...], tuple[bytes, dict[str, Json], int | None]] = {}
        self._meanings: dict[bytes, _Meaning] = {}

    def encode(
        self, data: RuntimeData, *, kind: int = Kind.DATA, correlation: int = 0, port: int = 0, params: Json = None
    ) -> Outgoing:
        """The message for a datum; the payload is not copied.

        Raises:
            TypeMismatch: the payload is not what the type, dtype and shape say.
        """
        key = (data.data_type, data.dtype, data.shape, data.sample_rate, data.channels, port)
        found = self._descriptions.get(key)
        if found is None:
            found = _bound(self._descriptions)[key] = self._describe(data, port)
        description, extra, nbytes = found
        if nbytes is not None and nbytes != len(data.payload):
            raise TypeMismatch(data.data_type, f"{len(data.payload)} bytes for {data.dtype} {data.shape}")
        if data.meta or params or extra:
            tail = _tail(data, params, extra)
        else:
            found_tail = self._session_tails.get(data.session_id)
            tail = self._session_tail(data) if found_tail is None else found_tail
        return Outgoing(data.payload, description, tail, kind, data.timestamp_ns, correlation)

    def decode(self, record: Record) -> RuntimeData:
        """The datum of a record.

        Raises:
            IPCError: the record makes no sense; the text names the edge.
        """
        return self.decode_call(record)[0]

    def decode_call(self, record: Record) -> tuple[RuntimeData, int, Mapping[str, Json]]:
        """The datum, the port it is for, and the parameters of the call."""
        payload, header = record.payload, record.header
        meaning = self._meanings.get(header[_DESCRIPTION_FIELD])
        if meaning is None:
            meaning = self._understand(record)
        data_type, dtype, shape, rate, channels, port, nbytes = meaning
        session_id = self._tail_sessions.get(record.tail)
        meta: Mapping[str, Json] = {}
        params = _NOTHING
        if session_id is None:
            session_id, meta, params = self._parse_tail(record)
        if nbytes is not None and nbytes != len(payload):
            raise self._nonsense(record, f"{len(payload)} bytes are no {dtype} of shape {shape}")
        data = RuntimeData(data_type, payload, session_id, header[_TIMESTAMP_FIELD], dtype, shape, rate, channels, meta)
        return data, port, params

    @staticmethod
    def _describe(data: RuntimeData, port: int) -> tuple[bytes, dict[str, Json], int | None]:
        """The description, what it has no room for, and the size of the payload where it is told by the shape."""
        if data.dtype is None and data.data_type in {DataType.AUDIO, DataType.TENSOR}:
            raise TypeMismatch(data.data_type, "a payload without dtype")
        extra: dict[str, Json] = {}
        nbytes = None if data.dtype is None else math.prod(data.shape) * data.dtype.itemsize
        code = 0 if data.dtype is None else _CODE_OF_DTYPE.get(data.dtype, 0)
        if data.dtype is not None and not code:
            extra["d"] = _name_of(data.dtype)
        dimensions = len(data.shape)
        if dimensions > 4:
            extra["h"] = list(data.shape)
            dimensions = _SHAPE_IN_TAIL
        shape = (*data.shape, 0, 0, 0, 0)[:4]
        packed = _DESCRIPTION.pack(
            _CODE_OF_TYPE[data.data_type], code, dimensions, 0, data.sample_rate, data.channels, port, *shape
        )
        return packed, extra, nbytes

    def _session_tail(self, data: RuntimeData) -> bytes:
        if data.session_id not in self._session_tails:
            _bound(self._session_tails)[data.session_id] = _tail(data, None, {})
        return self._session_tails[data.session_id]

    def _parse_tail(self, record: Record) -> tuple[str, Mapping[str, Json], Mapping[str, Json]]:
        tail = self._parse(record)
        session_id, meta, params = tail.get("s", ""), tail.get("m", {}), tail.get("p", {})
        if not isinstance(session_id, str) or not isinstance(meta, dict) or not isinstance(params, dict):
            raise self._nonsense(record, "its tail has values of the wrong types")
        if tail.keys() == {"s"}:
            _bound(self._tail_sessions)[record.tail] = session_id
        return session_id, meta, params

    def _understand(self, record: Record) -> _Meaning:
        kind, code, dimensions, _, rate, channels, port, *shape = _DESCRIPTION.unpack(record.description)
        if not 1 <= kind <= len(_TYPES) or code > len(_DTYPES) or not (dimensions <= 4 or dimensions == _SHAPE_IN_TAIL):
            raise self._nonsense(record, f"type {kind}, dtype code {code}, {dimensions} dimensions")
        data_type = _TYPES[kind - 1]
        if data_type in {DataType.TEXT, DataType.JSON}:
            meaning: _Meaning = (data_type, None, (), rate, channels, port, None)
        elif code and dimensions != _SHAPE_IN_TAIL:
            dtype = _DTYPES[code - 1]
            nbytes = math.prod(shape[:dimensions]) * dtype.itemsize
            meaning = (data_type, dtype, tuple(shape[:dimensions]), rate, channels, port, nbytes)
        else:
            return self._understand_tail(
                record, data_type, code, shape[:dimensions], dimensions, (rate, channels, port)
            )
        _bound(self._meanings)[record.description] = meaning
        return meaning

    def _understand_tail(
        self,
        record: Record,
        data_type: DataType,
        code: int,
        shape: list[int],
        dimensions: int,
        rest: tuple[int, int, int],
    ) -> _Meaning:
        tail = self._parse(record)
        try:
            dtype = _DTYPES[code - 1] if code else _dtype_of(tail["d"])
            sizes = tuple(tail["h"]) if dimensions == _SHAPE_IN_TAIL else tuple(shape)
            if not all(isinstance(size, int) and size >= 0 for size in sizes):
                raise ValueError(f"shape {sizes}")
            return (data_type, dtype, sizes, *rest, math.prod(sizes) * dtype.itemsize)
        except Exception as error:  # numpy parses the dtype, and raises what it likes
            raise self._nonsense(record, f"dtype or shape in its tail: {error}") from error

    def _parse(self, record: Record) -> dict[str, Any]:
        try:
            tail = json.loads(record.tail)
        except (ValueError, RecursionError) as error:
            raise self._nonsense(record, f"its tail is no JSON: {error}") from error
        if not isinstance(tail, dict):
            raise self._nonsense(record, "its tail is no JSON object")
        return tail

    def _nonsense(self, record: Record, what: str) -> IPCError:
        return IPCError(f"edge {self._edge}: record {record.sequence} makes no sense: {what}")


def _bound(cache: _Cache) -> _Cache:
    """Where every datum brings something new, a cache would only grow: begin again."""
    if len(cache) >= _CACHED:
        cache.clear()
    return cache


def _tail(data: RuntimeData, params: Json, extra: Mapping[str, Json]) -> bytes:
    """The tail.

    Raises:
        Validation: JSON can not say the meta, or the parameters.
    """
    tail = dict(extra)
    if data.session_id:
        tail["s"] = data.session_id
    if data.meta:
        tail["m"] = data.meta
    if params:
        tail["p"] = params
    try:
        return json.dumps(tail, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Validation(f"meta or parameters can not cross to another process: {error}") from None


def _name_of(dtype: np.dtype[Any]) -> Json:
    """A dtype as JSON: its string, or for a structured one the list of its fields."""
    described: Json = np.lib.format.dtype_to_descr(dtype)
    return described


def _dtype_of(name: Json) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.lib.format.descr_to_dtype(_tuples(name))
    if dtype.hasobject:
        raise ValueError("a dtype of Python objects")
    return dtype


def _tuples(name: Any) -> Any:
    """Numpy writes fields as tuples and JSON made lists of them."""
    if not isinstance(name, list):
        return name
    return [tuple(_tuples(part) if index == 1 else _shape(part) for index, part in enumerate(field)) for field in name]


def _shape(part: Any) -> Any:
    return tuple(part) if isinstance(part, list) else part
