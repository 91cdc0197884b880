"""ZC: zero copy."""

from __future__ import annotations

from penstock.conformance.requirements.model import Kind, Level, Requirement

__all__ = ["REQUIREMENTS"]

REQUIREMENTS = (
    Requirement(
        "R-ZC-01",
        Level.MUST,
        "The bytes of audio and tensors are in memory that host and worker share while the node holds them",
        basis="L497 D-15",
        kind=Kind.EVIDENCE,
        needs="zero_copy",
        how="needle scan on `hold`",
        after=("R-EB-03",),
        causes=(
            "the payload is pickled into a pipe or socket",
            "the worker copies it to the heap and unmaps before the node runs",
        ),
    ),
    Requirement(
        "R-ZC-02",
        Level.MUST,
        "Those bytes do not pass through a pipe or a file",
        basis="L497",
        kind=Kind.EVIDENCE,
        needs="zero_copy",
        how="psutil io_counters",
        after=("R-EB-03",),
        causes=("payload through multiprocessing.Pipe or Queue, or a temporary file",),
    ),
    Requirement(
        "R-ZC-03",
        Level.INFO,
        "Estimated copies per direction (slope vs memcpy slope)",
        basis="D-15",
        kind=Kind.TIMING,
        needs="zero_copy",
        how="regression 1..16 MiB",
        after=("R-EB-03",),
        causes=("each copy adds the time of one memcpy",),
    ),
    Requirement(
        "R-ZC-04",
        Level.SHOULD,
        "Segments can not be read by other users",
        basis="—",
        kind=Kind.EVIDENCE,
        how="mode & 077",
        causes=("segments created with mode 0666 or 0644",),
    ),
)
