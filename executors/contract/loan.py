"""Arrays that a bridge has lent to a node, to be published in place (see `NodeContext.claim`).

A datum of such an array freezes it and refers to it, where any other array that does not own its memory is copied. Not
so while another view of the memory is alive, as that could still be written: then the datum is a copy, and counted.
"""

from __future__ import annotations

import logging
import math
import operator
import sys
import weakref
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from penstock.executors.contract.errors import Validation

__all__ = ["Loans", "claim_here", "loans", "measure"]

Array = npt.NDArray[Any]


def measure(shape: SupportsIndex | Sequence[int], dtype: npt.DTypeLike) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """(shape, dtype, bytes) of an array that is asked for.

    Raises:
        Validation: it can not be sent: the elements are Python objects.
    """
    kind = np.dtype(dtype)
    if kind.hasobject:
        raise Validation(f"an array of Python objects ({kind}) can not be sent: claim a numeric dtype")
    sizes = tuple(map(int, shape)) if isinstance(shape, Sequence | np.ndarray) else (operator.index(shape),)
    return sizes, kind, math.prod(sizes) * kind.itemsize


class Loans:
    """The loans of this process.

    Attributes:
        copied: data that were copied because another view of their array was alive.
    """

    def __init__(self) -> None:
        self.copied: int = 0
        self._lent: weakref.WeakValueDictionary[int, Array] = weakref.WeakValueDictionary()

    def lend(self, memory: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An array over lent memory, which is uint8 and as large as the array; the node gets nothing else of it."""
        self._lent[id(memory)] = memory
        return memory.view(dtype).reshape(shape)

    def freeze(self, array: Array) -> bool:
        """Freeze an array if it is a loan; False if it is none, or if another view of it is alive."""
        if not isinstance(array.base, np.ndarray) or self._lent.get(id(array.base)) is not array.base:
            return False
        if _references(array) > _ALONE:
            self._note_copy()
            return False
        array.flags.writeable = array.base.flags.writeable = False
        return True

    def _note_copy(self) -> None:
        self.copied += 1
        if self.copied == 1:
            logging.getLogger("penstock").warning(
                "a claimed array was sent while another view of it was alive, so it was copied: "
                "send the array that claim() gave, and let go of slices of it first"
            )


def _references(array: Array) -> int:
    """What refers to the memory of an array; how much of it is this function's own differs between interpreters."""
    memory = array.base
    return sys.getrefcount(memory)


_ALONE = _references(np.empty(1, np.uint8)[:])

loans = Loans()
"""What `RuntimeData` asks, and bridges fill. It knows arrays of this process alone, each for as long as it lives."""


def claim_here(shape: SupportsIndex | Sequence[int], dtype: npt.DTypeLike = np.float32) -> Array:
    """`claim(shape, dtype)` where outputs do not go through shared memory: the same rules (see `NodeContext.claim`)."""
    sizes, kind, nbytes = measure(shape, dtype)
    return loans.lend(np.empty(nbytes, np.uint8), sizes, kind)
