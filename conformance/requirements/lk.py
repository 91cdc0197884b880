"""LK: nothing left behind."""

from __future__ import annotations

from penstock.conformance.requirements.model import Kind, Level, Requirement

__all__ = ["REQUIREMENTS"]

REQUIREMENTS = (
    Requirement(
        "R-LK-01",
        Level.MUST,
        "No worker process is left within 5 s after close",
        basis="L500 SC-006",
        kind=Kind.EVIDENCE,
        how="psutil tree",
        causes=(
            "no terminate in aclose",
            "a helper daemon",
        ),
    ),
    Requirement(
        "R-LK-02",
        Level.MUST,
        "No shared memory of ours is left: POSIX, SysV or memfd",
        basis="L500",
        kind=Kind.EVIDENCE,
        how="ledger by inode",
        causes=(
            "no unlink",
            "unlinked but still mapped",
            "a leaked memfd",
        ),
    ),
    Requirement(
        "R-LK-03",
        Level.MUST,
        "File descriptors return to the baseline",
        basis="L500",
        kind=Kind.EVIDENCE,
        how="/proc/self/fd",
        causes=(
            "pipes or sockets of workers not closed",
            "a duplicated descriptor",
        ),
    ),
    Requirement(
        "R-LK-04",
        Level.MUST,
        "No thread or task is left",
        basis="L500",
        kind=Kind.EVIDENCE,
        how="threading + runner tasks",
        causes=(
            "a reader thread that is not joined",
            "an executor that is not shut down",
        ),
    ),
    Requirement(
        "R-LK-05",
        Level.MUST,
        "Thirty create-use-close cycles do not accumulate anything",
        basis="L500",
        kind=Kind.EVIDENCE,
        causes=("a little of each cycle stays: a descriptor, a thread, a mapping",),
    ),
    Requirement(
        "R-LK-06",
        Level.MUST,
        "Nothing is left after SIGKILL of a worker in the middle of a call",
        basis="L500 D-20",
        kind=Kind.FAULT,
        causes=("cleanup happens on the normal path alone",),
    ),
    Requirement(
        "R-LK-07",
        Level.SHOULD,
        "No sockets, temporary files or semaphores are left",
        basis="L500",
        kind=Kind.EVIDENCE,
        causes=("a socket file, a temporary folder, a named semaphore",),
    ),
)
