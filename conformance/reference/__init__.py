"""The reference: a small, plain implementation of the whole contract. It is what the suite tests itself on.

It favours being readable over being fast: one call at a time for each node, a memfd for each large payload. A worker
imports this package, so nothing is imported here.
"""

from __future__ import annotations

__all__: list[str] = []
