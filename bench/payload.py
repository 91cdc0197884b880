"""The payloads: every message can be told from its neighbours, and to see that it is whole takes one pass over it.

Message n holds the value 2 ** (n % 8) in every element. The scalar product of such an array with itself is a power of
two times its length, which float32 says exactly in any order of addition: a torn, mixed up or lost message is noticed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["CYCLE", "FAN_BYTES", "FRAME_BYTES", "SMALL_BYTES", "check", "make", "value_of"]

Array = npt.NDArray[np.float32]

CYCLE = 8
SMALL_BYTES = 4096
FAN_BYTES = 1 << 20
FRAME_BYTES = 8 << 20


def value_of(number: int) -> float:
    return float(2 ** (number % CYCLE))


def make(number: int, nbytes: int = SMALL_BYTES) -> Array:
    """The payload of message `number`, shape (nbytes / 4,)."""
    return np.full(nbytes // 4, value_of(number), np.float32)


def check(payload: Any, number: int) -> None:
    """Read the whole payload (an array of float32, or its bytes) and see that it is that of message `number`.

    Raises:
        ValueError: it is another one, or damaged.
    """
    array: Array = payload if isinstance(payload, np.ndarray) else np.frombuffer(payload, np.float32)
    if array.dot(array) != len(array) * 4.0 ** (number % CYCLE):
        raise ValueError(f"message {number} arrived damaged, or in another one's place: it begins {array[:4]}")
