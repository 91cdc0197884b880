"""An edge of which every load, store and fence is written down, and children that are killed when they hang."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from edges import INLINE, message, number_of

from penstock.shm import channel, dropping, lease, reading, writing
from penstock.shm.arena import Arena, ArenaMap
from penstock.shm.channel import EdgeOptions, ReceiveEnd, SendEnd
from penstock.shm.doorbell import Doorbell
from penstock.shm.owner import Owner
from penstock.shm.record import HEADER
from penstock.shm.ring import Geometry, Policy, Ring, Word
from penstock.shm.segment import Segment
from penstock.shm.slab import SlabPool

PAGE = 4096
POLICIES = pytest.mark.parametrize("policy", [Policy.BLOCK, Policy.DROP_OLDEST], ids=["keeps", "drops"])


@dataclass
class Edge:
    """Both ends of a channel, each with a mapping of its own, and a third for who watches."""

    ring: Ring
    sender: Any
    receiver: Any
    pool: SlabPool
    arenas: ArenaMap
    here: Doorbell
    there: Doorbell
    family: str
    options: EdgeOptions

    def pass_on(self, number: int = 7, nbytes: int = 8) -> None:
        """Send, receive and acknowledge a message."""
        self.sender.send_nowait(message(number, nbytes))
        assert number_of(self.receiver.receive_nowait()) == number
        self.receiver.acknowledge()


@contextlib.contextmanager
def open_edge(
    capacity: int = 4,
    policy: Policy = Policy.BLOCK,
    *,
    diary: Diary | None = None,
    kinds: tuple[type[SendEnd], type[ReceiveEnd]] = (SendEnd, ReceiveEnd),
    bell: type[Doorbell] = Doorbell,
    **options: Any,
) -> Iterator[Edge]:
    """An edge with shared memory of its own; with a diary, everything that its ends do is written there."""
    with Owner("a test") as owner, bell.create() as here, bell.create() as there:
        geometry = Geometry(capacity, INLINE, policy)
        family = owner.family("a0")
        pool, arenas = SlabPool(family), ArenaMap(family)
        segment = owner.create("r0", geometry.segment_bytes, what="a test")
        ring = Ring.format(segment, geometry)
        said = EdgeOptions(name="a -> b", **options)
        mine, its = Ring(segment), Ring(Segment.attach(segment.name))
        if diary is not None:
            diary.watch_ring(mine, "writer")
            diary.watch_ring(its, "reader")
            here.ring = lambda: diary.note("ring", "writer")  # type: ignore[method-assign]
            there.ring = lambda: diary.note("ring", "reader")  # type: ignore[method-assign]
        edge = Edge(
            ring,
            kinds[0](mine, pool, here, there, said),
            kinds[1](its, arenas, there, here, said),
            pool,
            arenas,
            here,
            there,
            family,
            said,
        )
        yield edge
        pool.close()


@contextlib.contextmanager
def forked(child: Callable[[], object], *, deadline_s: float = 30.0) -> Iterator[int]:
    """A process that runs a function; it must end well, or have been killed, within the deadline."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        finally:
            os._exit(code)
    try:
        yield pid
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            assert os.waitstatus_to_exitcode(status) in {0, -signal.SIGKILL}
            return
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    pytest.fail(f"a child hung for {deadline_s:g} s")


class Diary:
    """Everything that happens to shared memory, in order: `("store", "HEAD")`, `("load", "ACK")`, `("fence",)`.

    Attributes:
        lines: what has happened.
        stored_by: the words that each side has stored.
        before: called with each line before it happens, so that a test can act for the other side there.
    """

    def __init__(self, monkeypatch: Any) -> None:
        self.lines: list[tuple[str, ...]] = []
        self.stored_by: dict[str, set[str]] = {"writer": set(), "reader": set()}
        self.before: Callable[[tuple[str, ...]], None] | None = None
        diary = self

        class Lock:
            @staticmethod
            def acquire() -> bool:
                diary.note("fence")
                return True

        monkeypatch.setattr(channel, "fresh_lock", Lock)
        for room in (channel, dropping):
            monkeypatch.setattr(room, "fence", Lock.acquire)
        for room in (dropping, reading, writing, lease):
            monkeypatch.setattr(room, "fence_stores", lambda: diary.note("fence stores"))
        for room in (reading, writing):
            monkeypatch.setattr(room, "HEADER", _RecordingHeader())

    def watch_ring(self, ring: Ring, side: str) -> None:
        """Before an end is made of it: what the end does to this ring is written down."""
        assert ring.words.format == ring.index.format == "Q", "shared words are aligned u64"
        slots_at = ring.places[0]
        ring.words = _Words(ring.words, name_of, self, side)
        ring.index = _Words(ring.index, lambda _: "index", self, side)
        ring.view = _Bytes(ring.view, lambda _: "slot", self, first=slots_at)

    def watch_arena(self, arena: Arena) -> None:
        """What is done through this mapping of an arena is written down."""
        assert arena.words.format == "Q", "shared words are aligned u64"
        arena.words = _Words(arena.words, _arena_word, self, None)
        arena.view = _Bytes(arena.view, lambda at: "slab" if at >= arena.data_at else "byte", self, first=PAGE)

    def note(self, *line: str) -> None:
        if self.before is not None:
            self.before(line)
        self.lines.append(line)

    def of(self, act: Callable[[], object]) -> list[str]:
        """What an action does."""
        begin = len(self.lines)
        act()
        return [" ".join(line) for line in self.lines[begin:]]


class _Words:
    """Stands in for the words of a ring or an arena."""

    def __init__(self, real: Any, name: Callable[[int], str], diary: Diary, side: str | None) -> None:
        self.real, self._name, self._diary, self._side = real, name, diary, side

    def __getitem__(self, index: Any) -> Any:
        self._diary.note("load", self._name(index))
        return self.real[index]

    def __setitem__(self, index: Any, value: int) -> None:
        name = self._name(index)
        if self._side is not None:
            self._diary.stored_by[self._side].add(name)
        self._diary.note("store", name)
        self.real[index] = value

    def __len__(self) -> int:
        return len(self.real)


class _Bytes:
    """Stands in for the bytes of a segment; below `first` there is nothing but words."""

    def __init__(self, real: Any, name: Callable[[int], str], diary: Diary, *, first: int) -> None:
        self.real, self._name, self._diary, self._first = real, name, diary, first

    def at(self, verb: str, at: Any, what: str | None = None) -> None:
        begin = at.start if isinstance(at, slice) else at
        assert begin >= self._first, f"bytes at {begin} {verb}: published words are accessed as u64 only"
        self._diary.note(verb, what or self._name(begin))

    def __getitem__(self, at: Any) -> Any:
        self.at("load", at)
        return self.real[at]

    def __setitem__(self, at: Any, value: Any) -> None:
        self.at("store", at)
        self.real[at] = value

    def __len__(self) -> int:
        return len(self.real)


class _RecordingHeader:
    """Stands in for `record.HEADER`."""

    @staticmethod
    def pack_into(view: Any, at: int, *fields: Any) -> None:
        if isinstance(view, _Bytes):
            view.at("store", at, "header")
        HEADER.pack_into(getattr(view, "real", view), at, *fields)

    @staticmethod
    def unpack_from(view: Any, at: int) -> tuple[Any, ...]:
        if isinstance(view, _Bytes):
            view.at("load", at, "header")
        return HEADER.unpack_from(getattr(view, "real", view), at)


_PAIRS = ("SENT_BYTES", "RECEIVED", "DISCARDED")
_NAMES = {value: name for name, value in vars(Word).items() if isinstance(value, int) and name not in _PAIRS}


def name_of(index: int) -> str:
    """The name of a word of a ring; each pair of words has one name."""
    for pair in _PAIRS:
        if index - getattr(Word, pair) in {0, 1}:
            return pair
    return _NAMES[index] if index <= Word.GROWN_AT else "GROWN_AT"


def _arena_word(index: int) -> str:
    within = (index * 8 - PAGE) % 128
    return "sequence" if within >= 64 else {0: "byte"}[within]
