"""Where the figures of a report come from: rings and pages in shared memory, edges and tasks of this process."""

from __future__ import annotations

from typing import Any

from penstock.engine.assembly import Assembly
from penstock.engine.plan import PlannedEdge, PlannedNode, PlannedPort
from penstock.engine.report import EdgeReport, NodeReport
from penstock.executors.histogram import Histogram, percentiles
from penstock.executors.multiprocess.lives import Worker
from penstock.executors.multiprocess.page import PageWord
from penstock.executors.multiprocess.replicas import Replicas

__all__ = ["edge_report", "node_report"]


def node_report(assembly: Assembly, node: PlannedNode, flowing_s: float) -> NodeReport:
    """What a node has done in the time since data began to flow."""
    worker = assembly.workers.get(node.node_id)
    work = _work_of_task(assembly, node) if worker is None else _work_of_worker(assembly, worker)
    busy_s = work["busy_s"]
    return NodeReport(
        node_id=node.node_id,
        node_type=node.type_name,
        executor=node.executor.value.lower(),
        busy_share=busy_s / flowing_s / node.replicas if flowing_s > 0 else None,
        **work,
    )


def edge_report(assembly: Assembly, edge: PlannedEdge, grown_from: int | None) -> EdgeReport:
    """The ledger of an edge."""
    statistics = assembly.statistics(edge)
    unread = assembly.outputs[edge.target.name].unread if isinstance(edge.target, PlannedPort) else 0
    return EdgeReport(
        edge.name,
        "ring" if edge.shared else "channel",
        statistics.capacity,
        statistics.sent,
        statistics.received - unread,
        statistics.dropped,
        statistics.in_flight + unread,
        statistics.sent_bytes,
        grown_from,
    )


def _work_of_task(assembly: Assembly, node: PlannedNode) -> dict[str, Any]:
    task = assembly.tasks[node.node_id]
    queueing = [assembly.receivers[edge].queueing for edge in node.edges_in]
    return {
        "pid": 0,
        "processed": task.processed,
        "busy_s": task.busy_ns / 1e9,
        "peak_rss_kib": None,
        "errors": task.faults.errors,
        "dead_letters": task.faults.dead_letters,
        "longest_hold_ms": task.longest_hold_ns / 1e6,
        **_times([task.processing], queueing),
    }


def _work_of_worker(assembly: Assembly, worker: Worker | Replicas) -> dict[str, Any]:
    """From its page, which says it while it works, and when it is dead; of replicas, from all of theirs."""
    counters, lives, pages = worker.counters, worker.lives, [one.page for one in worker.each]
    return {
        "pid": worker.pid,
        "processed": sum(page.words[PageWord.PROCESSED] for page in pages),
        "busy_s": sum(page.words[PageWord.BUSY_NS] for page in pages) / 1e9,
        "peak_rss_kib": counters.max_rss_kib if counters.why else None,
        "restarts": lives.restarts,
        "redelivered": lives.redelivered,
        "state_lost": lives.state_lost,
        "errors": worker.errors,
        "dead_letters": assembly.faults[worker.node_id].dead_letters,
        "pids": tuple(one.pid for one in worker.each) if len(worker.each) > 1 else (),
        **_times([page.processing for page in pages], [page.queueing for page in pages]),
    }


def _times(processing: list[Histogram], queueing: list[Histogram]) -> dict[str, float | None]:
    p50, p95, p99 = percentiles(processing, (0.5, 0.95, 0.99))
    queue_p50, queue_p99 = percentiles(queueing, (0.5, 0.99))
    return {"p50_us": p50, "p95_us": p95, "p99_us": p99, "queue_p50_us": queue_p50, "queue_p99_us": queue_p99}
