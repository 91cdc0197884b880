"""R-EB: a seeded walk over a bridge, beside a model of it: what no list of cases has thought of."""

from __future__ import annotations

from penstock.conformance.checking import check
from penstock.conformance.expect import equal, expect, raised
from penstock.conformance.handles import BridgeHandle
from penstock.conformance.lab import Lab, Node
from penstock.conformance.pending import cancelled_at
from penstock.executors.contract import ExecutorNotInitialized, ExecutorType, ServiceError

_STEPS = 60
_ACTIONS = ("ask",) * 6 + ("cleanup", "initialize", "cancel")
_NODES = ("one", "other", "third/one")


class _Model:
    """How often each live node has counted; cancelled calls may count or not."""

    def __init__(self, lab: Lab, bridge: BridgeHandle) -> None:
        self.lab = lab
        self.lazy = lab.kind is ExecutorType.NATIVE  # a call initializes a node that is not there
        self.nodes = {name: Node(lab, bridge, name, "counter") for name in _NODES}
        self.counts: dict[str, int] = {}
        self.unsure: dict[str, int] = {}

    async def initialize(self, name: str) -> None:
        """A second one is an error or does nothing."""
        try:
            await self.nodes[name].initialize()
        except ServiceError:
            expect(name in self.counts, f"initialize of {name!r}, which is not there", "it raised")
        self.counts.setdefault(name, 0)

    async def cleanup(self, name: str) -> None:
        await self.nodes[name].cleanup()
        self.counts.pop(name, None)
        self.unsure.pop(name, None)

    async def ask(self, name: str) -> None:
        if name not in self.counts and not self.lazy:
            await raised(ExecutorNotInitialized, self.nodes[name].ask(), f"execute of {name!r}, which is not there")
            return
        count = (await self.nodes[name].ask())["count"]
        least = self.counts.get(name, 0) + 1
        most = least + self.unsure.get(name, 0)
        if least == most:
            equal(count, least, f"count of {name!r} after these steps")
        expect(least <= count <= most, f"count of {name!r} from {least} to {most}", f"{count}")
        self.counts[name], self.unsure[name] = count, most - count

    async def cancel(self, name: str) -> None:
        if name not in self.counts or not self.lab.claims.cancels:
            return
        await cancelled_at(self.nodes[name].ask, self.lab.random.randrange(1, 5))
        self.unsure[name] = self.unsure.get(name, 0) + 1


@check("R-EB-09")
async def check_a_random_walk_finds_the_state_that_it_left(lab: Lab) -> None:
    lab.need_nodes("counter")
    async with lab.bridge() as bridge:
        model = _Model(lab, bridge)
        for _ in range(_STEPS):
            await getattr(model, lab.random.choice(_ACTIONS))(lab.random.choice(_NODES))
