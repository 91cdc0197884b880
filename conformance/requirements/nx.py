"""NX: the native bridge."""

from __future__ import annotations

from penstock.conformance.requirements.model import Kind, Level, Requirement

__all__ = ["REQUIREMENTS"]

REQUIREMENTS = (
    Requirement(
        "R-NX-01",
        Level.MUST,
        'An unknown type is Validation("Unknown node type: T"), exactly',
        basis="L64-66",
        kind=Kind.DETERMINISTIC,
        how="T unicode too",
        after=("R-EB-03",),
        causes=(
            "another error class",
            "the text carries more than the type",
            "repr() of the type",
        ),
    ),
    Requirement(
        "R-NX-02",
        Level.MUST,
        "A node's exception is NodeExecution with node_id, and the exception's own text as message",
        basis="L69-73",
        kind=Kind.DETERMINISTIC,
        how="`fail` nonce",
        after=("R-EB-03",),
        causes=(
            "the exception passes through unchanged",
            "its class name or a prefix is put before the text",
            "node_id is missing",
        ),
    ),
    Requirement(
        "R-NX-03",
        Level.MUST,
        "Nodes run in the current process",
        basis="L45,68",
        kind=Kind.EVIDENCE,
        how="`pid` = own pid",
        after=("R-EB-03",),
        causes=("nodes are sent to a pool of processes",),
    ),
    Requirement(
        "R-NX-04",
        Level.MUST,
        "Initialize succeeds and is not required",
        basis="L81-90",
        kind=Kind.DETERMINISTIC,
        how="execute without init",
        after=("R-EB-03",),
        causes=("execute looks the node up in a table that only initialize fills",),
    ),
    Requirement(
        "R-NX-05",
        Level.MUST,
        "Cleanup always succeeds",
        basis="L92-95",
        kind=Kind.DETERMINISTIC,
        how="unknown id",
        after=("R-EB-12", "R-EB-03"),
        causes=("a KeyError for an unknown id",),
    ),
    Requirement(
        "R-NX-06",
        Level.MUST,
        "The executor type is Native",
        basis="L97-99",
        kind=Kind.DETERMINISTIC,
        causes=("the type is copied from another bridge",),
    ),
    Requirement(
        "R-NX-07",
        Level.MUST,
        "After an error the next call works",
        basis="L65-78",
        kind=Kind.DETERMINISTIC,
        how="fail → affine",
        after=("R-NX-02", "R-EB-03"),
        causes=(
            "a lock is not released when a node raises",
            "the node is dropped after an error",
        ),
    ),
    Requirement(
        "R-NX-08",
        Level.MUST,
        "An unknown type is refused before any node code runs and before anything is counted",
        basis="L65-76",
        kind=Kind.DETERMINISTIC,
        how="stats unchanged",
        after=("R-EB-03",),
        causes=(
            "counting starts before the lookup",
            "a default node is run for unknown types",
        ),
    ),
)
