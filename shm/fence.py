"""Memory ordering: the one place that reasons about it.

Shared words are aligned u64, stored and loaded through `memoryview.cast("Q")` by one 8-byte move each (struct.pack_into
zero-fills first and is never used on a published word). Every word has one writer.

x86-64 (TSO) keeps stores in order and loads in order, so a payload stored before HEAD is seen before HEAD. The one
reordering is a load that overtakes an earlier store of the same processor. It matters where each side stores a word
and then looks at the other's, as going to sleep does:

    writer: HEAD = n;  fence;  if READER_WAITING: ring
    reader: READER_WAITING = 1;  fence;  if HEAD > next: do not sleep

Without either fence both may read the old value, and the reader sleeps on a full ring (seen in 64 to 163 of a million
rounds; tests/model finds it in the protocol). `fence()` takes a fresh lock, whose compare-and-swap is a full barrier.
The lock is fresh because a weak-reference callback may run, and fence, in the middle of any other fence.

Other machines: stores may be seen out of order. There every publication rings (`WEAK_ORDER`), as the kernel's own
locks order what stands before a ring and after a drain, and a publication is fenced on both sides. Reasoned, not
measured: no such machine was at hand.
"""

from __future__ import annotations

import _thread
import platform
from typing import Final

__all__ = ["WEAK_ORDER", "fence", "fence_stores", "fresh_lock"]

WEAK_ORDER: Final = platform.machine().lower() not in {"x86_64", "amd64", "i386", "i686"}
"""Whether stores may be seen out of order: then publications are fenced, and ring the peer even when it does not say
that it waits. A constant, and not a function that does nothing, where a call would cost more than it orders."""

fresh_lock: Final = _thread.allocate_lock
"""`fresh_lock().acquire()` is `fence()` without the call, for the two places that do it for every message."""


def fence() -> None:
    """Make every store before it visible before any load after it."""
    fresh_lock().acquire()


def fence_stores() -> None:
    """Order the payload's stores before the one that publishes it, and a load of that word before the payload's loads.

    One lock lets later accesses move up and earlier ones move down into it; behind two they can not meet. Under TSO
    there is nothing to order.
    """
    if WEAK_ORDER:
        fence()
        fence()
