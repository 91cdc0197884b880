"""Adapters that misbehave as a whole: what the runner has to survive."""

import ctypes
import os
import subprocess
import sys
import time

from penstock.conformance import Adapter, Capabilities, Profile
from penstock.conformance.reference.adapter import ReferenceAdapter
from penstock.conformance.reference.native import ReferenceNative
from penstock.executors.contract import RuntimeData

NATIVE = Capabilities(profiles={Profile.NATIVE})


class FactoryRaises(Adapter):
    capabilities = NATIVE

    async def make_bridge(self, kind, *, session_id, nodes):
        raise RuntimeError("no licence found")


class ExitsInInit(Adapter):
    capabilities = NATIVE

    def __init__(self):
        os._exit(0)


class ClaimsNothing(Adapter):
    pass


class ClaimsTooLittle(ReferenceAdapter):
    capabilities = Capabilities(profiles={Profile.CONVERTER}, data_types={"audio", "text"})


class ClaimsEverything(Adapter):
    """Claims all, has a native bridge."""

    capabilities = Capabilities(profiles={Profile.FULL})

    async def make_bridge(self, kind, *, session_id, nodes):
        return ReferenceNative(session_id, nodes)


class _Dies(ReferenceNative):
    def die(self):
        raise NotImplementedError

    async def cleanup_node(self, node_id):
        if node_id == "unknown":  # as R-NX-05 asks
            self.die()
        await super().cleanup_node(node_id)


class _Exits(_Dies):
    def die(self):
        os._exit(0)


class _Segfaults(_Dies):
    def die(self):
        ctypes.string_at(0)


class _Sleeps(_Dies):
    def die(self):
        time.sleep(1000)  # with the loop in its hands


class _Native(ReferenceAdapter):
    capabilities = NATIVE


class ExitsInTheMiddle(_Native):
    native = _Exits


class SegfaultsInTheMiddle(_Native):
    native = _Segfaults


class StandsStill(_Native):
    native = _Sleeps


class _Daemonic(ReferenceNative):
    def __init__(self, session_id, nodes):
        super().__init__(session_id, nodes)
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])


class LeavesADaemon(_Native):
    native = _Daemonic


class _Flaky(ReferenceNative):
    turn = 0

    async def execute_node(self, node_id, node_type, input_data, params):
        answer = await super().execute_node(node_id, node_type, input_data, params)
        type(self).turn += 1
        return RuntimeData.text("oops") if self.turn % 3 == 0 else answer


class IsFlaky(_Native):
    native = _Flaky


class Refuses(_Native):
    """Its profiles are not what they should be."""

    capabilities = Capabilities(profiles={Profile.NATIVE}, runtime="curio")


class _Interrupts(ReferenceNative):
    async def cleanup_node(self, node_id):
        await super().cleanup_node(node_id)
        if node_id == "unknown":
            raise KeyboardInterrupt


class RaisesKeyboardInterrupt(_Native):
    native = _Interrupts
