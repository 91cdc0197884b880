"""`ctx.claim` of a node whose outputs go through shared memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.executors.contract import AllocationFailed
from penstock.executors.contract.loan import claim_here, loans, measure
from penstock.shm.errors import OutOfSharedMemory
from penstock.shm.ring import Geometry
from penstock.shm.slab import SlabPool

__all__ = ["claim_from"]

_INLINE_BYTES = Geometry.fitting(1).inline_bytes
"""What stands in the ring itself is copied there anyway."""


def claim_from(pool: SlabPool) -> Callable[..., npt.NDArray[Any]]:
    """`claim(shape, dtype)` out of a pool (see `NodeContext.claim`)."""

    def claim(shape: int | Sequence[int], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
        sizes, kind, nbytes = measure(shape, dtype)
        if nbytes <= _INLINE_BYTES:
            return claim_here(sizes, kind)
        try:
            memory = pool.claim(nbytes)
        except (OutOfSharedMemory, OverflowError) as error:
            raise AllocationFailed(f"claim{sizes}: {error}") from error
        return loans.lend(memory, sizes, kind)

    return claim
