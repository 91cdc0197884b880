"""One edge in several rings (see `splitting` and `merging`), for a trio program."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from penstock.shm.merging import Merger
from penstock.shm.record import Outgoing, Record
from penstock.shm.ring import Ring
from penstock.shm.splitting import Splitter
from penstock.shm.trio_channel import TrioReceiver, TrioReceiving, TrioSender

__all__ = ["TrioMerger", "TrioSplitter"]


class TrioSplitter(Splitter[TrioSender]):
    """A `Splitter` of a trio program. One task sends at a time."""

    async def send(self, message: Outgoing) -> None:
        """Publish a message, waiting for room in its ring (see `TrioSender.send`). Cancelled, it has sent nothing."""
        await self.next.send(message)
        self.pass_on()

    async def wait_for_room(self, nbytes: int) -> None:
        """Wait until a message of this size could be sent (see `TrioSender.wait_for_room`)."""
        await self.next.wait_for_room(nbytes)


class TrioMerger(Merger[TrioReceiver], TrioReceiving):
    """A `Merger` of a trio program, which may take several records before it acknowledges the first."""

    def __init__(self, receivers: Sequence[TrioReceiver], inputs: Sequence[Ring]) -> None:
        super().__init__(receivers, inputs)
        self._bell = self.receivers[0].bell
        self._unacknowledged: deque[TrioReceiver] = deque()

    def take(self) -> Record | None:
        record = super().take()
        if record is not None:
            self._unacknowledged.append(self.receivers[self.taken])
        return record

    def acknowledge(self) -> None:
        """The oldest record that was taken is done with."""
        self._unacknowledged.popleft().acknowledge()
