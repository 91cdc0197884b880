"""The ledger of what this process and its children hold: taken before and after, compared with patience."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import threading
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import psutil
import trio

from penstock.conformance import auditing, evidence
from penstock.conformance.evidence import Inode

__all__ = ["Ledger", "Seen", "settled"]

_LINGERING = ("Trio thread", "conformance ", "asyncio_", "pytest_timeout", "waitpid-")
"""Threads that trio and asyncio keep for the next use, and the suite's own."""


class Seen:
    """Processes and segments that were ever seen as ours while a check ran."""

    def __init__(self) -> None:
        self.inodes: set[Inode] = set()
        self.pids: set[int] = {os.getpid()}
        auditing.begin()

    def look(self, daemons: Collection[str] = ()) -> None:
        """Remember what our tree has mapped now."""
        tree = {os.getpid()} | {pid for pid, _ in evidence.descendants(daemons)}
        self.pids |= tree
        for pid in tree:
            self.inodes |= {mapping.inode for mapping in evidence.shared_mappings(pid)}

    def as_ours(self, name: str, inode: Inode) -> bool:
        """Whether a segment was mapped or opened by one of us, or has the pid of one of us in its name."""
        words = set(re.split(r"[^0-9A-Za-z]+", name))
        return inode in self.inodes or auditing.is_ours(name, inode) or any(str(pid) in words for pid in self.pids)


@dataclass(frozen=True, slots=True)
class Ledger:
    """A snapshot."""

    processes: dict[tuple[int, float], psutil.Process]
    mapped: frozenset[Inode]
    names: dict[str, Inode]
    sysv: dict[int, int]
    descriptors: Counter[str]
    threads: frozenset[threading.Thread]
    tasks: int

    @classmethod
    def take(cls, tasks: int | None = None, daemons: Collection[str] = ()) -> Ledger:
        gc.collect()
        gc.collect()
        return cls(
            evidence.descendants(daemons),
            frozenset(mapping.inode for mapping in evidence.shared_mappings(os.getpid())),
            evidence.names_in_shm(),
            evidence.sysv_segments(),
            _descriptors(),
            frozenset(thread for thread in threading.enumerate() if not thread.name.startswith(_LINGERING)),
            tasks or 0,
        )

    def counts(self) -> dict[str, int]:
        """How much of each there is."""
        return {
            "processes": len(self.processes),
            "shared mappings": len(self.mapped),
            "descriptors": self.descriptors.total(),
            "threads": len(self.threads),
            "tasks": self.tasks,
        }

    def left(self, before: Ledger, seen: Seen) -> dict[str, list[str]]:
        """What is here that was not there before, in words, by kind; foreign segments are left out."""
        return {
            "process": [
                f"pid {pid} ({evidence.process_words(process)})"
                for (pid, created), process in self.processes.items()
                if (pid, created) not in before.processes
            ],
            "memory": self._memory(before, seen),
            "descriptor": [str(name) for name in (self.descriptors - before.descriptors).elements()],
            "thread": [f"thread {thread.name!r}" for thread in self.threads - before.threads],
            "task": [f"{self.tasks - before.tasks} tasks"] if self.tasks > before.tasks else [],
        }

    def _memory(self, before: Ledger, seen: Seen) -> list[str]:
        new = {name: inode for name, inode in self.names.items() if before.names.get(name) != inode}
        found = [f"{evidence.SHM}/{name}" for name, inode in new.items() if seen.as_ours(name, inode)]
        found += [f"mapping of {device} inode {inode}" for device, inode in self.mapped - before.mapped]
        return found + [
            f"SysV segment {number}"
            for number, maker in self.sysv.items()
            if number not in before.sysv and maker in seen.pids
        ]


def _descriptors() -> Counter[str]:
    targets: Counter[str] = Counter()
    with contextlib.suppress(OSError):
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                targets[os.readlink(f"/proc/self/fd/{fd}")] += 1
    targets.pop(f"/proc/{os.getpid()}/fd", None)
    return targets


async def settled(
    before: Ledger,
    seen: Seen,
    kinds: Collection[str],
    bound_s: float,
    tasks: object = None,
    daemons: Collection[str] = (),
) -> dict[str, list[str]]:
    """Wait until nothing of these kinds is left, or the bound has passed; what is left then."""
    deadline = trio.current_time() + bound_s
    while True:
        count = await tasks() if callable(tasks) else None
        left = Ledger.take(count, daemons).left(before, seen)
        remaining = {kind: items for kind, items in left.items() if kind in kinds and items}
        if not remaining or trio.current_time() > deadline:
            return remaining
        await trio.sleep(0.02)
