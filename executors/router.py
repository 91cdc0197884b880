"""Which executor a node type runs on, and the bridge to it."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping

from penstock.executors.contract import ExecutorBridge, ExecutorType, Json, RuntimeData, Validation
from penstock.executors.lifetime import ClosedByBlock

__all__ = ["BridgeRouter", "Routes"]


class Routes:
    """Rules from a node type to an executor: an exact name, then the first pattern that fits, then the default.

    A type that ends in `.wasm` runs on wasm, whatever the rules say: nothing else can run it.
    """

    def __init__(
        self, rules: Mapping[str, ExecutorType] | None = None, default: ExecutorType = ExecutorType.NATIVE
    ) -> None:
        """Make the rules; a name with `*`, `?` or `[` in it is a pattern as the shell knows them."""
        self._rules = dict(rules or {})
        self._default = default

    def executor_for(self, node_type: str) -> ExecutorType:
        if node_type.endswith(".wasm"):
            return ExecutorType.WASM
        return self.rule_for(node_type) or self._default

    def with_rule(self, node_type: str, executor: ExecutorType) -> Routes:
        """These rules and one more, behind them; a later one of the same name or pattern replaces it."""
        return Routes({**self._rules, node_type: executor}, self._default)

    def rule_for(self, node_type: str) -> ExecutorType | None:
        """What a rule says of a type; None where there is no rule for it."""
        exact = self._rules.get(node_type)
        if exact is not None:
            return exact
        for pattern, executor in self._rules.items():
            if fnmatch.fnmatchcase(node_type, pattern):
                return executor
        return None


class BridgeRouter(ClosedByBlock):
    """One bridge in front of several: each call goes to the executor that the node's type is routed to."""

    def __init__(self, *bridges: ExecutorBridge, routes: Routes | None = None) -> None:
        """Route between bridges, at most one of each executor type; the router owns and closes them."""
        self._bridges = {bridge.executor_type: bridge for bridge in bridges}
        if len(self._bridges) != len(bridges):
            raise Validation("two bridges of one executor type")
        self._routes = routes or Routes()
        self._where: dict[str, ExecutorBridge] = {}

    def bridge_for(self, node_type: str) -> ExecutorBridge:
        """The bridge that runs this type of node.

        Raises:
            Validation: there is no bridge to its executor.
        """
        executor = self._routes.executor_for(node_type)
        bridge = self._bridges.get(executor)
        if bridge is None:
            raise Validation(f"Node type {node_type} belongs to the {executor} executor, to which there is no bridge")
        return bridge

    async def initialize_node(self, node_id: str, node_type: str, params: Mapping[str, Json]) -> None:
        bridge = self.bridge_for(node_type)
        await bridge.initialize_node(node_id, node_type, params)
        self._where[node_id] = bridge

    async def execute_node(
        self, node_id: str, node_type: str, input_data: RuntimeData, params: Mapping[str, Json]
    ) -> RuntimeData:
        return await self.bridge_for(node_type).execute_node(node_id, node_type, input_data, params)

    async def cleanup_node(self, node_id: str) -> None:
        """Clean up on the bridge that has the node; one that `execute_node` started is asked of all."""
        bridge = self._where.pop(node_id, None)
        for candidate in [bridge] if bridge else list(self._bridges.values()):
            await candidate.cleanup_node(node_id)

    async def aclose(self) -> None:
        """Close every bridge, also when one of them fails to; its error is raised at the end."""
        errors: list[Exception] = []
        for bridge in self._bridges.values():
            try:
                await bridge.aclose()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]
