"""A gate for calls from outside: they wait until they are done, or until it is shut; then they raise what shut it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from penstock.executors.contract import ServiceError

__all__ = ["Gate"]


class Gate:
    """Shut once, with an error."""

    def __init__(self) -> None:
        self.error: ServiceError | None = None
        self._scopes: set[trio.CancelScope] = set()

    def shut(self, error: ServiceError) -> None:
        """Nothing passes any more. The first error is the one that is told."""
        if self.error is None:
            self.error = error
            for scope in self._scopes:
                scope.cancel()

    @property
    def is_shut(self) -> bool:
        return self.error is not None

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a call that waits.

        A run that fails shuts its gates and then cancels the block that it is open in: who waits here, in the block or
        elsewhere, is told the failure.
        """
        self.check()
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                yield
            except trio.Cancelled:
                if scope.cancel_called:
                    self.check()
                raise
            finally:
                self._scopes.discard(scope)
