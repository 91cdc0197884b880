"""A datum as a JSON description and its bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from penstock.executors.contract import DataType, RuntimeData, TypeMismatch

__all__ = ["pack", "unpack"]


def pack(data: RuntimeData) -> tuple[dict[str, Any], bytes | memoryview]:
    """Raises TypeMismatch where the payload is not what the type says."""
    if data.data_type is DataType.AUDIO:
        data.as_audio()
    elif data.data_type is DataType.TENSOR:
        data.as_tensor()
    elif data.dtype is not None:
        raise TypeMismatch(data.data_type, "an array")
    about = {
        "data_type": data.data_type.value,
        "session_id": data.session_id,
        "timestamp_ns": data.timestamp_ns,
        "dtype": None if data.dtype is None else data.dtype.str,
        "shape": data.shape,
        "sample_rate": data.sample_rate,
        "channels": data.channels,
        "meta": dict(data.meta),
    }
    return about, data.payload


def unpack(about: dict[str, Any], payload: bytes) -> RuntimeData:
    """The datum."""
    dtype = None if about["dtype"] is None else np.dtype(about["dtype"])
    fields = {**about, "data_type": DataType(about["data_type"]), "dtype": dtype, "shape": tuple(about["shape"])}
    return RuntimeData(payload=payload, **fields)
