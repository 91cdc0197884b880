"""CL: closing a DataBridge."""

from __future__ import annotations

from penstock.conformance.requirements.model import Kind, Level, Requirement

__all__ = ["REQUIREMENTS"]

REQUIREMENTS = (
    Requirement(
        "R-CL-01",
        Level.MUST,
        "Data accepted before close are still delivered, in order; then comes the end",
        basis="L375 D-33",
        kind=Kind.DETERMINISTIC,
        how="fill 3, close, take 3",
        after=("R-BP-01",),
        causes=(
            "close clears the buffer",
            "the closed flag is looked at before the buffer",
        ),
    ),
    Requirement(
        "R-CL-02",
        Level.MUST,
        'After close both transfer calls raise "Bridge closed"',
        basis="L477 D-33",
        kind=Kind.DETERMINISTIC,
        after=("R-BP-01",),
        causes=(
            "no closed state",
            "another error",
            "only one of the two calls looks",
        ),
    ),
    Requirement(
        "R-CL-03",
        Level.MUST,
        "Close wakes blocked waiters with BridgeClosed",
        basis="L477 D-33 (Blocked→Closed)",
        kind=Kind.DETERMINISTIC,
        after=("R-BP-01",),
        causes=(
            "waiters are not woken",
            "they proceed into the closed bridge",
        ),
    ),
    Requirement(
        "R-CL-04",
        Level.MUST,
        "Close twice is fine",
        basis="D-33",
        kind=Kind.DETERMINISTIC,
        after=("R-BP-01",),
        causes=(
            "the second close raises",
            "it waits for a consumer that has gone",
        ),
    ),
    Requirement(
        "R-CL-05",
        Level.MUST,
        "Of transfers that race a close each completes and is delivered, or raises BridgeClosed; the counts add up",
        basis="D-32",
        kind=Kind.STOCHASTIC,
        how="50 seeded races",
        after=("R-BP-01",),
        causes=(
            "the closed flag is looked at before the wait and not after it",
            "accepted data are cleared",
        ),
    ),
    Requirement(
        "R-CL-06",
        Level.MUST,
        "Cancelled close still closes",
        basis="D-38",
        kind=Kind.DETERMINISTIC,
        needs="cancellation",
        after=("R-BP-01",),
        causes=("the first checkpoint of close comes before the state changes",),
    ),
    Requirement(
        "R-CL-07",
        Level.MUST,
        "When everything was taken the buffer is empty, and says so",
        basis="L377-379",
        kind=Kind.DETERMINISTIC,
        how="take → end",
        after=("R-BP-01",),
        causes=(
            "data appear twice",
            "receive on a drained bridge waits for ever",
        ),
    ),
    Requirement(
        "R-CL-08",
        Level.MUST,
        "Closing a DataBridge does not close the two executor bridges",
        basis="D-36",
        kind=Kind.DETERMINISTIC,
        how="execute on source afterwards",
        after=("R-BP-01",),
        causes=("close calls aclose() of its source and target",),
    ),
    Requirement(
        "R-CL-09",
        Level.MUST,
        "Close returns within 5 s also with a stuck consumer or a stopped worker",
        basis="SC-006",
        kind=Kind.TIMING,
        after=("R-BP-01",),
        causes=("close waits until the buffer is drained, or for a worker",),
    ),
    Requirement(
        "R-CL-10",
        Level.SHOULD,
        "Statistics can be read after close",
        basis="L425",
        kind=Kind.DETERMINISTIC,
        after=("R-BP-01",),
        causes=("the counters are released with the buffer",),
    ),
)
