"""Faults against R-ER."""

from __future__ import annotations

from typing import Any

import trio

from penstock.conformance.mutants.model import mutant
from penstock.conformance.reference.databridge import ReferenceDataBridge
from penstock.conformance.reference.native import ReferenceNative
from penstock.executors.contract import ConversionFailed, Internal, NodeExecution, RuntimeData, Validation

__all__: list[str] = []


@mutant("R-ER-01", "native", "a node's failure is a RuntimeError of its own")
class OwnErrorClasses(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        try:
            return await super().execute_node(node_id, node_type, input_data, params)
        except NodeExecution as error:
            raise RuntimeError(error.message) from error


@mutant("R-ER-02", "native", "an unknown type is said in other words")
class OwnWords(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        try:
            return await super().execute_node(node_id, node_type, input_data, params)
        except Validation:
            raise Validation(f"No node type {node_type}") from None


@mutant("R-ER-03", "data_bridge", "raises ConversionFailed without its cause")
class HidesTheCause(ReferenceDataBridge):
    async def convert(self, data: RuntimeData) -> RuntimeData:
        try:
            return await super().convert(data)
        except ConversionFailed as error:
            error.__cause__ = None
            raise


@mutant("R-ER-04", "native", "NodeExecution without the node's id")
class NamelessErrors(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        try:
            return await super().execute_node(node_id, node_type, input_data, params)
        except NodeExecution as error:
            raise NodeExecution("", error.message) from error


@mutant("R-ER-05", "native", "an id that is not ASCII is an UnicodeEncodeError")
class AsciiIds(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        node_id.encode("ascii")
        return await super().execute_node(node_id, node_type, input_data, params)


@mutant("R-ER-06", "native", "after an error the whole bridge is out of order")
class BrokenByAnError(ReferenceNative):
    broken = False

    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        if self.broken:
            raise Internal("out of order")
        try:
            return await super().execute_node(node_id, node_type, input_data, params)
        except NodeExecution:
            self.broken = True
            raise


@mutant("R-ER-07", "native", "an error never arrives")
class WaitsForEver(ReferenceNative):
    async def execute_node(self, node_id: str, node_type: str, input_data: RuntimeData, params: Any) -> RuntimeData:
        try:
            return await super().execute_node(node_id, node_type, input_data, params)
        except NodeExecution:
            await trio.sleep_forever()
            raise
