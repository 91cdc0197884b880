"""ER: errors."""

from __future__ import annotations

from penstock.conformance.requirements.model import Kind, Level, Requirement

__all__ = ["REQUIREMENTS"]

REQUIREMENTS = (
    Requirement(
        "R-ER-01",
        Level.MUST,
        "The contract's errors exist as types, and all of them are caught as its base",
        basis="L445-478 D-02",
        kind=Kind.DETERMINISTIC,
        how="table",
        after=("R-NX-02", "R-MX-09"),
        causes=("error classes of one's own, without `classify` in the adapter",),
    ),
    Requirement(
        "R-ER-02",
        Level.MUST,
        "The messages are exact",
        basis="L446-477 D-41",
        kind=Kind.DETERMINISTIC,
        how="regex table",
        after=("R-NX-01", "R-BP-07"),
        causes=("messages of one's own",),
    ),
    Requirement(
        "R-ER-03",
        Level.MUST,
        "ConversionFailed carries the ConversionError as its cause",
        basis="L472",
        kind=Kind.DETERMINISTIC,
        how="`__cause__`",
        causes=(
            "raised without `from`",
            "`from None`",
        ),
    ),
    Requirement(
        "R-ER-04",
        Level.MUST,
        "NodeExecution has the fields node_id and message",
        basis="L70-73",
        kind=Kind.DETERMINISTIC,
        after=("R-NX-02", "R-MX-09"),
        causes=("only a text is given",),
    ),
    Requirement(
        "R-ER-05",
        Level.MUST,
        "No foreign exception escapes a public method",
        basis="L491",
        kind=Kind.STOCHASTIC,
        how="seeded argument fuzz; a node whose cleanup raises",
        after=("R-EB-03",),
        causes=(
            "KeyError, TypeError, OSError, EOFError of the implementation pass through",
            "what a node's cleanup raises passes through cleanup_node or aclose",
        ),
    ),
    Requirement(
        "R-ER-06",
        Level.MUST,
        "After any error the bridge is usable, or cleanly closed",
        basis="L491",
        kind=Kind.DETERMINISTIC,
        how="affine afterwards",
        after=("R-NX-02", "R-MX-09", "R-EB-03"),
        causes=(
            "a lock is not released on an error path",
            "the worker ends with the error",
        ),
    ),
    Requirement(
        "R-ER-07",
        Level.MUST,
        "Every error arrives within the liveness bound",
        basis="L491 D-20",
        kind=Kind.TIMING,
        after=("R-NX-02", "R-MX-09", "R-EB-03"),
        causes=("a wait without a deadline or a supervisor",),
    ),
)
