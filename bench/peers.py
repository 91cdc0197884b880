"""Child processes for the bare contestants: spawned, as forking a program of threads and trio is unsafe."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing import reduction
from types import TracebackType
from typing import Any, Self

__all__ = ["Fd", "Peer", "pipe"]

_spawn = multiprocessing.get_context("spawn")


class Fd:
    """A descriptor that can be an argument of a `Peer`."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Callable[..., Fd], tuple[Any, ...]]:
        return _adopt, (reduction.DupFd(self.number),)


def _adopt(inherited: Any) -> Fd:
    return Fd(inherited.detach())


class Peer:
    """A process that runs a function of an importable module, until it is killed."""

    def __init__(self, function: Callable[..., None], *arguments: object) -> None:
        self._process = _spawn.Process(target=function, args=arguments, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def finish(self, timeout_s: float = 10.0) -> None:
        """Let a function that was told to end do so; `close` follows."""
        self._process.join(timeout_s)

    def close(self) -> None:
        """Idempotent."""
        self._process.kill()
        self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def pipe(*, duplex: bool = True) -> Any:
    """Both ends of a `multiprocessing.Pipe`, which may be arguments of a `Peer`; one way it is (to read, to write)."""
    return _spawn.Pipe(duplex)
