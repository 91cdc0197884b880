"""Faults against R-LT."""

from __future__ import annotations

from penstock.conformance.mutants.model import mutant
from penstock.conformance.reference.converter import PlainConverter
from penstock.executors.contract import AllocationFailed, IPCMessage, RuntimeData

__all__: list[str] = []


@mutant("R-LT-01", "converter", "has room for 500 conversions in all")
class WearsOut(PlainConverter):
    used = 0

    def to_ipc(self, data: RuntimeData) -> IPCMessage:
        self.used += 1
        if self.used > 500:
            raise AllocationFailed("there is no slot left")
        return super().to_ipc(data)
