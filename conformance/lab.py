"""The lab: everything that a check uses. One for each check and kind of bridge."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
import trio.testing

from penstock.conformance.adapter import Adapter, Fault, Profile
from penstock.conformance.expect import Failure, ForeignError, Hang, NotApplicable, NotExercised, equal, expect
from penstock.conformance.handles import BridgeHandle, ConverterHandle, DataBridgeHandle, Surroundings
from penstock.conformance.ledger import Ledger, Seen, settled
from penstock.conformance.nodes import ASYNC_NODES, NODES
from penstock.conformance.portal import portal_for
from penstock.conformance.reference.adapter import ReferenceAdapter
from penstock.conformance.reference.native import StandIn
from penstock.conformance.vectors import Vectors
from penstock.executors.contract import DataType, ExecutorType, Json, RuntimeData, ServiceError

__all__ = ["Lab", "Node", "Settings"]

_numbers = itertools.count(1)
_RUN = f"{os.getpid():x}{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for a whole run.

    Attributes:
        seed: of everything random.
        scale: how much slower than an idle machine this one is.
        latency_budget_ms: what `--latency enforce` holds the conversion to; None: measured and reported.
    """

    seed: int = 1
    scale: float = 1.0
    latency_budget_ms: float | None = None
    adapter: str = ""


class Node:
    """A node of the suite on a bridge: call it, ask it, clean it up."""

    def __init__(self, lab: Lab, bridge: BridgeHandle, node_id: str, node_type: str) -> None:
        self.lab = lab
        self.bridge = bridge
        self.id = node_id
        self.type = node_type

    async def __call__(self, data: RuntimeData, params: Mapping[str, Json] | None = None) -> RuntimeData:
        return await self.bridge.execute(self.id, self.type, data, params)

    async def ask(
        self, said: Mapping[str, Json] | None = None, params: Mapping[str, Json] | None = None
    ) -> dict[str, Any]:
        """Send JSON with a nonce, and give the JSON of the answer, which has to be to this nonce."""
        question = {"nonce": self.lab.data.nonce(), **(said or {})}
        answer = await self(self.lab.data.json(question), params)
        return self.answer_to(question, answer)

    def answer_to(self, question: Mapping[str, Any], answer: RuntimeData) -> dict[str, Any]:
        expect(answer.data_type is DataType.JSON, f"{self.type!r} answers with JSON", f"it answered {answer}")
        value = answer.as_json()
        expect(isinstance(value, dict), f"{self.type!r} answers with an object", f"it answered {value!r}")
        expect("pid" in value, f"an answer of the node {self.type!r}", f"{value!r}, in which its fields are missing")
        equal(value.get("nonce"), question["nonce"], f"nonce of the answer of {self.type!r}")
        return dict(value)

    async def initialize(self, params: Mapping[str, Json] | None = None) -> None:
        await self.bridge.initialize(self.id, self.type, params)

    async def cleanup(self) -> None:
        await self.bridge.cleanup(self.id)


class Held:
    """A call that blocks inside its node until it is released."""

    def __init__(self, lab: Lab, node: Node, entered: Path, release: Path) -> None:
        self.lab = lab
        self.node = node
        self._entered = entered
        self._release = release

    async def entered(self, times: int = 1) -> int:
        """Wait until the node works on it; the pid of its process."""
        pids = await self.lab.until(lambda: self._pids(times), "the node begins to work on the call")
        return int(pids[-1])

    def _pids(self, times: int) -> list[str]:
        try:
            pids = self._entered.read_text(encoding="utf-8").split()
        except OSError:
            return []
        return pids if len(pids) >= times else []

    def release(self) -> None:
        self._release.touch()


def _noting(method: Callable[..., Any], name: str, calls: list[str]) -> Callable[..., Any]:
    def noting(*args: Any) -> Any:
        calls.append(name)
        return method(*args)

    return noting


class Lab:
    """Makes the objects under test and the data for them, knows the bounds, and runs the scenario."""

    def __init__(self, adapter: Adapter, settings: Settings, requirement: str, kind: ExecutorType | None) -> None:
        self.adapter = adapter
        self.settings = settings
        self.requirement = requirement
        self._kind = kind
        self.claims = adapter.capabilities
        self.seen = Seen()
        self.measured: dict[str, Any] = {}
        """What the check found out, for the report."""
        self.folder = Path(tempfile.mkdtemp(prefix="conformance-"))
        self.session = f"cs-{_RUN}-{next(_numbers)}"
        self.data = Vectors(f"{settings.seed}:{requirement}:{kind}", self.session)
        self.random: random.Random = self.data.random
        self._reference = ReferenceAdapter()
        self._around: Surroundings | None = None
        self._last_converter: Any = None

    @property
    def liveness_s(self) -> float:
        """How long a call may take that should take milliseconds."""
        return 10 * self.settings.scale

    @property
    def cleanup_s(self) -> float:
        """How long the end of something may take (SC-006)."""
        return 5 * self.settings.scale

    @property
    def quiet_s(self) -> float:
        """How long nothing must happen until we believe that nothing will: too short can only miss a fault."""
        return 0.05 * self.settings.scale

    @property
    def around(self) -> Surroundings:
        if self._around is None:
            self._around = Surroundings(self.liveness_s, self.cleanup_s)
        return self._around

    @property
    def events(self) -> list[str]:
        """What happened, call by call."""
        return self._around.events if self._around else []

    def close(self) -> None:
        """Remove the scratch folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def kind(self) -> ExecutorType:
        """The kind of bridge that this check is about."""
        if self._kind is None:
            raise NotApplicable("no executor bridge is claimed")
        return self._kind

    @property
    def has_processes(self) -> bool:
        return ExecutorType.MULTIPROCESS in self.claims.bridge_kinds

    def claimed(self, profile: Profile) -> bool:
        return profile in self.claims.claimed

    def data_types(self) -> list[str]:
        return [name for name in ("audio", "text", "tensor", "json") if name in self.claims.data_types]

    def some_data(self) -> Iterator[RuntimeData]:
        """A datum of each claimed type."""
        for name in self.data_types():
            yield self.data.one(name)

    def need_type(self, name: str) -> None:
        if name not in self.claims.data_types:
            raise NotApplicable(f"data type {name} is not claimed")

    def need_nodes(self, *names: str) -> None:
        missing = [] if self.claims.nodes is None else sorted(set(names) - set(self.claims.nodes))
        if missing:
            raise NotExercised(f"the adapter's bridge does not have the suite node {', '.join(missing)}")
        if set(names) - {"affine", "echo"} and "json" not in self.claims.data_types:
            raise NotExercised("the suite controls its nodes with JSON, which is not claimed")

    def _nodes(self, adapter: Adapter, kind: ExecutorType) -> dict[str, str]:
        in_loop = kind is ExecutorType.NATIVE and adapter.capabilities.runtime != "sync"
        return dict(ASYNC_NODES if in_loop else NODES)

    async def make_bridge(self, kind: ExecutorType | None = None, session: str | None = None) -> BridgeHandle:
        """A bridge that the caller closes; the reference's where the kind is not claimed."""
        kind = self.kind if kind is None else kind
        adapter: Adapter = self.adapter if kind in self.claims.bridge_kinds else self._reference
        portal = portal_for(adapter.capabilities.runtime)
        nodes = self._nodes(adapter, kind)

        def make() -> Any:
            return adapter.make_bridge(kind, session_id=session or self.session, nodes=nodes)

        raw = await self._made(portal.call(make), "make_bridge")
        return BridgeHandle(raw, adapter, portal, self.around, f"{kind}")

    @contextlib.asynccontextmanager
    async def bridge(self, kind: ExecutorType | None = None, session: str | None = None) -> AsyncIterator[BridgeHandle]:
        """A bridge for the length of a block."""
        handle = await self.make_bridge(kind, session)
        async with self._closing(handle):
            yield handle

    @contextlib.asynccontextmanager
    async def converter(self, session: str | None = None, peer: Any = None) -> AsyncIterator[ConverterHandle]:
        """A converter; the reference's where the profile is not claimed."""
        adapter: Adapter = self.adapter if self.claimed(Profile.CONVERTER) else self._reference
        portal = portal_for(adapter.capabilities.runtime)

        def make() -> Any:
            return adapter.make_converter(session_id=session or self.session, peer=peer)

        handle = ConverterHandle(
            await self._made(portal.call(make), "make_converter"), adapter, portal, self.around, "converter"
        )
        async with self._closing(handle):
            yield handle

    @contextlib.asynccontextmanager
    async def data_bridge(
        self,
        pair: str = "native-multiprocess",
        *,
        capacity: int = 8,
        timeout: float | None = None,
        ends: tuple[Any, Any] | None = None,
    ) -> AsyncIterator[DataBridgeHandle]:
        """A DataBridge between stand-ins of a pair of kinds, or between these `ends`."""
        source, target = ends or tuple(StandIn(ExecutorType[name.upper()]) for name in pair.split("-"))
        adapter: Adapter = self.adapter if self.claimed(Profile.DATABRIDGE) else self._reference
        async with self._converter_for(adapter) as converter:
            portal = portal_for(adapter.capabilities.runtime)

            def make() -> Any:
                return adapter.make_data_bridge(source, target, converter=converter, capacity=capacity, timeout=timeout)

            raw = await self._made(portal.call(make), "make_data_bridge")
            handle = DataBridgeHandle(raw, adapter, portal, self.around, "data bridge")
            async with self._closing(handle):
                yield handle

    @contextlib.asynccontextmanager
    async def _converter_for(self, adapter: Adapter) -> AsyncIterator[Any]:
        if adapter.capabilities.runtime == "sync" and not self.claimed(Profile.CONVERTER):
            self._last_converter = self._reference.plain_converter(self.session)
            yield self._last_converter
            return
        async with self.converter() as handle:
            self._last_converter = handle.raw
            yield handle.raw

    @contextlib.asynccontextmanager
    async def conversions(self) -> AsyncIterator[list[str]]:
        """The calls of the converter that stands behind the data bridges of this block, as they come.

        A converter whose methods can not be watched (slots) leaves the list empty: nothing is accused then.
        """
        calls: list[str] = []
        raw, watched = self._last_converter, []
        for name in ("to_ipc", "from_ipc"):
            with contextlib.suppress(AttributeError, TypeError):
                setattr(raw, name, _noting(getattr(raw, name), name, calls))
                watched.append(name)
        try:
            yield calls
        finally:
            for name in watched:
                delattr(raw, name)

    async def _made(self, making: Awaitable[Any], what: str) -> Any:
        with trio.move_on_after(self.liveness_s):
            try:
                return await making
            except (Failure, ServiceError):
                raise
            except Exception as error:
                raise ForeignError(what, error) from error
        raise Hang(f"{what} returns within {self.liveness_s:g} s", "it did not")

    @contextlib.asynccontextmanager
    async def _closing(self, handle: Any) -> AsyncIterator[None]:
        failed = True
        try:
            yield
            failed = False
        finally:
            with trio.CancelScope(shield=True):
                try:
                    await handle.aclose()
                except ServiceError:
                    pass  # what closing has to do is the business of other checks
                except Exception:
                    if not failed:
                        raise

    async def node(
        self, bridge: BridgeHandle, node_type: str, params: Mapping[str, Json] | None = None, node_id: str | None = None
    ) -> Node:
        """An initialized node of the suite."""
        self.need_nodes(node_type)
        node = Node(self, bridge, node_id or f"{node_type}-{next(_numbers)}", node_type)
        await node.initialize(params)
        return node

    async def held(self, bridge: BridgeHandle, *, deaf: bool = False) -> Held:
        """A node whose calls block until they are released; a deaf one ignores SIGTERM meanwhile."""
        entered, release = (self.folder / f"{word}-{next(_numbers)}" for word in ("entered", "release"))
        node = await self.node(bridge, "hold", {"entered": str(entered), "release": str(release), "deaf": deaf})
        return Held(self, node, entered, release)

    async def until(self, condition: Callable[[], Any], what: str, bound_s: float | None = None) -> Any:
        """Wait until the condition gives something true, and return that."""
        bound_s = self.liveness_s if bound_s is None else bound_s
        deadline = trio.current_time() + bound_s
        while not (value := condition()):
            if trio.current_time() > deadline:
                raise Hang(f"{what} within {bound_s:g} s", "it did not happen")
            await trio.sleep(0.002)
        return value

    async def quiet(self, times: float = 1) -> None:
        """Let happen what wants to happen."""
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(self.quiet_s * times)

    @contextlib.contextmanager
    def fault(self, handle: Any, fault: Fault) -> Iterator[None]:
        """The adapter's hook for a fault.

        Raises:
            NotExercised: it has none.
        """
        hook = handle.adapter.inject(handle.raw, fault)
        if hook is None:
            raise NotExercised(f"adapter has no inject({fault.name})")
        with hook:
            yield

    def has_fault(self, handle: Any, fault: Fault) -> bool:
        hook: object = handle.adapter.inject(handle.raw, fault)
        return hook is not None

    async def ledger(self) -> Ledger:
        """What is held now."""
        return Ledger.take(await self._tasks(), self.claims.daemons)

    async def _tasks(self) -> int | None:
        return await portal_for(self.claims.runtime).tasks()

    async def nothing_left(self, before: Ledger, *kinds: str) -> None:
        """Fail where something of these kinds is still there after the bound for cleanup."""
        left = await settled(before, self.seen, kinds, self.cleanup_s, self._tasks, self.claims.daemons)
        items = [item for items in left.values() for item in items]
        more = f" and {len(items) - 8} more" if len(items) > 8 else ""
        words = "; ".join(items[:8]) + more
        expect(not left, f"nothing left within {self.cleanup_s:g} s", f"left behind: {words}")
