"""What came out of one check, before anybody judges it."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Outcome", "Result"]


class Outcome(enum.Enum):
    """How a check ended; the order is that of weight."""

    NOT_APPLICABLE = "NOT-APPLICABLE"
    PASS = "PASS"  # noqa: S105  a verdict
    NOT_EXERCISED = "NOT-EXERCISED"
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"
    HANG = "HANG"
    CRASH = "CRASH"
    ERROR = "ERROR"

    @property
    def weight(self) -> int:
        return list(Outcome).index(self)

    @property
    def failed(self) -> bool:
        """Whether the implementation is to blame."""
        return self in {Outcome.FAIL, Outcome.HANG, Outcome.CRASH}


@dataclass(frozen=True)
class Result:
    """One run of one check.

    Attributes:
        requirement: its id.
        check: name of the check's function.
        kind: the kind of bridge, or "".
        expected: what should have been, in words; for outcomes that say why, empty.
        actual: what was, or why it could not be tried.
        witness: what happened, call by call.
        measured: figures that it found out.
    """

    requirement: str
    check: str
    outcome: Outcome
    kind: str = ""
    expected: str = ""
    actual: str = ""
    ms: float = 0.0
    turn: int = 0
    witness: list[str] = field(default_factory=list)
    measured: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "outcome": self.outcome.value}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Result:
        return cls(**{**said, "outcome": Outcome(said["outcome"])})
