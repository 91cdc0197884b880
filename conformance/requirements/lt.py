"""LT: latency."""

from __future__ import annotations

from penstock.conformance.requirements.model import Kind, Level, Requirement

__all__ = ["REQUIREMENTS"]

REQUIREMENTS = (
    Requirement(
        "R-LT-01",
        Level.MUST,
        "The overhead is measured and reported",
        basis="L498",
        kind=Kind.TIMING,
        how="report only",
        causes=("the calls fail under repetition",),
    ),
    Requirement(
        "R-LT-02",
        Level.SHOULD,
        "P95 of to_ipc + from_ipc is below 2 ms at 1024 f32 samples",
        basis="L498 D-37",
        kind=Kind.TIMING,
        how="best of 3 blocks; INCONCLUSIVE if host noise p99 > 0.5 ms",
        causes=(
            "a polling sleep (trio.sleep(100 us) takes 1.1 ms)",
            "pickling",
            "a new segment for each message",
        ),
    ),
    Requirement(
        "R-LT-03",
        Level.INFO,
        "Hop latency incl. worker; growth vs size",
        basis="NFR-003",
        kind=Kind.TIMING,
        causes=("a polling sleep in the hop",),
    ),
)
