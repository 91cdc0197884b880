"""What becomes of a node whose process dies: the options of its restarts."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

__all__ = ["Delivery", "DeliveryMode", "Restarts"]


class DeliveryMode(enum.Enum):
    """What a crash of a worker means."""

    FAIL = "fail"
    """The run fails."""
    REPLAY = "replay"
    """Another worker goes on exactly where it was: each output is published once."""
    RESTART_FRESH = "restart_fresh"
    """Another worker begins anew; what the node knew of its inputs is lost, and counted."""


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often a worker may be restarted, and how soon.

    Attributes:
        max: restarts within the window; None: any number.
        window_s: the window, in seconds.
        backoff_s: before the second restart without progress; doubled for each one more, up to a limit, less up to a
            quarter of it by chance. The first restart after progress is at once.
        max_backoff_s: that limit.
    """

    max: int | None = 5
    window_s: float = 60.0
    backoff_s: float = 0.1
    max_backoff_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """What becomes of a node whose process dies.

    Attributes:
        mode: see `DeliveryMode`.
        snapshots: whether the node has `snapshot` and `restore`; else it is stateless, or begins anew.
        snapshot_every: inputs between two snapshots at most; None: as many as half of an edge holds.
        max_redeliveries: how often one datum that was in the node's hands when its process died is given to it again,
            before it is set aside or the run fails; None: any number of times.
        sets_aside: whether such a datum is set aside.
        restarts: how often at all.
    """

    mode: DeliveryMode = DeliveryMode.FAIL
    snapshots: bool = False
    snapshot_every: int | None = None
    max_redeliveries: int | None = 3
    sets_aside: bool = False
    restarts: Restarts = field(default_factory=Restarts)
