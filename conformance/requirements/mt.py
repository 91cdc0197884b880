"""MT: metrics."""

from __future__ import annotations

from penstock.conformance.requirements.model import Kind, Level, Requirement

__all__ = ["REQUIREMENTS"]

REQUIREMENTS = (
    Requirement(
        "R-MT-01",
        Level.MUST,
        "Each successful execute counts one; the total is the sum over the nodes",
        basis="L76,394-395,412-413,427",
        kind=Kind.DETERMINISTIC,
        how="3 nodes × 5",
        causes=(
            "METRICS is claimed and the bridge has no get_stats",
            "only initialized nodes are counted",
            "counted by type",
            "counted twice",
        ),
    ),
    Requirement(
        "R-MT-02",
        Level.MUST,
        "A failed execute is not counted",
        basis="L69-76 D-42",
        kind=Kind.DETERMINISTIC,
        how="fail ×3",
        after=("R-MT-01",),
        causes=("counted before the call, or in `finally`",),
    ),
    Requirement(
        "R-MT-03",
        Level.MUST,
        "Each successful transfer counts one, a failed one none",
        basis="L341-343,420",
        kind=Kind.DETERMINISTIC,
        after=("R-MT-01",),
        causes=(
            "only converting transfers are counted",
            "counted before the conversion",
        ),
    ),
    Requirement(
        "R-MT-04",
        Level.MUST,
        "Total_bytes grows by the payload's length in bytes",
        basis="L343,421,429 D-25",
        kind=Kind.DETERMINISTIC,
        how="sizes 0,1,4096,1 MiB",
        after=("R-MT-03",),
        causes=(
            "the number of elements or characters instead of bytes",
            "the size of the header is added",
            "the length of the converted message",
        ),
    ),
    Requirement(
        "R-MT-05",
        Level.MUST,
        "The average latency is the floor of time over count, and 0 without transfers",
        basis="L430-431 D-22",
        kind=Kind.DETERMINISTIC,
        how="fresh stats",
        after=("R-MT-03",),
        causes=(
            "division by zero",
            "round() instead of floor",
            "a sum instead of an average",
        ),
    ),
    Requirement(
        "R-MT-06",
        Level.MUST,
        "No update is lost under concurrency",
        basis="L400-407,420-422",
        kind=Kind.STOCHASTIC,
        how="8×500",
        after=("R-MT-01",),
        causes=(
            "`count += 1` on a value read before an await",
            "a plain int shared by threads of a free-threaded build",
        ),
    ),
    Requirement(
        "R-MT-07",
        Level.MUST,
        "Snapshots are monotonic and consistent in themselves",
        basis="L425-432 D-22",
        kind=Kind.STOCHASTIC,
        how="sampler during load",
        after=("R-MT-01",),
        causes=(
            "count and sum are read at different times",
            "a counter is reset on reading",
        ),
    ),
    Requirement(
        "R-MT-08",
        Level.MUST,
        "The unit of the average latency is the microsecond",
        basis="L406-407,422",
        kind=Kind.TIMING,
        how="1000× unit errors stand out",
        after=("R-MT-03",),
        causes=(
            "nanoseconds or milliseconds",
            "seconds as int",
        ),
    ),
    Requirement(
        "R-MT-09",
        Level.SHOULD,
        "The count and time of each node can be read",
        basis="L394-398 D-23",
        kind=Kind.DETERMINISTIC,
        after=("R-MT-01",),
        causes=("only totals are kept",),
    ),
    Requirement(
        "R-MT-10",
        Level.MUST,
        "Counting and reading inside async code neither blocks nor raises",
        basis="L412,415,427 D-21",
        kind=Kind.DETERMINISTIC,
        how="from a task while another holds",
        after=("R-MT-01",),
        causes=(
            "a lock that is held over an await",
            "get_stats starts an event loop",
        ),
    ),
    Requirement(
        "R-MT-11",
        Level.MUST,
        "Instances do not share counters",
        basis="L50,114,302 D-24",
        kind=Kind.DETERMINISTIC,
        after=("R-MT-01",),
        causes=(
            "a mutable class attribute",
            "a module-level counter",
        ),
    ),
)
