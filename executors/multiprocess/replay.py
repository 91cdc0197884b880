"""Outputs that come again: a successor keeps them back, and sees whether they are what its predecessor published."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from penstock.shm.channel import FeedbackEnd, SendEnd
from penstock.shm.history import Digest, digest, published
from penstock.shm.record import Outgoing
from penstock.shm.ring import Policy

__all__ = ["NotRepeated", "Repeats"]


class NotRepeated(Exception):
    """A successor's outputs are not those of its predecessor; the text names the edge."""


class Repeats:
    """What of each edge is still to come again.

    What still stands in the ring, and in slabs that are held, is compared: type, shape, meta and payload. Time stamps
    are not, as most say when a datum was made; nor is an edge that drops, whose records have other places.
    """

    def __init__(self, outputs: Sequence[SendEnd], counts: Sequence[int]) -> None:
        """Look at what was published, before a slab of it can be used again.

        Args:
            outputs: the edges.
            counts: how many outputs of each will come again.
        """
        self._left = {end: count for end, count in zip(outputs, counts, strict=True) if count}
        self._seen: dict[SendEnd, deque[Digest | None]] = {
            end: deque([None] * count if _drops(end) else published(end, count)) for end, count in self._left.items()
        }

    def __bool__(self) -> bool:
        return bool(self._left)

    def left(self, end: SendEnd) -> int:
        """How many outputs of an edge are still to come again."""
        return self._left.get(end, 0)

    def keeps_back(self, end: SendEnd, message: Outgoing) -> bool:
        """Whether this output was decided on before.

        Raises:
            NotRepeated: something else was published.
        """
        if end not in self._left:
            return False
        seen = self._seen[end].popleft()
        if seen is not None and seen != digest(message):
            raise NotRepeated(f"edge {end.name}: its output is not what it was before the crash")
        self._left[end] -= 1
        if not self._left[end]:
            del self._left[end]
        return True

    def forget(self, ends: set[SendEnd]) -> None:
        """On these edges they will not come: what they came from was set aside."""
        self._left = {end: count for end, count in self._left.items() if end not in ends}

    def check_all_came(self) -> None:
        """See that nothing is left, once everything was done again that was done before.

        Raises:
            NotRepeated: an edge was given fewer outputs than before the crash.
        """
        for end, count in self._left.items():
            raise NotRepeated(f"edge {end.name}: {count} outputs that it gave before the crash did not come again")


def _drops(end: SendEnd) -> bool:
    """Whether an edge may have dropped what it was given: by its policy, or behind the end of a cycle."""
    return isinstance(end, FeedbackEnd) or end.ring.ring.policy is not Policy.BLOCK
