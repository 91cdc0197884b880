"""What every test gets: `async def` tests run in trio, and a test that leaves something behind fails by name."""

from __future__ import annotations

import functools
import gc
import inspect
import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker

import hypothesis  # noqa: F401 - it looks for referrers when it is imported, and finds none after gc.freeze()
import psutil
import pytest
import trio

ASYNC_DEADLINE_S = 40.0
SETTLING_S = 5.0
"""How long what a test started may take to go: zombies, lingering threads, pipes that a dying process held."""
LINGERING = ("Trio thread",)
"""Threads that trio keeps for ten seconds, for the next `to_thread`."""
KEPT = ("/memfd:wasm-memory-image",)
"""Descriptors of compiled modules, which wasmtime's cache of this process keeps."""
PASSED = pytest.StashKey[bool]()
SHM = "/dev/shm"
SEGMENT = re.compile(r"pstk-([0-9a-f]{16})-.+")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The protocol's model is the same on every Python: tox explores it once."""
    for item in items:
        if item.path.name.startswith("test_model"):
            item.add_marker("model")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test in trio, with a deadline of its own: it names the test and leaves the session whole."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    test = functools.partial(pyfuncitem.obj, **{name: pyfuncitem.funcargs[name] for name in names})

    async def with_deadline() -> None:
        with trio.fail_after(ASYNC_DEADLINE_S):
            await test()

    trio.run(with_deadline)
    return True


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What this process holds that outlives a test."""

    children: frozenset[int]
    segments: frozenset[str]
    descriptors: Counter[str]
    threads: frozenset[threading.Thread]

    @classmethod
    def take(cls) -> Snapshot:
        return cls(
            frozenset(child.pid for child in psutil.Process().children(recursive=True)),
            frozenset(_listing(SHM)),
            _descriptors(),
            frozenset(thread for thread in threading.enumerate() if not thread.name.startswith(LINGERING)),
        )

    def leaks_since(self, before: Snapshot) -> list[str]:
        """What is here that was not there, each with its name."""
        return [
            *(f"process {_process(pid)}" for pid in self.children - before.children),
            *(f"segment {name}" for name in sorted(self.segments - before.segments) if _is_ours(name)),
            *(f"descriptor of {target}" for target in (self.descriptors - before.descriptors).elements()),
            *(f"thread {thread.name!r}" for thread in self.threads - before.threads),
        ]


@pytest.fixture(scope="session", autouse=True)
def _baseline() -> None:
    """Start the one process that stays, and keep what is imported out of every later collection."""
    resource_tracker.ensure_running()
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note how far a test came."""
    yield
    item.stash[PASSED] = True


@pytest.fixture(autouse=True)
def _no_leaks(_baseline: None, request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that leaves a process, a segment, a descriptor or a thread behind."""
    before = Snapshot.take()
    yield
    if not request.node.stash.get(PASSED, False):
        return  # its traceback keeps what its frames held
    request.node.funcargs.clear()  # the values of its fixtures
    gc.collect()
    deadline = time.monotonic() + SETTLING_S
    while leaks := Snapshot.take().leaks_since(before):
        if time.monotonic() > deadline:
            pytest.fail("this test left behind: " + "; ".join(leaks))
        time.sleep(0.01)
        gc.collect()  # a thread that a failed run left behind may have ended only now, and left a cycle


def _listing(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.startswith("pstk-")]
    except FileNotFoundError:
        return []


def _descriptors() -> Counter[str]:
    targets: Counter[str] = Counter()
    for fd in _numbers("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # the one that listed the folder
        if not target.startswith(KEPT):
            targets[target] += 1
    return targets


def _numbers(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:  # no such thing on this system: nothing is known, and nothing is accused
        return []


def _process(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return f"{pid} ({process.status()}): {' '.join(process.cmdline())}"
    except psutil.Error:
        return str(pid)


def _is_ours(name: str) -> bool:
    """Whether a new segment is to be blamed on this test: other sessions work in the same /dev/shm."""
    match = SEGMENT.fullmatch(name)
    if match is None:
        return True
    try:
        with open(f"{SHM}/pstk-{match[1]}-owner") as file:
            pid = int(json.load(file)["pid"])
    except (OSError, ValueError, KeyError):
        return True
    return pid == os.getpid() or not psutil.pid_exists(pid)
