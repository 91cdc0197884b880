"""One process that sends to one or more others that receive, whoever carries the messages.

A rival brings two classes. Both are made in the process where they work, sender first, and have one call each.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from bench.peers import Peer, pipe
from bench.placing import pin
from bench.timed import Timed

__all__ = ["Flow", "Flowing", "Link", "Receiver", "Rival", "Sender", "fresh_folder", "installed"]


@dataclass(frozen=True, slots=True)
class Link:
    """What both sides know."""

    folder: str
    """A fresh folder, for sockets and the like; its last part is a name that nobody else has."""
    nbytes: int
    receivers: int = 1
    fresh: bool = False
    """Every message is to be written anew, into shared memory where there is such a way; else given ones are copied."""
    index: int = 0
    """Which receiver this is."""


class Sender(Protocol):
    def send(self, count: int) -> None:
        """Messages 0 to `count` to every receiver, waiting while there is no room. None may be lost."""

    def close(self) -> None: ...


class Receiver(Protocol):
    def receive(self, numbers: Iterable[int]) -> None:
        """One message for each number, which is to be checked whole (`payload.check`) and let go."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Rival:
    """A way to join processes."""

    name: str
    package: str
    sender: Callable[[Link], Sender]
    receiver: Callable[[Link], Receiver]


class Flowing(Protocol):
    """What `bench.channels.Channels` is, for anybody."""

    def place(self, sender: int | None, receivers: int | None) -> None: ...
    def rate_hz(self, count: int) -> float: ...


class Flow(ExitStack):
    """The processes of a rival, started once; leaving it lets them clean up."""

    def __init__(self, rival: Rival, nbytes: int, receivers: int = 1, *, fresh: bool = False) -> None:
        super().__init__()
        link = Link(fresh_folder(self), nbytes, receivers, fresh)
        self._orders, orders = pipe()
        self._sender = self._start(self._orders, _send, orders, rival.sender, link)
        self._answers: list[Any] = []
        self._receivers: list[Peer] = []
        for index in range(receivers):
            ours, theirs = pipe()
            mine = replace(link, index=index)
            self._receivers.append(self._start(ours, _receive, theirs, rival.receiver, mine))
            self._answers.append(ours)

    def place(self, sender: int | None, receivers: int | None) -> None:
        pin(self._sender.pid, sender)
        for peer in self._receivers:
            pin(peer.pid, receivers)

    def rate_hz(self, count: int) -> float:
        """Send `count` messages at full speed; those after the first tenth are timed, at the slowest receiver."""
        for answers in self._answers:
            answers.send(count)
        self._orders.send(count)
        return min(float(answers.recv()) for answers in self._answers)

    def _start(self, ours: Any, function: Callable[..., None], theirs: Any, *what: object) -> Peer:
        peer = self.enter_context(Peer(function, theirs, *what))
        theirs.close()  # so that its death is heard as the end of the pipe
        self.callback(peer.finish)
        self.callback(ours.send, 0)
        ours.recv()  # it is ready
        return peer


def fresh_folder(stack: ExitStack | AsyncExitStack) -> str:
    """A folder that goes with the stack, and so does what in shared memory bears its name."""
    folder = tempfile.mkdtemp(prefix="penb")
    stack.callback(_remove, folder)
    return folder


def _remove(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for left in Path("/dev/shm").glob(f"{Path(folder).name}_*"):
        left.unlink(missing_ok=True)


def installed(package: str) -> str | None:
    """The version of a distribution; without one, None and a line that says so."""
    try:
        return version(package)
    except PackageNotFoundError:
        print(f"{package} is not installed: left out", file=sys.stderr)
        return None


def _send(orders: Any, make: Callable[[Link], Sender], link: Link) -> None:
    sender = make(link)
    orders.send("ready")
    while count := orders.recv():
        sender.send(count)
    sender.close()


def _receive(answers: Any, make: Callable[[Link], Receiver], link: Link) -> None:
    receiver = make(link)
    answers.send("ready")
    while count := answers.recv():
        timed = Timed(count)
        receiver.receive(timed)
        answers.send(timed.rate_hz)
    receiver.close()
