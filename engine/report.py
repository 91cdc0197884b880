"""What a run has done: an exact ledger of every edge, and the work of every node."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from penstock.engine.stall import Stall

__all__ = ["EdgeReport", "NodeReport", "Report"]


@dataclass(frozen=True, slots=True)
class EdgeReport:
    """The ledger of an edge: sent = received + dropped + in flight, exactly."""

    name: str
    kind: str
    """`channel` inside the engine's process, `ring` across a border."""
    capacity: int
    """What it holds, as it has grown."""
    sent: int
    received: int
    """Data that their node is done with."""
    dropped: int
    in_flight: int
    """Data that were sent and are not done with; 0 after a run that came to its end."""
    sent_bytes: int
    grown_from: int | None = None
    """Its capacity at the start, where it has grown since, as nodes waited for each other."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """The work of a node."""

    node_id: str
    node_type: str
    executor: str
    pid: int
    processed: int | None
    """Data given to it (by a source: made by it); None when its worker died before it could say."""
    busy_s: float | None
    """Time in the node's own code."""
    peak_rss_kib: int | None
    """Largest memory of its worker; None for a node of this process."""
    restarts: int = 0
    """Processes that took the place of one that had crashed. `processed` and `busy_s` are of the last one."""
    redelivered: int = 0
    """Data that were in the node's hands when its process died, and were given to it again."""
    state_lost: int = 0
    """Inputs that it was given and knows nothing of any more (`delivery: restart_fresh`)."""
    set_aside: int = 0
    """Data that were not given to it again."""
    errors: int = 0
    """Data that it failed on, which did not fail the run (`on_error`)."""
    dead_letters: int = 0
    """Those that were set aside."""
    pids: tuple[int, ...] = ()
    """Of all its replicas, where it has several: everything else is the sum of theirs, and `pid` the first one's."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has done, or has done so far."""

    name: str
    outcome: str
    """`running`, `completed`, `stopped` (and drained), `aborted` (stopped with data in flight), or `failed`."""
    duration_s: float
    nodes: tuple[NodeReport, ...]
    edges: tuple[EdgeReport, ...]
    error: str | None = None
    stalls: tuple[Stall, ...] = ()
    """Edges on which nothing has moved for some time."""

    def to_json(self) -> dict[str, Any]:
        """As plain data for `json.dumps`."""
        return asdict(self)
