"""The checks: one file for each area, one plain function for each thing that is looked at."""

from __future__ import annotations

__all__: list[str] = []
