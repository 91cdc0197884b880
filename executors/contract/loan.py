"""Arrays that a bridge has lent to a node, to be published in place (see `NodeContext.claim`).

A datum of such an array freezes it and refers to it, where any other array that does not own its memory is copied. Not
so while another view of the memory is alive, as that could still be written: then the datum is a copy, and counted.
"""

from __future__ import annotations

import logging
import sys
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Loans", "loans"]

Array = npt.NDArray[Any]


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
        memory = array.base
        if not isinstance(memory, np.ndarray) or self._lent.get(id(memory)) is not memory:
            return False
        if sys.getrefcount(memory) > 3:  # `array.base`, `memory`, and the argument of this call
            self._note_copy()
            return False
        array.flags.writeable = memory.flags.writeable = False
        return True

    def _note_copy(self) -> None:
        self.copied += 1
        if self.copied == 1:
            logging.getLogger("penstock").warning(
                "a claimed array was sent while another view of it was alive, so it was copied: "
                "send the array that claim() gave, and let go of slices of it first"
            )


loans = Loans()
"""What `RuntimeData` asks, and bridges fill. It knows arrays of this process alone, each for as long as it lives."""
