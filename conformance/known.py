"""Known deviations: they keep CI green, they never make a bridge conformant."""

from __future__ import annotations

import datetime as dt
import tomllib
from dataclasses import dataclass
from typing import Any

from penstock.conformance.requirements import CATALOGUE, CONTRACT

__all__ = ["Known", "KnownError", "read_known"]


class KnownError(ValueError):
    """The file of known deviations is wrong; the text says where."""


@dataclass(frozen=True)
class Known:
    """One entry."""

    id: str
    reason: str
    bridge: str = ""
    verdict: str = ""
    link: str = ""
    expires: dt.date | None = None

    def applies_to(self, bridge: str) -> bool:
        return not self.bridge or self.bridge == bridge

    def covers(self, outcome: str) -> bool:
        return self.verdict in {"", outcome}

    @property
    def expired(self) -> bool:
        return self.expires is not None and self.expires < dt.date.today()  # noqa: DTZ011

    def words(self) -> str:
        return f"known: {self.reason}" + (f" ({self.link})" if self.link else "")


def read_known(path: str) -> list[Known]:
    """The entries of a file.

    Raises:
        KnownError: an unknown id, a missing reason, an unknown field, another version of the contract.
    """
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise KnownError(f"{path}: {error}") from None
    if content.get("contract", CONTRACT) != CONTRACT:
        raise KnownError(f"{path}: written for contract {content['contract']}, this suite tests {CONTRACT}")
    return [_entry(path, number, entry) for number, entry in enumerate(content.get("known", []), 1)]


def _entry(path: str, number: int, entry: dict[str, Any]) -> Known:
    where = f"{path}: entry {number}"
    name = entry.get("id")
    if name not in CATALOGUE:
        raise KnownError(f"{where}: there is no requirement {name!r}")
    if not str(entry.get("reason", "")).strip():
        raise KnownError(f"{where} ({name}): no reason is given")
    unknown = set(entry) - set(Known.__dataclass_fields__)
    if unknown:
        raise KnownError(f"{where} ({name}): unknown field {', '.join(sorted(unknown))}")
    expires = entry.get("expires")
    if expires is not None and not isinstance(expires, dt.date):
        raise KnownError(f"{where} ({name}): expires is a date like 2027-03-01, without quotes")
    return Known(**entry)
