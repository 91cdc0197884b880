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
    processed: int
    """Data given to it (by a source: made by it); by all its workers, one after the other."""
    busy_s: float
    """Time in the node's own code, of those that are done."""
    peak_rss_kib: int | None
    """Largest memory of its worker; None for a node of this process, and when its worker died before it could say."""
    restarts: int = 0
    """Processes that took the place of one that had crashed."""
    redelivered: int = 0
    """Data that were in the node's hands when its process died, and were given to it again."""
    state_lost: int = 0
    """Inputs that it was given and knows nothing of any more (`delivery: restart_fresh`)."""
    errors: int = 0
    """Data that it failed on, which did not fail the run (`on_error`)."""
    dead_letters: int = 0
    """Those that were set aside."""
    p50_us: float | None = None
    """Half of its calls took less, without their waits for room. None for a source, and before the first call."""
    p95_us: float | None = None
    p99_us: float | None = None
    queue_p50_us: float | None = None
    """Half of its data were younger than this, since they were sent, when the node got them."""
    queue_p99_us: float | None = None
    busy_share: float | None = None
    """Of the time since data began to flow; of a source, which may wait for its device, with those waits."""
    longest_hold_ms: float | None = None
    """For how long it held the loop of this process at most; None for a worker."""
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
    loop_lag_ms_max: float = 0.0
    """For how long the loop of this process did not look for what had become ready, at most, since data flow."""

    @property
    def holds_loop(self) -> NodeReport | None:
        """The node that has held the loop of this process for longest."""
        native = [node for node in self.nodes if node.longest_hold_ms]
        return max(native, key=lambda node: node.longest_hold_ms or 0.0, default=None)

    def to_json(self) -> dict[str, Any]:
        """As plain data for `json.dumps`."""
        return asdict(self)
