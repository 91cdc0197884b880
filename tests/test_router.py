"""The router: each call goes to the executor that the node's type is routed to."""

import os

import pytest
from guests.wat import guest_file, private_cache  # noqa: F401

from penstock.executors import BridgeRouter, MultiprocessExecutorBridge, NativeExecutorBridge, WasmExecutorBridge
from penstock.executors.contract import BridgeClosed, ExecutorType, RuntimeData, ServiceError, Validation
from penstock.executors.router import Routes

NATIVE, MULTIPROCESS, WASM = ExecutorType.NATIVE, ExecutorType.MULTIPROCESS, ExecutorType.WASM
SMALL = "nodes.small"
TEXT = RuntimeData.text("x")


class Recorder:
    """A bridge that notes what is asked of it."""

    def __init__(self, executor_type, *, fails=False):
        self.executor_type = executor_type
        self.fails = fails
        self.asked = []

    async def initialize_node(self, node_id, node_type, params):
        self.note("initialize", node_id)

    async def execute_node(self, node_id, node_type, input_data, params):
        self.note("execute", node_id)
        return input_data

    async def cleanup_node(self, node_id):
        self.note("cleanup", node_id)

    async def aclose(self):
        self.note("close")

    def note(self, *what):
        self.asked.append(what)
        if self.fails:
            raise Validation("as told")


def test_without_rules_everything_is_native():
    """But files for the sandbox."""
    routes = Routes()
    assert routes.executor_for("a.b:C") is NATIVE
    assert routes.executor_for("some/where.wasm") is WASM


def test_an_exact_name_goes_before_a_pattern_and_a_pattern_before_the_default():
    """The first pattern that fits; upper and lower case are different."""
    routes = Routes({"m:*": MULTIPROCESS, "m:special": NATIVE, "m:sp*": WASM, "[ab]:?": WASM}, default=NATIVE)
    for node_type, executor in {
        "m:other": MULTIPROCESS,
        "m:special": NATIVE,
        "m:spare": MULTIPROCESS,
        "a:x": WASM,
        "b:xy": NATIVE,
        "M:other": NATIVE,
    }.items():
        assert routes.executor_for(node_type) is executor
    assert Routes(default=MULTIPROCESS).executor_for("any") is MULTIPROCESS


def test_a_wasm_file_goes_to_wasm_whatever_the_rules_say():
    """Nothing else can run it."""
    assert Routes({"*": MULTIPROCESS, "a.wasm": NATIVE}).executor_for("a.wasm") is WASM


def test_rules_are_taken_as_they_are_when_given():
    """Later changes of the caller's mapping are its own."""
    rules = {"a": MULTIPROCESS}
    routes = Routes(rules)
    rules["a"] = NATIVE
    assert routes.executor_for("a") is MULTIPROCESS


def test_two_bridges_of_one_type_are_refused():
    """Nobody could say which one is meant."""
    with pytest.raises(Validation, match="two bridges of one executor type"):
        BridgeRouter(Recorder(NATIVE), Recorder(NATIVE))


async def test_a_type_without_a_bridge_is_refused_by_name():
    """Which type, and which executor is missing."""
    async with BridgeRouter(Recorder(NATIVE)) as router:
        for call in (router.initialize_node("n", "a.wasm", {}), router.execute_node("n", "a.wasm", TEXT, {})):
            with pytest.raises(Validation, match="Node type a.wasm belongs to the WASM executor"):
                await call


async def test_calls_reach_their_bridge_and_cleanup_follows_the_node():
    """The one that initialized it is the one that cleans it up."""
    one, other = Recorder(NATIVE), Recorder(MULTIPROCESS)
    async with BridgeRouter(one, other, routes=Routes({"slow": MULTIPROCESS})) as router:
        await router.initialize_node("a", "slow", {})
        assert await router.execute_node("a", "slow", TEXT, {}) is TEXT
        assert await router.execute_node("b", "fast", TEXT, {}) is TEXT
        await router.cleanup_node("a")
        await router.cleanup_node("b")
    assert other.asked == [
        ("initialize", "a"), ("execute", "a"), ("cleanup", "a"), ("cleanup", "b"), ("close",),
    ]  # fmt: skip
    assert one.asked == [("execute", "b"), ("cleanup", "b"), ("close",)]


async def test_a_node_that_failed_to_initialize_is_not_remembered():
    """Its error comes through."""
    bad = Recorder(NATIVE, fails=True)
    router = BridgeRouter(bad)
    with pytest.raises(Validation, match="as told"):
        await router.initialize_node("n", "t", {})
    assert router._where == {}


async def test_one_bridge_that_fails_to_close_does_not_keep_the_others_open():
    """The error is told, and every bridge was closed."""
    bad, good = Recorder(NATIVE, fails=True), Recorder(MULTIPROCESS)
    with pytest.raises(ServiceError, match="as told"):
        await BridgeRouter(bad, good).aclose()
    assert good.asked == [("close",)]


async def test_the_same_graph_on_three_executors(tmp_path):
    """R-CC-01, R-EB-04: one router over real bridges; each type runs where it belongs, and all are closed with it."""
    path = str(guest_file(tmp_path))
    bridges = (NativeExecutorBridge(), MultiprocessExecutorBridge(), WasmExecutorBridge())
    routes = Routes({f"{SMALL}:pid": MULTIPROCESS})
    async with BridgeRouter(*bridges, routes=routes) as router:
        for node_id, node_type in (("e", f"{SMALL}:echo"), ("p", f"{SMALL}:pid"), ("w", path)):
            await router.initialize_node(node_id, node_type, {})
        assert await router.execute_node("e", f"{SMALL}:echo", TEXT, {}) == TEXT
        assert await router.execute_node("w", path, TEXT, {}) == TEXT
        said = (await router.execute_node("p", f"{SMALL}:pid", TEXT, {})).as_json()
        assert said["pid"] not in {os.getpid(), None}
    for bridge in bridges:
        with pytest.raises(BridgeClosed):
            await bridge.initialize_node("n", f"{SMALL}:echo", {})
