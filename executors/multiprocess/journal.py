"""What a successor has to know of a worker that dies: which inputs it had taken, and what it had published by then.

Every output edge numbers what was *decided* on it: published, or dropped for want of room. The journal notes those
numbers (*bases*) at a moment to which the node can be brought back. A successor goes there, takes the same inputs in
the same order, and keeps back as many outputs of each edge as were decided since: so every output is published exactly
once, if the node is a deterministic function of its inputs. `replay` sees whether it was.

A stateless node can be brought back to the beginning of each input, so the note is that input and the bases before it.
No flag says that a note is complete: the input is acknowledged after its outputs, so a note that a death has cut off
belongs to an input that is done with, or to one of which nothing was published.

A node with `snapshot` and `restore` is brought back to its last commit: a snapshot, the inputs' positions and the
bases, written where the last commit is not, and then made the active one by a single store. Inputs are acknowledged up
to a commit only; the order in which they were taken since is in the log, as it decides what a merge gives.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

from penstock.executors.multiprocess.page import LONGEST_LOG, Page, PageWord
from penstock.executors.state import decode_state, encode_state
from penstock.shm.channel import ReceiveEnd, SendEnd
from penstock.shm.errors import CorruptSegment
from penstock.shm.fence import fence_stores
from penstock.shm.ring import Policy

__all__ = ["FLUSH", "Journal", "SnapshotJournal", "StatelessJournal", "last_taken"]

FLUSH: Final = 255
"""Stands for the end of all inputs, where else the number of an input stands."""
_MOST_LEASES: Final = 8
"""Payloads read in place that may wait for a commit: a reader with many is given copies."""
_IN_HAND: Final = PageWord.IN_HAND


class Journal(Protocol):
    """Notes what is taken, and acknowledges it when a successor needs it no more."""

    @property
    def repeated(self) -> list[int]:
        """Of a successor: how many outputs of each edge were decided before, and will come again."""
        ...

    @property
    def unsettled(self) -> bool:
        """Whether something was done that is not acknowledged."""
        ...

    def order(self) -> Iterator[int]:
        """Of a successor: the inputs that were taken since, in their order; `FLUSH` for their end."""
        ...

    def begin(self, number: int, sequence: int) -> None:
        """The node is about to get a datum of an input."""
        ...

    def done(self, number: int, nbytes: int) -> None:
        """All of its outputs are published."""
        ...

    def settle(self) -> bool:
        """Acknowledge everything that was done; whether there was anything."""
        ...


class StatelessJournal:
    """The journal of a node whose outputs depend on nothing but the datum in hand."""

    unsettled = False

    def __init__(self, page: Page, inputs: Sequence[ReceiveEnd], outputs: Sequence[SendEnd]) -> None:
        self._words = page.words
        self._at = page.in_hand_bases
        self._inputs = inputs
        self._acknowledge: list[Callable[[], None]] = [receiver.acknowledge for receiver in inputs]
        self._places = list(enumerate(outputs, page.in_hand_bases))
        one = len(outputs) == 1 and outputs[0].ring.ring.policy is not Policy.DROP_NEWEST
        self._only = outputs[0].ring if one else None
        self._in_hand = self._found()
        self.repeated: list[int] = [0] * len(outputs)
        if self._in_hand is not None or not inputs:  # a source begins again at its beginning
            self.repeated = _since(outputs, self._words[self._at : self._at + len(outputs)])

    def order(self) -> Iterator[int]:
        return iter(() if self._in_hand is None else (self._in_hand,))

    def begin(self, number: int, sequence: int) -> None:
        words = self._words
        if self._in_hand is not None:  # it is noted, with the bases before the first of its outputs
            self._in_hand = None
            return
        if self._only is not None:
            words[self._at] = self._only.head
        else:
            for at, end in self._places:
                words[at] = end.ring.decided
        fence_stores()
        words[_IN_HAND] = (sequence + 1) << 8 | number

    def done(self, number: int, nbytes: int) -> None:
        del nbytes
        self._acknowledge[number]()

    def settle(self) -> bool:
        return False

    def _found(self) -> int | None:
        """The input that was in hand."""
        noted = last_taken(self._words)
        if noted is None:
            return None
        number, sequence = noted
        if number == FLUSH:
            return FLUSH
        if number >= len(self._inputs):
            raise CorruptSegment(f"the journal has taken from input {number} of {len(self._inputs)}")
        return number if self._inputs[number].ring.acknowledged <= sequence else None


class SnapshotJournal:
    """The journal of a node that can be brought back to a snapshot."""

    def __init__(
        self,
        page: Page,
        inputs: Sequence[ReceiveEnd],
        outputs: Sequence[SendEnd],
        blobs: Sequence[int],
        take_snapshot: Callable[[], Any],
        every: int | None = None,
    ) -> None:
        """Go on where the last commit is.

        Args:
            page: of the worker.
            inputs: its edges, in the order of its spec.
            outputs: likewise.
            blobs: two files, for the snapshots.
            take_snapshot: asks the node for its state.
            every: inputs between two commits at most; half of what an edge may hold if left out.

        Raises:
            CorruptSegment: the journal makes no sense.
        """
        self._page, self._words = page, page.words
        self._inputs, self._outputs = inputs, outputs
        self._blobs = blobs
        self._take_snapshot = take_snapshot
        self._active = self._words[PageWord.ACTIVE] & 1
        commit = page.commits[self._active]
        self._log, self._log_count = commit.log, commit.log_count
        self._room = [_room(receiver, every) for receiver in inputs]
        self._count = [0] * len(inputs)  # of what was taken since the commit
        self._bytes = [0] * len(inputs)
        self._bring_up(self._words[commit.positions : commit.positions + len(inputs)])
        bases = self._words[commit.bases : commit.bases + len(outputs)]
        self.repeated: list[int] = _since(outputs, bases)
        self._taken = list(self._log[: min(self._words[self._log_count], LONGEST_LOG)])
        self._noted = 0

    @property
    def unsettled(self) -> bool:
        return self._noted > 0

    @property
    def state(self) -> Any:
        """The snapshot of the last commit; None before the first."""
        nbytes = self._words[self._page.commits[self._active].blob_bytes]
        return decode_state(_read(self._blobs[self._active], nbytes)) if nbytes else None

    def order(self) -> Iterator[int]:
        for number in self._taken:
            if number != FLUSH and number >= len(self._inputs):
                raise CorruptSegment(f"the journal has taken from input {number} of {len(self._inputs)}")
            yield number
        self._taken.clear()

    def begin(self, number: int, sequence: int) -> None:
        words, noted = self._words, self._noted
        self._log[noted] = number
        self._noted = noted + 1
        fence_stores()
        if noted >= len(self._taken):  # else a predecessor has noted it
            words[self._log_count] = noted + 1
        words[_IN_HAND] = (sequence + 1) << 8 | number

    def done(self, number: int, nbytes: int) -> None:
        self._words[_IN_HAND] = 0
        self._count[number] += 1
        self._bytes[number] += nbytes
        most, most_bytes = self._room[number]
        if (
            self._count[number] >= most
            or self._bytes[number] >= most_bytes
            or self._noted >= LONGEST_LOG - 1
            or self._inputs[number].held >= _MOST_LEASES
        ) and self._noted >= len(self._taken):
            self.settle()

    def settle(self) -> bool:
        """Commit: the snapshot, the positions and the bases; then acknowledge."""
        if not self._noted:
            return False
        words, other = self._words, 1 - self._active
        commit = self._page.commits[other]
        words[commit.blob_bytes] = _write(self._blobs[other], encode_state(self._take_snapshot()))
        for at, receiver in enumerate(self._inputs, commit.positions):
            words[at] = receiver.ring.next
        for at, end in enumerate(self._outputs, commit.bases):
            words[at] = end.ring.decided
        words[commit.log_count] = 0
        fence_stores()
        words[PageWord.ACTIVE] = self._active = other
        self._log, self._log_count = commit.log, commit.log_count
        self._noted = 0
        for number, receiver in enumerate(self._inputs):
            for _ in range(self._count[number]):
                receiver.acknowledge()
            self._count[number] = self._bytes[number] = 0
        return True

    def _bring_up(self, positions: memoryview) -> None:
        """Acknowledge what was committed: the predecessor may have died before it did."""
        for receiver, position in zip(self._inputs, positions, strict=True):
            while receiver.ring.acknowledged < position:
                if receiver.take_again() is None:
                    raise CorruptSegment(f"edge {receiver.name}: the journal is at {position}, and nothing is there")
                receiver.acknowledge()


def _since(outputs: Sequence[SendEnd], bases: memoryview) -> list[int]:
    """How many outputs were decided on since the bases were noted."""
    counts = [end.ring.decided - base for end, base in zip(outputs, bases, strict=True)]
    if min(counts, default=0) < 0:
        raise CorruptSegment(f"the journal says more outputs than there were: {counts}")
    return counts


def _room(receiver: ReceiveEnd, every: int | None) -> tuple[int, int]:
    """(inputs, bytes) of an edge that may be taken before a commit: the writer must never wait for one."""
    ring = receiver.ring.ring
    if ring.policy is Policy.DROP_OLDEST:
        return 1, 1
    half = max(1, ring.capacity // 2)
    return (half if every is None else min(half, every)), receiver.max_bytes // 2


def _write(file: int, blob: bytes) -> int:
    written = 0
    while written < len(blob):
        written += os.pwrite(file, memoryview(blob)[written:], written)
    return len(blob)


def _read(file: int, nbytes: int) -> bytes:
    parts, at = [], 0
    while at < nbytes:
        part = os.pread(file, nbytes - at, at)
        if not part:
            raise CorruptSegment(f"a snapshot of {nbytes} bytes ends at {at}")
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def last_taken(words: memoryview) -> tuple[int, int] | None:
    """(number, sequence) of the input that a worker began last, as its page says; None where it is done with."""
    noted = words[_IN_HAND]
    return (noted & 0xFF, (noted >> 8) - 1) if noted else None
