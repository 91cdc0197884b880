"""What tests of rings share: an edge with both of its ends, children that are killed, and words that keep a diary."""

from __future__ import annotations

import contextlib
import gc
import os
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from penstock.shm import channel, dropping, lease, reading, writing
from penstock.shm.arena import ArenaMap
from penstock.shm.channel import EdgeOptions, ReceiveEnd, SendEnd
from penstock.shm.doorbell import Doorbell
from penstock.shm.owner import Owner
from penstock.shm.record import Outgoing, Record
from penstock.shm.ring import Geometry, Policy, Ring, Word
from penstock.shm.slab import SlabPool

INLINE = 192
LARGE = 20_000
"""A payload that does not fit into a slot."""


def message(number: int, nbytes: int = 8) -> Outgoing:
    """A message that says its number all over."""
    return Outgoing(number.to_bytes(8, "little") * (nbytes // 8))


def number_of(record: Record) -> int:
    """The number of a message, which must be whole."""
    body = bytes(record.payload)
    assert body == body[:8] * (len(body) // 8), "torn"
    return int.from_bytes(body[:8], "little")


@dataclass
class Edge:
    """Both ends of a channel, and what they are made of. Each end maps the ring for itself, as two processes do."""

    owner: Owner
    family: str
    ring: Ring
    pool: SlabPool
    sender: Any
    receiver: Any
    here: Doorbell
    there: Doorbell
    options: EdgeOptions
    kinds: tuple[type[SendEnd], type[ReceiveEnd]]

    def another_sender(self) -> Any:
        """A writer that goes on after a crash of the first, with what that had."""
        self.pool = SlabPool(self.family)
        self.pool.adopt()
        self.sender = self.kinds[0](Ring(self.ring.segment), self.pool, self.here, self.there, self.options)
        return self.sender

    def another_receiver(self) -> Any:
        """A reader that goes on after a crash of the first."""
        self.receiver = self.kinds[1](
            Ring(self.ring.segment), ArenaMap(self.family), self.there, self.here, self.options
        )
        return self.receiver

    def pass_on(self, number: int, nbytes: int = 8) -> Record:
        """Send, receive and acknowledge a message."""
        self.sender.send_nowait(message(number, nbytes))
        record = self.receiver.receive_nowait()
        self.receiver.acknowledge()
        return record


@contextlib.contextmanager
def open_edge(
    capacity: int = 4,
    policy: Policy = Policy.BLOCK,
    *,
    kinds: tuple[type[SendEnd], type[ReceiveEnd]] = (SendEnd, ReceiveEnd),
    bell: type[Doorbell] = Doorbell,
    inline: int = INLINE,
    growth: int = 0,
    **options: Any,
) -> Iterator[Edge]:
    """An edge with shared memory of its own."""
    with Owner("a test") as owner, bell.create() as here, bell.create() as there:
        geometry = Geometry(capacity, inline, policy, growth)
        family = owner.family("a0")
        pool = SlabPool(family)
        segment = owner.create("r0", geometry.segment_bytes, what="a test", reserve=geometry.reserve_bytes)
        ring = Ring.format(segment, geometry)
        said = EdgeOptions(name="a -> b", **options)
        edge = Edge(
            owner,
            family,
            ring,
            pool,
            kinds[0](ring, pool, here, there, said),
            kinds[1](Ring(ring.segment), ArenaMap(family), there, here, said),
            here,
            there,
            said,
            kinds,
        )
        yield edge
        edge.pool.close()
        pool.close()


def as_if_killed(receiver: ReceiveEnd) -> None:
    """What a SIGKILL does to a reader's views: they are gone, and nobody releases them."""
    for leased in receiver._leases._live.values():
        leased.pid = -1
    receiver._held.clear()
    gc.collect(0)


@contextlib.contextmanager
def forked(child: Callable[[], object]) -> Iterator[int]:
    """A process that runs a function, and is expected to do so without an error or to be killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # trio keeps some threads
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    try:
        yield pid
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
        os.waitpid(pid, 0)
        raise
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in {0, -9}


class Diary:
    """Everything that happens to shared memory, in order: `("store", "HEAD", 1)`, `("load", "ACK")`, `("fence",)`."""

    def __init__(self, monkeypatch: Any) -> None:
        self.lines: list[tuple[Any, ...]] = []
        self.before_load: Callable[[str], None] | None = None

        class Lock:
            def acquire(lock) -> bool:  # noqa: N805
                self.lines.append(("fence",))
                return True

        def stores() -> None:
            self.lines.append(("fence stores",))

        monkeypatch.setattr(channel, "fresh_lock", Lock)
        for room in (channel, dropping):
            monkeypatch.setattr(room, "fence", lambda: Lock().acquire())
        for room in (dropping, reading, writing, lease):
            monkeypatch.setattr(room, "fence_stores", stores)

    def words(self, words: memoryview, names: Callable[[int], str]) -> RecordingWords:
        return RecordingWords(words, names, self)

    def watch(self, end: Any) -> None:
        """Let one end write into this diary whatever it does to the words of its ring and to its bells."""
        words = self.words(end._words, name_of)
        end._words = words
        ring = end.ring
        for holder in ("_words", "words"):
            if hasattr(ring, holder):
                setattr(ring, holder, words)
        ring.ring.words = words
        end._peer_bell.ring = lambda: self.lines.append(("ring",))

    def since(self, act: Callable[[], object]) -> list[tuple[Any, ...]]:
        """What an action adds."""
        before = len(self.lines)
        act()
        return self.lines[before:]

    def note(self, *line: Any) -> None:
        self.lines.append(line)


class RecordingWords:
    """Stands in for the words of a ring."""

    def __init__(self, words: memoryview, names: Callable[[int], str], diary: Diary) -> None:
        assert words.format == "Q", "shared words are aligned u64"
        self.real, self._names, self._diary = words, names, diary

    def __getitem__(self, index: int) -> int:
        name = self._names(index)
        if self._diary.before_load is not None:
            self._diary.before_load(name)
        self._diary.note("load", name)
        return self.real[index]

    def __setitem__(self, index: int, value: int) -> None:
        self._diary.note("store", self._names(index), value)
        self.real[index] = value

    def __len__(self) -> int:
        return len(self.real)


_NAMES = {
    value: name
    for name, value in vars(Word).items()
    if isinstance(value, int) and name not in {"SENT_BYTES", "RECEIVED"}
}


def name_of(index: int) -> str:
    """The name of a word; of the pairs, `SENT_BYTES` and `RECEIVED` stand for both."""
    for pair in ("SENT_BYTES", "RECEIVED"):
        if index - getattr(Word, pair) in {0, 1}:
            return pair
    return _NAMES[index]


def of(lines: list[tuple[Any, ...]], *kept: str) -> list[tuple[Any, ...]]:
    """The lines that are stores to, or loads of, these words, fences and rings, without values."""
    return [line[:2] for line in lines if line[0] in {"fence", "ring"} or line[1:2] and line[1] in kept]
