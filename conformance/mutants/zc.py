"""Faults against R-ZC."""

from __future__ import annotations

import tempfile
from typing import Any

from penstock.conformance.mutants.model import mutant
from penstock.conformance.reference.multiprocess import ReferenceMultiprocess
from penstock.executors.contract import RuntimeData

__all__: list[str] = []


@mutant("R-ZC-01", "multiprocess", "the host does not share the payload's memory while the node works")
class UnmapsTooEarly(ReferenceMultiprocess):
    def outgoing(self, data: RuntimeData, message: dict[str, Any]) -> Any:
        message, fd, mapping = super().outgoing(data, message)
        if mapping is not None:
            mapping.close()
        return message, fd, None


@mutant("R-ZC-02", "multiprocess", "payloads pass through a temporary file as well")
class ThroughAFile(ReferenceMultiprocess):
    def outgoing(self, data: RuntimeData, message: dict[str, Any]) -> Any:
        with tempfile.TemporaryFile() as file:
            file.write(data.payload)
        return super().outgoing(data, message)
