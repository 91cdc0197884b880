"""`python -m penstock.conformance`: the same as `penstock conformance`."""

from __future__ import annotations

from penstock.conformance.cli import main

main()
