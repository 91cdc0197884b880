"""What people and machines read: all made from one `RunVerdict`."""

from __future__ import annotations

__all__: list[str] = []
