"""`ctx.claim` of a node whose outputs go through shared memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.executors.contract import AllocationFailed, Validation
from penstock.executors.contract.loan import loans
from penstock.shm.errors import OutOfSharedMemory
from penstock.shm.ring import Geometry
from penstock.shm.slab import SlabPool

__all__ = ["claim_from"]

_INLINE_BYTES = Geometry.fitting(1).inline_bytes
"""What stands in the ring itself is copied there anyway."""


def claim_from(pool: SlabPool) -> Callable[..., npt.NDArray[Any]]:
    """`claim(shape, dtype)` out of a pool (see `NodeContext.claim`)."""

    def claim(shape: int | Sequence[int], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
        kind = np.dtype(dtype)
        if kind.hasobject:
            raise Validation(f"an array of Python objects ({kind}) can not be sent: claim a numeric dtype")
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        nbytes = math.prod(sizes) * kind.itemsize
        if nbytes <= _INLINE_BYTES:
            return np.empty(sizes, kind)
        try:
            memory = pool.claim(nbytes)
        except OutOfSharedMemory as error:
            raise AllocationFailed(f"claim{sizes}: {error}") from error
        return loans.lend(memory, sizes, kind)

    return claim
