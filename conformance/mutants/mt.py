"""Faults against R-MT."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import trio

from penstock.conformance.mutants.model import mutant
from penstock.conformance.reference.databridge import ReferenceDataBridge
from penstock.conformance.reference.native import ReferenceNative
from penstock.executors.contract import BridgeMetrics, BridgeStats, DataType, RuntimeData, ServiceError

__all__: list[str] = []


@mutant("R-MT-01", "native", "counts each call twice")
class CountsTwice(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        answer = await super().execute_node(node_id, node_type, input_data, params)
        self.metrics.record_execution(node_id, 1000)
        return answer


@mutant("R-MT-02", "native", "counts failed calls as well")
class CountsFailures(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        try:
            return await super().execute_node(node_id, node_type, input_data, params)
        except ServiceError:
            self.metrics.record_execution(node_id, 1000)
            raise


@mutant("R-MT-03", "data_bridge", "counts only transfers that convert")
class CountsConversions(ReferenceDataBridge):
    async def convert(self, data: RuntimeData) -> RuntimeData:
        if self.source.executor_type is self.target.executor_type:
            return data
        return await super().convert(data)


@mutant("R-MT-04", "data_bridge", "counts characters and elements instead of bytes")
class CountsElements(ReferenceDataBridge):
    async def convert(self, data: RuntimeData) -> RuntimeData:
        converted = await super().convert(data)
        is_text = data.data_type is DataType.TEXT
        size = len(data.as_text()) if is_text else data.nbytes
        self.metrics.record_transfer(size - data.nbytes, 0)
        self.metrics._transfers -= 1
        return converted


@mutant("R-MT-05", "data_bridge", "the average divides by zero, and is a sum")
class DividesByZero(ReferenceDataBridge):
    def get_stats(self) -> BridgeStats:
        stats = super().get_stats()
        return replace(stats, avg_conversion_latency_us=stats.total_bytes // stats.total_transfers)


@mutant("R-MT-06", "native", "reads the count, waits, and writes it")
class LosesUpdates(ReferenceNative):
    count = 0

    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        answer = await super().execute_node(node_id, node_type, input_data, params)
        count = self.count
        await trio.lowlevel.checkpoint()
        self.count = count + 1
        return answer

    def get_stats(self) -> BridgeStats:
        return replace(super().get_stats(), total_executions=self.count)


@mutant("R-MT-07", "data_bridge", "bytes are counted later than transfers")
class TornSnapshots(ReferenceDataBridge):
    async def convert(self, data: RuntimeData) -> RuntimeData:
        converted = await super().convert(data)
        with self.metrics._lock:
            self.metrics._bytes -= data.nbytes
        await trio.lowlevel.cancel_shielded_checkpoint()
        with self.metrics._lock:
            self.metrics._bytes += data.nbytes
        return converted


@mutant("R-MT-08", "data_bridge", "nanoseconds")
class Nanoseconds(ReferenceDataBridge):
    def get_stats(self) -> BridgeStats:
        stats = super().get_stats()
        return replace(stats, avg_conversion_latency_us=stats.avg_conversion_latency_us * 1000)


@mutant("R-MT-08", "data_bridge", "milliseconds")
class Milliseconds(ReferenceDataBridge):
    def get_stats(self) -> BridgeStats:
        stats = super().get_stats()
        return replace(stats, avg_conversion_latency_us=stats.avg_conversion_latency_us // 1000)


@mutant("R-MT-10", "native", "reading during a call would block, and raises")
class CanNotBeReadNow(ReferenceNative):
    busy = 0

    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        self.busy += 1
        try:
            return await super().execute_node(node_id, node_type, input_data, params)
        finally:
            self.busy -= 1

    def get_stats(self) -> BridgeStats:
        if self.busy:
            raise RuntimeError("Cannot block the current thread from within a runtime")
        return super().get_stats()


@mutant("R-MT-11", "native", "all instances share their counters")
class SharesCounters(ReferenceNative):
    shared: ClassVar[BridgeMetrics] = BridgeMetrics()

    def __init__(self, session_id: str, nodes: Any) -> None:
        super().__init__(session_id, nodes)
        self.metrics = self.shared
