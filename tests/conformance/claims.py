"""The reference with each capability turned round: what is not claimed must not be asked for."""

from dataclasses import replace

import trio

from penstock.conformance import Profile
from penstock.conformance.mutants.mx import SharesWorkers
from penstock.conformance.reference.adapter import ReferenceAdapter
from penstock.conformance.reference.databridge import ReferenceDataBridge
from penstock.conformance.reference.multiprocess import ReferenceMultiprocess
from penstock.conformance.reference.native import ReferenceNative

ALL = ReferenceAdapter.capabilities


class NoWasm(ReferenceAdapter):
    capabilities = replace(ALL, wasm=False)


class _NoParams(ReferenceNative):
    async def execute_node(self, node_id, node_type, input_data, params):
        return await super().execute_node(node_id, node_type, input_data, {})


class NoParams(ReferenceAdapter):
    capabilities = replace(ALL, profiles={Profile.NATIVE, Profile.METRICS}, params_at_execute=False)
    native = _NoParams


class _NoTimeout(ReferenceDataBridge):
    def __init__(self, source, target, converter, capacity, timeout=None, *, wasm=True):
        super().__init__(source, target, converter, capacity, None, wasm=wasm)


class NoTimeout(ReferenceAdapter):
    capabilities = replace(ALL, profiles={Profile.DATABRIDGE}, backpressure_timeout=False)
    data_bridge = _NoTimeout


class SharedProcesses(ReferenceAdapter):
    """Workers are shared by nodes of one type: not a bridge that one would want, but its claim is true."""

    capabilities = replace(ALL, profiles={Profile.MULTIPROCESS}, process_per_node=False)
    multiprocess = SharesWorkers


class LimitedPayload(ReferenceAdapter):
    capabilities = replace(ALL, profiles={Profile.MULTIPROCESS}, max_payload=1 << 20)


class TextAndJson(ReferenceAdapter):
    capabilities = replace(
        ALL, profiles={Profile.NATIVE, Profile.DATABRIDGE, Profile.METRICS}, data_types={"text", "json"}
    )


class _Uncancellable(ReferenceNative):
    async def execute_node(self, node_id, node_type, input_data, params):
        with trio.CancelScope(shield=True):
            return await super().execute_node(node_id, node_type, input_data, params)


class NoCancellation(ReferenceAdapter):
    capabilities = replace(ALL, profiles={Profile.NATIVE}, cancellation=False)
    native = _Uncancellable


class FewNodes(ReferenceAdapter):
    capabilities = replace(ALL, profiles={Profile.NATIVE}, nodes={"echo", "affine", "counter"})


class _Respawns(ReferenceMultiprocess):
    """A worker that has died is started again at the next call."""

    def __init__(self, session_id, nodes):
        super().__init__(session_id, nodes)
        self.told = {}

    async def initialize_node(self, node_id, node_type, params):
        await super().initialize_node(node_id, node_type, params)
        self.told[node_id] = (node_type, params)

    async def execute_node(self, node_id, node_type, input_data, params):
        node = self.nodes.get(node_id)
        if node is not None and node.lost:
            await self.initialize_node(node_id, *self.told[node_id])
        return await super().execute_node(node_id, node_type, input_data, params)


class Respawns(ReferenceAdapter):
    capabilities = replace(ALL, profiles={Profile.MULTIPROCESS}, respawns=True)
    multiprocess = _Respawns
