"""Graphs that say nothing of where their nodes run, ways to place them, and what is to be compared of two runs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeAlias

import trio
from support import ROOT

import penstock
from penstock.engine.options import RunOptions
from penstock.engine.report import Report
from penstock.executors.contract import NodeExecution

Place: TypeAlias = Literal["native", "thread", "multiprocess", "wasm", "wasm worker"]
Stream: TypeAlias = list[tuple[int, Any]]
"""Serial and digest of each datum."""

GUESTS = {"words": ROOT / "tests/guests/words.wasm", "clean": ROOT / "examples/speech/clean.wasm"}


@dataclass(frozen=True, slots=True)
class Vertex:
    """A node; `guest` is its form as a .wasm file."""

    name: str
    type: str
    params: dict[str, Any] = field(default_factory=dict)
    guest: str = ""
    is_async: bool = False


@dataclass(slots=True)
class Graph:
    """Nodes and edges; types without a module are those of `nodes.tracing`."""

    name: str
    nodes: list[Vertex] = field(default_factory=list)
    edges: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def add(self, name: str, type: str, *, guest: str = "", **params: Any) -> Graph:
        self.nodes.append(Vertex(name, type, params, guest))
        return self

    def connect(self, *chains: str, **options: Any) -> Graph:
        self.edges += [(chain, options) for chain in chains]
        return self

    def pipeline(self, folder: Path, places: dict[str, Place]) -> penstock.Pipeline:
        """The graph with its nodes in these places, each writing what it sees into this folder."""
        pipeline = penstock.Pipeline(self.name)
        for node in self.nodes:
            place = places[node.name]
            traced = ":" not in node.type
            params = {**node.params, "folder": str(folder)} if traced else node.params
            name = f"nodes.tracing:{node.type}" if traced else node.type
            if place.startswith("wasm"):
                name, params = str(GUESTS[node.guest]), node.params
            executor = {"thread": "native", "wasm worker": "multiprocess"}.get(place, place)
            pipeline.add(node.name, name, params, executor=executor, thread=place == "thread")
        for chain, options in self.edges:
            pipeline.connect(chain, **options)
        return pipeline

    def __str__(self) -> str:
        return self.name


# Places


def placings(graph: Graph) -> dict[str, dict[str, Place]]:
    """Ways to place the nodes of a graph, by name, but for all of them in this process."""
    random = Random(graph.name)
    names = [node.name for node in graph.nodes]
    odd: dict[str, Place] = {name: ("native", "multiprocess")[n % 2] for n, name in enumerate(names)}
    even: dict[str, Place] = {name: ("multiprocess", "native")[n % 2] for n, name in enumerate(names)}
    ways: dict[str, dict[str, Place]] = {
        "multiprocess": dict.fromkeys(names, "multiprocess"),
        "every second": random.choice((odd, even)),
        "threads": dict.fromkeys(names, "thread"),
        "any": {name: random.choice(("native", "thread", "multiprocess")) for name in names},
    }
    guests = {node.name for node in graph.nodes if node.guest}
    if guests:
        ways["wasm"] = {name: "wasm" if name in guests else "native" for name in names}
        ways["wasm worker"] = {name: "wasm worker" if name in guests else "multiprocess" for name in names}
        ways["wasm mixed"] = {name: "wasm" if name in guests else odd[name] for name in names}
    return ways


# Runs


@dataclass(frozen=True, slots=True)
class Outcome:
    """What there is to see of a run; there is no report of one that could not begin."""

    report: Report | None
    error: NodeExecution | None
    taken: dict[tuple[str, str], dict[str, Stream]]
    """(node, input port) to the port that a datum came from, to what came."""
    given: dict[str, Stream]
    """Output port to what was given there."""
    streams: dict[tuple[str, str, tuple[str, ...]], list[Any]]
    """(node, input port, trail) to what came."""
    traced: set[str]
    """The nodes that write down what passes them."""


def without_frames(error: NodeExecution) -> NodeExecution:
    """An error that can be kept: its frames hold what theirs had, and those that called them."""
    known: BaseException | None = error
    while known is not None:
        known.__traceback__ = None
        known = known.__cause__ or known.__context__
    return error


def observe(graph: Graph, folder: Path, places: dict[str, Place]) -> Outcome:
    """Run a graph to its end."""
    folder.mkdir()

    async def main() -> tuple[Report | None, NodeExecution | None]:
        run, error = None, None
        try:
            async with graph.pipeline(folder, places).open(RunOptions(on_output=lambda *_: None)) as run:
                await run.wait()
        except NodeExecution as failure:
            error = without_frames(failure)
        return run and run.report(), error

    report, error = trio.run(main)
    taken: dict[tuple[str, str], dict[str, Stream]] = defaultdict(lambda: defaultdict(list))
    given: dict[str, Stream] = defaultdict(list)
    streams: dict[tuple[str, str, tuple[str, ...]], list[Any]] = defaultdict(list)
    for node, (way, port, trail, serial, said) in _traces(folder):
        if way == "out":
            given[f"{node}.{port}"].append((serial, said))
        else:
            taken[node, port][trail[-1] if trail else ""].append((serial, said))
            streams[node, port, tuple(trail)].append(said)
    return Outcome(report, error, dict(taken), dict(given), dict(streams), {path.name for path in folder.iterdir()})


def _traces(folder: Path) -> Iterator[tuple[str, Any]]:
    for path in sorted(folder.iterdir()):
        for line in path.read_text().splitlines():
            yield path.name, json.loads(line)


def at_home(graph: Graph) -> dict[str, Place]:
    """All nodes in this process."""
    return dict.fromkeys((node.name for node in graph.nodes), "native")


def ledger(outcome: Outcome) -> dict[str, tuple[int, ...]]:
    """What does not depend on the place, of every edge, after a look at the sums."""
    for edge in outcome.report.edges:
        assert edge.sent == edge.received + edge.dropped + edge.in_flight, edge
        assert edge.in_flight >= 0, edge
    return {edge.name: (edge.sent, edge.received, edge.dropped, edge.sent_bytes) for edge in outcome.report.edges}


def between(outcome: Outcome) -> dict[str, tuple[Stream, Stream]]:
    """What was given to each edge, and what was taken from it; of edges between nodes that write it down."""
    found = {}
    for edge in outcome.report.edges:
        source, target = edge.name.split(" -> ")
        node, port = target.split(".")
        if {source.split(".")[0], node} <= outcome.traced:
            found[edge.name] = outcome.given.get(source, []), outcome.taken.get((node, port), {}).get(source, [])
    return found


# Graphs by hand


def by_hand() -> list[Graph]:
    """One for each shape that has a name."""
    one = {"capacity": 1}
    return [
        Graph("chain")
        .add("in", "Source", seed=1)
        .add("a", "Change")
        .add("b", "Keep")
        .add("out", "Sink")
        .connect("in -> a -> b -> out"),
        Graph("chain of narrow edges")
        .add("in", "Source", seed=2, large=40)
        .add("a", "Keep")
        .add("b", "Several")
        .add("out", "Sink")
        .connect("in -> a", "a -> b", **one)
        .connect("b -> out", max_bytes=1),
        Graph("fan-out")
        .add("in", "AsyncSource", seed=3, large=30)
        .add("a", "Change")
        .add("b", "Keep")
        .add("x", "Sink")
        .add("y", "SlowSink")
        .add("z", "Sink")
        .connect("in -> a -> x", "in -> b -> y", "in -> z", capacity=3),
        Graph("fan-in")
        .add("p", "Source", seed=4)
        .add("q", "AsyncSource", seed=5, count=11)
        .add("r", "Source", seed=6, count=0)
        .add("both", "Change")
        .add("out", "Sink")
        .connect("p -> both -> out")
        .connect("q -> both", **one)
        .connect("r -> both"),
        Graph("diamond")
        .add("in", "Source", seed=7)
        .add("a", "Some")
        .add("b", "Later")
        .add("join", "Join")
        .add("out", "Sink")
        .connect("in -> a -> join.left", "in -> b -> join.right", capacity=2)
        .connect("join -> out"),
        Graph("one node to both ports of another")
        .add("in", "Source", seed=8)
        .add("join", "Join")
        .add("out", "Sink")
        .connect("in -> join.left", "in -> join.right", **one)
        .connect("join -> out"),
        Graph("several ports")
        .add("in", "PortsSource", seed=9)
        .add("ports", "Ports")
        .add("join", "Join")
        .add("left", "Sink")
        .add("all", "Sink")
        .connect("in.out -> ports", "in.side -> join.left", "ports.left -> left", capacity=5)
        .connect("ports.right -> join.right", "ports.out -> join.left", "join -> all", **one),
        Graph("ports that nobody reads")
        .add("in", "PortsSource", seed=10)
        .add("ports", "Ports")
        .add("out", "Sink")
        .connect("in.side -> ports", "ports.right -> out"),
        Graph("windows behind a merge")
        .add("p", "Source", seed=11, count=20)
        .add("q", "Source", seed=12, count=10)
        .add("windows", "Windows")
        .add("again", "Windows")
        .add("out", "Sink")
        .connect("p -> windows -> again -> out", "q -> windows"),
        Graph("generators and coroutines")
        .add("in", "AsyncSource", seed=13)
        .add("a", "Several")
        .add("b", "SeveralLater")
        .add("c", "Later")
        .add("out", "Sink")
        .connect("in -> a -> b -> c -> out", capacity=2),
        Graph("claims")
        .add("in", "Claims", seed=14)
        .add("a", "InPlace")
        .add("b", "InPlace")
        .add("x", "Sink")
        .add("y", "Keep")
        .connect("in -> a -> b -> x", "in -> y", "a -> y", capacity=4),
        Graph("functions")
        .add("in", "Source", seed=15)
        .add("a", "nodes.small:twice")
        .add("b", "nodes.small:several_later")
        .add("c", "nodes.small:none")
        .add("d", "nodes.small:later")
        .add("out", "Sink")
        .connect("in -> a -> b -> d -> out", "a -> c -> d"),
        Graph("nothing at all")
        .add("in", "Source", seed=16, count=0)
        .add("a", "Later")
        .add("b", "Ports")
        .add("out", "Sink")
        .connect("in -> a", "a -> b", "b.out -> out", "b.right -> out"),
        Graph("large frames to many")
        .add("in", "Source", seed=17, count=20, large=100)
        .add("a", "Keep")
        .add("b", "Keep")
        .add("x", "Sink")
        .add("y", "Sink")
        .connect("in -> x", "in -> a", "in -> b", capacity=2)
        .connect("a -> y", "b -> y", max_bytes=1 << 20),
        Graph("words").add("in", "Lines").add("words", "nodes.tracing:Words", guest="words").add("out", "Untimed")
        .connect("in -> words -> out", capacity=3),
        Graph("clean").add("in", "Sound").add("clean", "clean_twin:Clean", guest="clean", cutoff_hz=120.0, gain_db=-3.0)
        .add("out", "Rounded").add("raw", "Sink").connect("in -> clean -> out", "in -> raw"),
    ]  # fmt: skip


# Graphs that fail

FAILURES = (
    "construct initialize plain mute exits generator coroutine async_generator wrong_type wrong_item wrong_port "
    "mismatch objects flush flush_generator"
).split()


def failing() -> list[Graph]:
    """A node `bad` that fails somewhere, between others that do not."""
    graphs = [
        Graph(how)
        .add("in", "Source", seed=n, count=9)
        .add("bad", "Fails", how=how)
        .add("out", "Sink")
        .connect("in -> bad -> out")
        for n, how in enumerate(FAILURES)
    ]
    graphs += [
        Graph(name).add("bad", name, seed=1, count=9).add("out", "Sink").connect("bad -> out")
        for name in ("FailingSource", "FailingAsyncSource")
    ]
    return [*graphs, Graph("cleanup").add("in", "Source", seed=2).add("bad", "FailsAtEnd").connect("in -> bad")]


def placings_of_failing(graph: Graph) -> dict[str, dict[str, Place]]:
    home = at_home(graph)
    return {
        "multiprocess": dict.fromkeys(home, "multiprocess"),
        "threads": dict.fromkeys(home, "thread"),
        "alone in a worker": home | {"bad": "multiprocess"},
    }


# Graphs by chance

_SOURCES = ("Source", "Source", "AsyncSource", "PortsSource", "Claims")
_BETWEEN = ("Change", "Keep", "Some", "Several", "Later", "SeveralLater", "Ports", "Windows", "Join", "InPlace")
_OUTPUTS = {"PortsSource": ("out", "side"), "Ports": ("out", "left", "right")}
_INPUTS = {"Join": ("left", "right")}


def by_chance(seed: int, *, policies: tuple[str, ...] = ("block",), nodes: tuple[int, int] = (1, 4)) -> Graph:
    """A graph of one or two sources, some nodes, and one or two sinks; the same one for the same seed."""
    random = Random(f"graph {seed}")
    graph = Graph(f"seed {seed}")
    open_ports: list[str] = []
    for n in range(random.choice((1, 1, 2))):
        kind = random.choice(_SOURCES)
        params = {"seed": random.randrange(1000), "count": random.randrange(25), "large": random.choice((0, 5, 30))}
        graph.add(f"in{n}", kind, **params)
        open_ports += [f"in{n}.{port}" for port in _OUTPUTS.get(kind, ("out",))]
    unread = list(open_ports)
    for n in range(random.randint(*nodes)):
        kind = random.choice(_BETWEEN)
        graph.add(f"n{n}", kind)
        for port in _INPUTS.get(kind, ("in",)):
            for source in _several(random, unread, open_ports):
                graph.connect(f"{source} -> n{n}.{port}", **_bounds(random, policies))
        added = [f"n{n}.{port}" for port in _OUTPUTS.get(kind, ("out",))]
        open_ports += added
        unread = [*(port for port in unread if not _is_read(graph, port)), *added]
    for n in range(random.choice((1, 1, 2))):
        graph.add(f"out{n}", random.choice(("Sink", "Sink", "SlowSink")))
        for source in dict.fromkeys([*_several(random, unread, open_ports), *(unread if not n else ())]):
            graph.connect(f"{source} -> out{n}", **_bounds(random, policies))
    return graph


def _several(random: Random, unread: list[str], all_ports: list[str]) -> list[str]:
    """One to three output ports, rather such that nobody reads yet."""
    count = random.choice((1, 1, 1, 2, 3))
    wanted = [random.choice(unread if unread and random.random() < 0.7 else all_ports) for _ in range(count)]
    return list(dict.fromkeys(wanted))


def _is_read(graph: Graph, port: str) -> bool:
    return any(chain.startswith(f"{port} ->") for chain, _ in graph.edges)


def _bounds(random: Random, policies: tuple[str, ...]) -> dict[str, Any]:
    policy = random.choice(policies)
    if policy == "latest":
        return {"policy": policy}
    bounds: dict[str, Any] = {"policy": policy, "capacity": random.choice((1, 2, 3, 7, 64))}
    if random.random() < 0.3:
        bounds["max_bytes"] = random.choice((1, 5000, 100_000))
    return bounds
