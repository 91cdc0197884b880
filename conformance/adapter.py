"""The adapter: the one small class that the author of a bridge writes."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from penstock.executors.contract import ExecutorType

__all__ = ["Adapter", "Capabilities", "Fault", "Profile"]


class Profile(enum.Enum):
    """The parts of the contract that an implementation can claim; `FULL` claims them all."""

    CORE = "core"
    NATIVE = "native"
    MULTIPROCESS = "multiprocess"
    WASM = "wasm"
    CONVERTER = "converter"
    DATABRIDGE = "databridge"
    METRICS = "metrics"
    FULL = "full"


class Fault(enum.Enum):
    """What `Adapter.inject` can be asked to make fail, for as long as its context lasts."""

    SEND = "send"
    RECV = "recv"
    CLEANUP = "cleanup"
    CONVERT = "convert"


_KIND_OF_PROFILE = {
    Profile.NATIVE: ExecutorType.NATIVE,
    Profile.MULTIPROCESS: ExecutorType.MULTIPROCESS,
    Profile.WASM: ExecutorType.WASM,
}
ALL_TYPES = frozenset({"audio", "text", "tensor", "json"})


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What an implementation claims. A false claim is a failure; what is not claimed is shown as such.

    Attributes:
        profiles: the parts that it implements; the suite's own reference parts stand in for the others.
        runtime: who drives its methods: trio; asyncio, in a loop of its own; sync, plain methods in threads.
        kinds: the executor bridges that `make_bridge` makes, where the profiles do not say it (profile CORE).
        data_types: of "audio", "text", "tensor", "json".
        wasm: a DataBridge between WASM and any other executor transfers data instead of refusing.
        process_per_node: each node of a multiprocess bridge has a worker of its own.
        params_at_execute: the parameters of a call reach the node.
        backpressure_timeout: `make_data_bridge` heeds `timeout`.
        zero_copy: arrays travel through shared memory, not through a pipe, a socket or a file.
        max_payload: the largest payload in bytes; None when memory is the only limit.
        respawns: after a worker's crash the bridge starts a new one by itself.
        cancellation: calls can be cancelled; None: yes, but for the runtime "sync".
        nodes: the suite nodes that the bridge can run; None: all of them.
        daemons: names of processes that may outlive a bridge (a fork server, a broker).
    """

    profiles: Collection[Profile]
    runtime: Literal["trio", "asyncio", "sync"] = "trio"
    kinds: Collection[ExecutorType] = ()
    data_types: Collection[str] = ALL_TYPES
    wasm: bool = False
    process_per_node: bool = True
    params_at_execute: bool = True
    backpressure_timeout: bool = True
    zero_copy: bool = True
    max_payload: int | None = None
    respawns: bool = False
    cancellation: bool | None = None
    nodes: Collection[str] | None = None
    daemons: Collection[str] = field(default=())

    @property
    def claimed(self) -> frozenset[Profile]:
        """The profiles, `FULL` spelled out; all of the parts together are `FULL`."""
        claimed = set(self.profiles)
        parts = set(Profile) - {Profile.FULL, Profile.WASM, Profile.CORE}
        if Profile.FULL in claimed:
            claimed |= parts
        elif parts <= claimed:
            claimed.add(Profile.FULL)
        if claimed & set(_KIND_OF_PROFILE):
            claimed.add(Profile.CORE)
        return frozenset(claimed)

    @property
    def bridge_kinds(self) -> tuple[ExecutorType, ...]:
        """The executor types whose bridges are to be tested."""
        kinds = {_KIND_OF_PROFILE[profile] for profile in self.claimed if profile in _KIND_OF_PROFILE} | set(self.kinds)
        if not kinds and Profile.CORE in self.claimed:
            kinds = {ExecutorType.NATIVE}
        return tuple(kind for kind in ExecutorType if kind in kinds)

    @property
    def cancels(self) -> bool:
        return self.runtime != "sync" if self.cancellation is None else self.cancellation

    def has(self, need: str) -> bool:
        """Whether a requirement's need is met: a capability's name, or "not " and its name."""
        name = need.removeprefix("not ")
        value = self.cancels if name == "cancellation" else bool(getattr(self, name))
        return value is not need.startswith("not ")

    def problems(self) -> list[str]:
        """What is wrong with the claim itself, in words."""
        found = [f"profiles has {item!r}, which is no Profile" for item in self.profiles if item not in set(Profile)]
        if not self.profiles:
            found.append("no profile is claimed, so nothing can be tested")
        unknown = set(self.data_types) - ALL_TYPES
        if unknown:
            found.append(f"data_types has {sorted(unknown)}; there are {sorted(ALL_TYPES)}")
        missing = ALL_TYPES - set(self.data_types)
        if not found and Profile.CONVERTER in self.claimed and missing:
            found.append(f"profile converter needs all data types; {sorted(missing)} are not claimed")
        if not found and Profile.DATABRIDGE in self.claimed and "text" not in self.data_types:
            found.append("profile databridge needs the data type text, with which its buffer is filled")
        if self.runtime not in {"trio", "asyncio", "sync"}:
            found.append(f"runtime is {self.runtime!r}; there are trio, asyncio and sync")
        return found


class Adapter:
    """Makes the objects under test. Override what your profiles need; every method may be `async` or plain.

    Each call must give an *independent* object. They are called in the runtime that the capabilities name.
    """

    name: str = ""
    version: str = ""
    url: str = ""
    capabilities: Capabilities = Capabilities(profiles=())

    async def make_bridge(self, kind: ExecutorType, *, session_id: str, nodes: Mapping[str, str]) -> Any:
        """An executor bridge of this kind that knows the suite's node types.

        Args:
            kind: one of the kinds that the capabilities name.
            session_id: for the contexts of its nodes.
            nodes: short name of each suite node, and where a worker imports it: `package.module:Class`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no make_bridge")

    async def make_converter(self, *, session_id: str, peer: Any = None) -> Any:
        """A converter of this session; with `peer` one that shares its channel, where that makes a difference."""
        raise NotImplementedError(f"{type(self).__name__} has no make_converter")

    async def make_data_bridge(
        self, source: Any, target: Any, *, converter: Any, capacity: int, timeout: float | None
    ) -> Any:
        """A DataBridge between two executor bridges.

        Args:
            source: asked for its `executor_type` alone; it may be a stand-in.
            target: likewise.
            converter: from `make_converter`, or the suite's reference where the profile CONVERTER is not claimed.
            capacity: how many data it holds.
            timeout: seconds that `transfer_with_backpressure` waits for a slot; None: for ever.
        """
        raise NotImplementedError(f"{type(self).__name__} has no make_data_bridge")

    async def take(self, data_bridge: Any) -> Any:
        """The next buffered datum."""
        result = data_bridge.receive()
        return await result if inspect.isawaitable(result) else result

    async def aclose(self, obj: Any) -> None:
        """Close a bridge, a converter or a DataBridge and wait until it is closed."""
        close = getattr(obj, "aclose", None) or getattr(obj, "close", None)
        if close is None:
            name = type(obj).__name__
            raise NotImplementedError(f"{name} has neither aclose nor close: give it one, or override Adapter.aclose")
        result = close()
        if inspect.isawaitable(result):
            await result

    def worker_pids(self, bridge: Any, node_id: str) -> list[int] | None:
        """The processes of a node; None (the default): the suite looks for itself."""
        del bridge, node_id
        return None

    def inject(self, obj: Any, fault: Fault) -> AbstractContextManager[Any] | None:
        """A context in which the fault happens to each call of `obj`; None (the default): there is no such hook."""
        del obj, fault
        return None

    def classify(self, exc: BaseException) -> BaseException:
        """The contract's error for one of yours."""
        return exc
