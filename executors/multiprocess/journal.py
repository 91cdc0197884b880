"""What a successor has to know of a worker that dies: what it had begun, and what it had published by then.

Every output edge numbers what was *decided* on it: published, or dropped for want of room. The journal notes those
numbers (*bases*) at a moment to which the node can be brought back. A successor goes there, does the same things in the
same order (inputs, the ends of inputs, the flush), and keeps back as many outputs of each edge as were decided since:
so every output is published exactly once, if the node is a deterministic function of its inputs. `replay` sees whether
it was.

A stateless node can be brought back to the beginning of each input, so the note is that input and the bases before it.
No flag says that a note is complete: the input is acknowledged after its outputs, so a note that a death has cut off
belongs to an input that is done with, or to one of which nothing was published.

A source begins again at its beginning: its bases are 0. Its note is for its flush alone, as a stop may have come before
that: a successor makes as many data as there were, and no more.

A node with `snapshot` and `restore` is brought back to its last commit: a snapshot, the inputs' positions and the
bases, written where the last commit is not, and then made the active one by a single store. Inputs are acknowledged up
to a commit only; what was begun since is in the log, as the order of its inputs decides what a merge gives, and as what
was too old or interrupted was not given to the node.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from penstock.executors.multiprocess.page import LONGEST_LOG, Page, PageWord
from penstock.executors.state import decode_state, encode_state
from penstock.shm.channel import FeedbackEnd, ReceiveEnd, SendEnd
from penstock.shm.errors import CorruptSegment
from penstock.shm.fence import fence_stores
from penstock.shm.ring import Policy

__all__ = ["END", "FLUSH", "MOST_INPUTS", "Journal", "SnapshotJournal", "StatelessJournal", "Step", "last_begun"]

MOST_INPUTS: Final = 60
"""Of a node with a journal."""
END: Final = 128
"""`END + port` stands for the end of an input port, where else the number of an input edge stands."""
FLUSH: Final = 255
_MOST_LEASES: Final = 8
"""Payloads read in place that may wait for a commit: a reader with many is given copies."""
_IN_HAND: Final = PageWord.IN_HAND
_ENDS: Final = PageWord.ENDS


class Step(NamedTuple):
    """Something that a worker begins.

    Attributes:
        number: of an input edge, `END + port`, or `FLUSH`.
        sequence: of the record, where it is one.
    """

    number: int
    sequence: int


class Journal(Protocol):
    """Notes what is begun, and acknowledges what a successor does not need any more."""

    @property
    def made(self) -> list[int] | None:
        """Of a source whose predecessor had begun its flush: how many outputs of each edge there were before that."""
        ...

    @property
    def repeated(self) -> list[int]:
        """Of a successor: how many outputs of each edge were decided before, and will come again."""
        ...

    @property
    def unsettled(self) -> bool:
        """Whether something was done, by this process or its predecessor, that is not acknowledged."""
        ...

    def steps(self) -> list[Step]:
        """Of a successor: what was begun since, in its order; to be done again before anything else."""
        ...

    def has_ended(self, port: int) -> bool:
        """Whether the node has been told, and for good, that an input port has ended."""
        ...

    def begin(self, number: int, sequence: int) -> None:
        """The node is about to get a datum of an input edge, or to hear of an end."""
        ...

    def done(self, number: int, nbytes: int) -> None:
        """All of its outputs are published."""
        ...

    def settle(self, in_hand: int | None = None) -> None:
        """Acknowledge everything that was done, but for a record of this input edge that was taken and not begun."""
        ...


class StatelessJournal:
    """The journal of a node whose outputs depend on nothing but the datum in hand."""

    unsettled = False

    def __init__(
        self, page: Page, inputs: Sequence[ReceiveEnd], outputs: Sequence[SendEnd], *, fresh: bool = False
    ) -> None:
        """Go on where the note is.

        Args:
            page: of the worker.
            inputs: its edges, in the order of its spec.
            outputs: likewise.
            fresh: the node knows nothing, so it is to hear again of inputs that have ended.

        Raises:
            CorruptSegment: the journal makes no sense.
        """
        self._words = page.words
        if fresh:
            self._words[_ENDS] = 0
        self._at = page.in_hand_bases
        self._inputs = inputs
        self._acknowledge: list[Callable[[], None]] = [receiver.acknowledge for receiver in inputs]
        self._places = list(enumerate(outputs, page.in_hand_bases))
        refuses = any(isinstance(end, FeedbackEnd) or end.ring.ring.policy is Policy.DROP_NEWEST for end in outputs)
        one = len(outputs) == 1 and not refuses
        self._only = outputs[0].ring if one else None
        self._in_hand = self._found()
        if fresh and self._in_hand is not None and END <= self._in_hand.number < FLUSH:
            self._in_hand = None
        bases = list(self._words[self._at : self._at + len(outputs)])
        self.made: list[int] | None = None
        self.repeated: list[int] = [0] * len(outputs)
        if not inputs:
            self.repeated = [end.ring.decided for end in outputs]
            self.made = bases if self._in_hand is not None else None
        elif self._in_hand is not None:
            self.repeated = _since(outputs, bases)

    def steps(self) -> list[Step]:
        return [] if self._in_hand is None else [self._in_hand]

    def has_ended(self, port: int) -> bool:
        return bool(self._words[_ENDS] >> port & 1)

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
        if number < END:
            self._acknowledge[number]()
        elif number != FLUSH:
            self._words[_ENDS] |= 1 << (number - END)

    def settle(self, in_hand: int | None = None) -> None:
        """Everything is settled as soon as it is done."""

    def _found(self) -> Step | None:
        """What was in hand."""
        step = last_begun(self._words)
        if step is None or step.number == FLUSH:
            return step
        if step.number >= END:
            return None if self.has_ended(step.number - END) else step
        if step.number >= len(self._inputs):
            raise CorruptSegment(f"the journal has taken from input {step.number} of {len(self._inputs)}")
        return step if self._inputs[step.number].ring.acknowledged <= step.sequence else None


class SnapshotJournal:
    """The journal of a node that can be brought back to a snapshot."""

    made: list[int] | None = None

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
        bases = list(self._words[commit.bases : commit.bases + len(outputs)])
        self.repeated: list[int] = _since(outputs, bases)
        self._ends = self._words[commit.ends]
        begun = self._log[: min(self._words[self._log_count], LONGEST_LOG)]
        self._again = [_step(word) for word in begun]
        self._noted = 0

    @property
    def unsettled(self) -> bool:
        return self._noted > 0 or bool(self._again)

    @property
    def state(self) -> Any:
        """The snapshot of the last commit; None before the first."""
        nbytes = self._words[self._page.commits[self._active].blob_bytes]
        return decode_state(_read(self._blobs[self._active], nbytes)) if nbytes else None

    def steps(self) -> list[Step]:
        for step in self._again:
            if step.number < END and step.number >= len(self._inputs):
                raise CorruptSegment(f"the journal has taken from input {step.number} of {len(self._inputs)}")
        return self._again

    def has_ended(self, port: int) -> bool:
        return bool(self._ends >> port & 1)

    def begin(self, number: int, sequence: int) -> None:
        words, noted = self._words, self._noted
        self._noted = noted + 1
        word = (sequence + 1) << 8 | number
        if noted >= len(self._again):  # else a predecessor has noted it
            self._log[noted] = word
            fence_stores()
            words[self._log_count] = noted + 1
        words[_IN_HAND] = word

    def done(self, number: int, nbytes: int) -> None:
        self._words[_IN_HAND] = 0
        if number >= END:
            if number != FLUSH:
                self._ends |= 1 << (number - END)
            return
        self._count[number] += 1
        self._bytes[number] += nbytes
        most, most_bytes = self._room[number]
        if self._noted < len(self._again):
            return  # what comes again is settled as a whole
        if (
            self._count[number] >= most
            or self._bytes[number] >= most_bytes
            or self._noted >= LONGEST_LOG - MOST_INPUTS - 1  # the ends of all inputs and a flush may follow without one
            or self._inputs[number].held >= _MOST_LEASES
        ):
            self.settle()

    def settle(self, in_hand: int | None = None) -> None:
        """Commit: the snapshot, the positions and the bases; then acknowledge."""
        if not self._noted:
            return
        words, other = self._words, 1 - self._active
        commit = self._page.commits[other]
        words[commit.blob_bytes] = _write(self._blobs[other], encode_state(self._take_snapshot()))
        for number, receiver in enumerate(self._inputs):
            words[commit.positions + number] = receiver.ring.taken - (number == in_hand)
        for at, end in enumerate(self._outputs, commit.bases):
            words[at] = end.ring.decided
        words[commit.ends] = self._ends
        words[commit.log_count] = 0
        fence_stores()
        words[PageWord.ACTIVE] = self._active = other
        self._log, self._log_count = commit.log, commit.log_count
        self._noted = 0
        self._again = []
        for number, receiver in enumerate(self._inputs):
            for _ in range(self._count[number]):
                receiver.acknowledge()
            self._count[number] = self._bytes[number] = 0

    def _bring_up(self, positions: memoryview) -> None:
        """Acknowledge what was committed: the predecessor may have died before it did.

        What it had discarded is in no log, and is discarded again. The other commit's log is whole until the next
        commit is written there, and that was not begun before everything was acknowledged.
        """
        before = self._page.commits[1 - self._active]
        for word in before.log[: min(self._words[before.log_count], LONGEST_LOG)]:
            number, sequence = _step(word)
            if number < len(self._inputs):
                receiver = self._inputs[number]
                if receiver.ring.acknowledged <= sequence < positions[number]:
                    receiver.take_again(sequence)
                    receiver.acknowledge()


def _since(outputs: Sequence[SendEnd], bases: Sequence[int]) -> list[int]:
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


def last_begun(words: memoryview) -> Step | None:
    """What a worker began last, as its page says; None where it is done with."""
    word = words[_IN_HAND]
    return _step(word) if word else None


def _step(word: int) -> Step:
    return Step(word & 0xFF, (word >> 8) - 1)
