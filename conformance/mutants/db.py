"""Faults against R-DB."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any, ClassVar

from penstock.conformance.mutants.model import mutant
from penstock.conformance.reference.databridge import ReferenceDataBridge
from penstock.conformance.reference.native import StandIn
from penstock.executors.contract import (
    BridgeMetrics,
    ConversionFailed,
    ExecutorType,
    Internal,
    RuntimeData,
    ServiceError,
)

__all__: list[str] = []
NATIVE, MULTI = ExecutorType.NATIVE, ExecutorType.MULTIPROCESS


class _Mangles(ReferenceDataBridge):
    """Between two kinds of executors, a datum loses its meta and session."""

    pair: tuple[ExecutorType, ExecutorType]

    async def convert(self, data: RuntimeData) -> RuntimeData:
        converted = await super().convert(data)
        if (self.source.executor_type, self.target.executor_type) == self.pair:
            return replace(converted, session_id="")
        return converted


@mutant("R-DB-01", "data_bridge", "the session is lost from native to multiprocess")
class LosesTheSessionThere(_Mangles):
    pair = (NATIVE, MULTI)


@mutant("R-DB-02", "data_bridge", "only one direction is implemented")
class OneDirection(ReferenceDataBridge):
    async def convert(self, data: RuntimeData) -> RuntimeData:
        if (self.source.executor_type, self.target.executor_type) == (MULTI, NATIVE):
            raise Internal("Unsupported executor combination")
        return await super().convert(data)


class _ConvertsAlways(ReferenceDataBridge):
    """Converts also where both ends are of this kind."""

    kind: ExecutorType

    async def convert(self, data: RuntimeData) -> RuntimeData:
        if self.source.executor_type is self.kind and self.target.executor_type is self.kind:
            data = await self.converter.from_ipc(await self.converter.to_ipc(data))
        return await super().convert(data)


@mutant("R-DB-03", "data_bridge", "converts between two workers")
class ConvertsBetweenWorkers(_ConvertsAlways):
    kind = MULTI


@mutant("R-DB-04", "data_bridge", "converts within one process")
class ConvertsWithinTheProcess(_ConvertsAlways):
    kind = NATIVE


@mutant("R-DB-05", "data_bridge", "passes data to WASM, which it does not claim", wasm=False)
class PassesToWasm(ReferenceDataBridge):
    def __init__(self, *args: Any, wasm: bool) -> None:
        super().__init__(*args, wasm=True)
        del wasm


@mutant("R-DB-06", "data_bridge", "claims WASM and refuses it")
class RefusesWasm(ReferenceDataBridge):
    def __init__(self, *args: Any, wasm: bool) -> None:
        super().__init__(*args, wasm=False)
        del wasm


@mutant("R-DB-07", "data_bridge", "counts a transfer before it is refused")
class CountsRefusals(ReferenceDataBridge):
    async def convert(self, data: RuntimeData) -> RuntimeData:
        try:
            return await super().convert(data)
        except ServiceError:
            self.metrics.record_transfer(data.nbytes, 1000)
            raise


@mutant("R-DB-08", "data_bridge", "takes the two ends for native and multiprocess")
class AssumesItsEnds(ReferenceDataBridge):
    def __init__(self, source: Any, target: Any, *args: Any, **kwargs: Any) -> None:
        del source, target
        super().__init__(StandIn(NATIVE), StandIn(MULTI), *args, **kwargs)


@mutant("R-DB-09", "data_bridge", "a ConversionError passes through as it is")
class PassesConversionErrors(ReferenceDataBridge):
    async def convert(self, data: RuntimeData) -> RuntimeData:
        try:
            return await super().convert(data)
        except ConversionFailed as error:
            raise error.__cause__ or error from None


@mutant("R-DB-10", "data_bridge", "what is larger than 4 MiB is cut")
class CutsLargeData(ReferenceDataBridge):
    async def convert(self, data: RuntimeData) -> RuntimeData:
        converted = await super().convert(data)
        return replace(converted, payload=converted.payload[: 4 << 20])


@mutant("R-DB-11", "data_bridge", "last in, first out")
class LastInFirstOut(ReferenceDataBridge):
    async def receive(self) -> RuntimeData:
        self.buffer.reverse()
        try:
            return await super().receive()
        finally:
            self.buffer.reverse()


@mutant("R-DB-12", "data_bridge", "all instances share one buffer and its counters")
class SharesItsBuffer(ReferenceDataBridge):
    shared: ClassVar[deque[RuntimeData]] = deque()
    shared_metrics: ClassVar[BridgeMetrics] = BridgeMetrics()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.buffer, self.metrics = self.shared, self.shared_metrics
