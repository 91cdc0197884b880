"""The smoke gate: whether there is anything to test. One message instead of a wall of failures."""

from __future__ import annotations

from typing import Any

import trio

from penstock.conformance.adapter import Adapter, Profile
from penstock.conformance.expect import failure_in
from penstock.conformance.lab import Lab, Settings

__all__ = ["smoke"]

_BOUND_S = 20.0


def smoke(adapter: Adapter, settings: Settings, *, call: bool = True) -> str:
    """What is wrong with the adapter; empty where nothing is. Without `call` objects are only made and closed."""
    stage: list[str] = []
    lab = Lab(adapter, settings, "A", None)
    try:
        trio.run(_all, lab, stage, call)
    except BaseException as error:
        found = failure_in(error)
        return f"{stage[-1]}: {type(found).__name__}: {found}"
    finally:
        lab.close()
    return ""


async def _all(lab: Lab, stage: list[str], call: bool) -> None:
    stage.append("A-00 the adapter comes to an end")
    with trio.fail_after(_BOUND_S * lab.settings.scale * (1 + len(lab.claims.bridge_kinds))):
        for kind in lab.claims.bridge_kinds:
            await _bridge(lab, kind, stage, call)
        if lab.claimed(Profile.CONVERTER):
            stage.append("A-05 make_converter makes a converter, and aclose closes it")
            async with lab.converter():
                pass
        if lab.claimed(Profile.DATABRIDGE):
            stage.append("A-05 make_data_bridge makes a DataBridge, and aclose closes it")
            async with lab.data_bridge("native-native"):
                pass


async def _bridge(lab: Lab, kind: Any, stage: list[str], call: bool) -> None:
    stage.append(f"A-01 make_bridge({kind}) makes a bridge")
    bridge = await lab.make_bridge(kind)
    if call:
        stage.append(f"A-02 the {kind} bridge initializes the node 'affine', which answers a call")
        await bridge.call("initialize_node", bridge.method("initialize_node"), "smoke", "affine", {})
        datum = lab.data.one(lab.data_types()[0])
        await bridge.call("execute_node", bridge.method("execute_node"), "smoke", "affine", datum, {})
    stage.append(f"A-03 aclose closes the {kind} bridge")
    await bridge.aclose()
    stage.append(f"A-04 make_bridge({kind}) makes another bridge, not the same one again")
    other = await lab.make_bridge(kind)
    if other.raw is bridge.raw:
        raise RuntimeError("it is the same object")
    await other.aclose()
