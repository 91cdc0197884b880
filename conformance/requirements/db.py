"""DB: DataBridge.transfer."""

from __future__ import annotations

from penstock.conformance.requirements.model import Kind, Level, Requirement

__all__ = ["REQUIREMENTS"]

REQUIREMENTS = (
    Requirement(
        "R-DB-01",
        Level.MUST,
        "Native to Multiprocess: an equal datum comes out",
        basis="L318-322",
        kind=Kind.DETERMINISTIC,
        how="4 types",
        causes=(
            "the converter's result is thrown away",
            "metadata is lost on the way",
        ),
    ),
    Requirement(
        "R-DB-02",
        Level.MUST,
        "Multiprocess to Native: an equal datum comes out",
        basis="L323-327",
        kind=Kind.DETERMINISTIC,
        how="4 types",
        causes=("only one direction is implemented",),
    ),
    Requirement(
        "R-DB-03",
        Level.MUST,
        "Multiprocess to Multiprocess: an equal datum, without conversion",
        basis="L328-331",
        kind=Kind.EVIDENCE,
        how="ledger",
        causes=("every pair is converted",),
    ),
    Requirement(
        "R-DB-04",
        Level.MUST,
        "Native to Native: an equal datum, without conversion",
        basis="L332-335",
        kind=Kind.EVIDENCE,
        how="ledger",
        causes=("every pair is converted",),
    ),
    Requirement(
        "R-DB-05",
        Level.MUST,
        'A pair with WASM is Internal("Unsupported executor combination") unless the capability `wasm` is claimed',
        basis="L336-338",
        kind=Kind.DETERMINISTIC,
        how="5 pairs, fake bridge objects; where wasm is claimed, none of them is refused, buffered or not",
        causes=(
            "another text",
            "the datum is passed through",
            "ValueError",
        ),
    ),
    Requirement(
        "R-DB-06",
        Level.MUST,
        "With the capability `wasm`, all five WASM pairs transfer equal data",
        basis="L5 D-01",
        kind=Kind.DETERMINISTIC,
        how="5 pairs",
        needs="wasm",
        causes=(
            "WASM is claimed but refused",
            "WASM data lose their metadata",
        ),
    ),
    Requirement(
        "R-DB-07",
        Level.MUST,
        "A refused transfer counts nothing and leaves nothing",
        basis="L336-343",
        kind=Kind.DETERMINISTIC,
        causes=(
            "counted before the check",
            "the datum is buffered before the check",
        ),
    ),
    Requirement(
        "R-DB-08",
        Level.MUST,
        "The executor types are asked from the two bridges, not assumed",
        basis="L314-317",
        kind=Kind.DETERMINISTIC,
        how="bridges whose type differs from class",
        causes=(
            "isinstance checks of the bridges' classes",
            "the pair is fixed to native and multiprocess",
        ),
    ),
    Requirement(
        "R-DB-09",
        Level.MUST,
        'A conversion error comes out as "Data conversion failed: ..." with its cause, and the bridge stays usable',
        basis="L320-326 D-02",
        kind=Kind.FAULT,
        how="rlimit",
        causes=(
            "the ConversionError passes through unwrapped",
            "`raise ... from None`",
            "a lock stays taken",
        ),
    ),
    Requirement(
        "R-DB-10",
        Level.MUST,
        "Native to Multiprocess to Native through real nodes, with equal checksums",
        basis="L496 SC-007",
        kind=Kind.DETERMINISTIC,
        how="affine∘affine, 0 B..16 MiB",
        causes=(
            "payload truncated at some size",
            "empty payloads dropped",
            "metadata lost at one of the crossings",
        ),
    ),
    Requirement(
        "R-DB-11",
        Level.MUST,
        "Each producer's order is preserved",
        basis="D-30",
        kind=Kind.STOCHASTIC,
        how="sequence numbers",
        causes=(
            "conversions run concurrently between admission and push",
            "several queues",
        ),
    ),
    Requirement(
        "R-DB-12",
        Level.MUST,
        "Two data bridges share neither buffer nor metrics",
        basis="L301-302 D-24",
        kind=Kind.DETERMINISTIC,
        causes=(
            "a class attribute as buffer or counter",
            "a module-level registry",
        ),
    ),
)
