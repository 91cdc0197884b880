"""CC: concurrent bridges."""

from __future__ import annotations

from penstock.conformance.requirements.model import Kind, Level, Requirement

__all__ = ["REQUIREMENTS"]

REQUIREMENTS = (
    Requirement(
        "R-CC-01",
        Level.MUST,
        "Four and more bridges of mixed kinds work at once, and every result is right",
        basis="L499",
        kind=Kind.STOCHASTIC,
        how="nonces",
        after=("R-EB-03",),
        causes=(
            "global state shared by instances",
            "a fixed name of a segment or socket",
        ),
    ),
    Requirement(
        "R-CC-02",
        Level.MUST,
        "Closing or crashing one bridge leaves the others",
        basis="L499",
        kind=Kind.DETERMINISTIC,
        after=("R-EB-03",),
        causes=(
            "one process group or one pool for all bridges",
            "closing removes segments by prefix",
        ),
    ),
    Requirement(
        "R-CC-03",
        Level.MUST,
        "Equal node and session ids on different bridges never collide",
        basis="L499",
        kind=Kind.STOCHASTIC,
        after=("R-EB-03",),
        causes=("names built from node and session id alone",),
    ),
    Requirement(
        "R-CC-04",
        Level.MUST,
        "Two host processes at once do not collide",
        basis="L499",
        kind=Kind.STOCHASTIC,
        how="two children, same ids",
        after=("R-EB-03",),
        causes=("names built without the process id or something random",),
    ),
)
