"""What the engine tells a worker while it runs, looked at between two data: orders, and interrupts.

An order is a line over the control socket. A word of the worker's page, ATTENTION, grows with each thing to be told, so
a loop that has nothing to obey pays for one look at it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from penstock.executors.contract import NodeExecution
from penstock.executors.multiprocess.page import PageWord

__all__ = ["Orders"]


class Orders:
    """What was told and not heard yet.

    Attributes:
        attention: what ATTENTION was at the last look.
    """

    def __init__(self, words: memoryview, read_line: Callable[[], bytes], say: Callable[..., None]) -> None:
        """Begin with what was told last.

        Args:
            words: of the page.
            read_line: the next line of the engine.
            say: tells the engine something.
        """
        self._words = words
        self._read_line = read_line
        self._say = say
        self._heard = 0
        self.attention: int = 0

    def look(self) -> None:
        """What comes from here on is news."""
        self.attention = self._words[PageWord.ATTENTION]

    def lines(self) -> Iterator[Mapping[str, Any]]:
        """The orders that have come; each is to be `obeyed`, or `refused`."""
        while self._heard < self._words[PageWord.ORDERS]:
            line = self._read_line()
            if not line:
                return  # the engine is gone, and so will this process be
            self._heard += 1
            yield json.loads(line)

    def obeyed(self, order: Mapping[str, Any]) -> None:
        self._say("obeyed", id=order["id"])

    def refused(self, order: Mapping[str, Any], error: NodeExecution) -> None:
        said = {"message": error.message, "kind": error.kind, "location": error.location, "details": error.details}
        self._say("refused", id=order["id"], **said)

    @property
    def is_interrupted(self) -> bool:
        """Whether there was an interrupt that the node, or its predecessor, does not know of."""
        return bool(self._words[PageWord.INTERRUPTS] != self._words[PageWord.INTERRUPTS_HEARD])

    def interrupt_heard(self) -> None:
        """The node knows of every interrupt so far."""
        self._words[PageWord.INTERRUPTS_HEARD] = self._words[PageWord.INTERRUPTS]
