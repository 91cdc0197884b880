"""What can go wrong between two processes, named by who is to blame."""

from __future__ import annotations

__all__ = [
    "ChannelClosed",
    "CorruptSegment",
    "EdgeFull",
    "EndOfChannel",
    "GrowthRefused",
    "Interrupted",
    "OutOfSharedMemory",
    "PeerLost",
    "SendTimeout",
    "SharedMemoryError",
    "UnknownReference",
    "WouldBlock",
]


class SharedMemoryError(Exception):
    """Base of the errors of this layer."""


class WouldBlock(SharedMemoryError):
    """A `_nowait` call would have had to wait: no room, or nothing there."""


class ChannelClosed(SharedMemoryError):
    """*Your* side of the channel was ended or closed before this call."""


class EndOfChannel(SharedMemoryError):
    """The writer has ended the channel and everything was received. Not a fault: the end."""


class PeerLost(SharedMemoryError):
    """The process on the other side is gone."""


class SendTimeout(SharedMemoryError):
    """The other side made no room in time."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no room within {timeout_s:g} s")
        self.timeout_s = timeout_s


class EdgeFull(SharedMemoryError):
    """There is no room, and the edge's policy is not to wait for any; the text says how full it is, and the remedy."""

    def __init__(self, in_flight: int, capacity: int, in_flight_bytes: int, max_bytes: int, nbytes: int) -> None:
        super().__init__(
            f"no room: {in_flight} of {capacity} data and {in_flight_bytes} of {max_bytes} bytes are in flight, and "
            f"{nbytes} bytes were to follow; give it a larger capacity or max_bytes, or a policy that waits (block) "
            "or drops"
        )


class GrowthRefused(SharedMemoryError):
    """The edge holds as much as it may already."""

    def __init__(self, capacity: int) -> None:
        super().__init__(f"it may not grow beyond {capacity} data")


class Interrupted(SharedMemoryError):
    """The process was told to stop while it waited."""


class CorruptSegment(SharedMemoryError):
    """What stands in shared memory makes no sense: the peer, or somebody else, wrote over it."""


class UnknownReference(SharedMemoryError):
    """Nothing can be redeemed by this reference: it never was one, was redeemed, or its owner is gone."""


class OutOfSharedMemory(SharedMemoryError):
    """The machine has not enough shared memory; the text says how much is needed, how much there is, and the remedy."""

    def __init__(self, what: str, needed_bytes: int, available_bytes: int | None) -> None:
        available = "an unknown amount is" if available_bytes is None else f"{_size(available_bytes)} is"
        super().__init__(
            f"{what} needs {_size(needed_bytes)} of shared memory, {available} free in /dev/shm; "
            "give it more (docker run --shm-size=..., or mount -o remount,size=... /dev/shm), "
            "lower the capacity of edges, or remove leftovers with `penstock clean`"
        )
        self.needed_bytes = needed_bytes
        self.available_bytes = available_bytes


def _size(count: int) -> str:
    return f"{count / 2**20:.2f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
