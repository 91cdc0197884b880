"""The conformance suite for executor bridges: does your bridge keep the contract?

Write an `Adapter`, run `penstock conformance run --bridge your.module:YourAdapter`. Names are imported when they are
first used: an adapter, or a worker that runs the suite's nodes, needs neither trio nor pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.conformance.adapter import Adapter as Adapter
    from penstock.conformance.adapter import Capabilities as Capabilities
    from penstock.conformance.adapter import Fault as Fault
    from penstock.conformance.adapter import Profile as Profile
    from penstock.conformance.embed import BridgeConformance as BridgeConformance
    from penstock.conformance.library import ConformanceFailure as ConformanceFailure
    from penstock.conformance.library import check_bridge as check_bridge
    from penstock.conformance.library import check_converter as check_converter
    from penstock.conformance.library import check_data_bridge as check_data_bridge
    from penstock.conformance.library import check_everything as check_everything
    from penstock.conformance.library import check_metrics as check_metrics

_HOMES = {
    "Adapter": "adapter",
    "BridgeConformance": "embed",
    "Capabilities": "adapter",
    "ConformanceFailure": "library",
    "Fault": "adapter",
    "Profile": "adapter",
    "check_bridge": "library",
    "check_converter": "library",
    "check_data_bridge": "library",
    "check_everything": "library",
    "check_metrics": "library",
}

__all__ = [
    "Adapter",
    "BridgeConformance",
    "Capabilities",
    "ConformanceFailure",
    "Fault",
    "Profile",
    "check_bridge",
    "check_converter",
    "check_data_bridge",
    "check_everything",
    "check_metrics",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'penstock.conformance' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"penstock.conformance.{home}"), name)


def __dir__() -> list[str]:
    return list(__all__)
