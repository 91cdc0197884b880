"""Graphs for chaos: random ones, and the one that the engine was asked to survive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import penstock
from bench.chaotic.nodes import digest
from penstock.executors.contract import RuntimeData

__all__ = ["ENDLESS", "Graph", "issue_graph", "random_graph"]

NODES = "bench.chaotic.nodes"
TIRELESS: dict[str, Any] = {
    "restart": {"max": "unlimited", "backoff": 0},
    "max_redeliveries": "unlimited",
}
ENDLESS = 1 << 40
_RECITED = 3000
"""A worker's source recites from its beginning each time: that is bounded."""
_MOST_WORKERS = 6

Paths = dict[str, list[tuple[tuple[int, ...], int]]]
"""By path, (number, checksum) of everything that came."""


@dataclass(slots=True)
class Sink:
    """What came to a sink. `exact`: it is the same in every run; else some data are dropped."""

    exact: bool
    paths: Paths = field(default_factory=dict)

    def keep(self, data: RuntimeData) -> None:
        path, at, checksum = digest(data)
        self.paths.setdefault(path, []).append((at, checksum))


@dataclass(slots=True)
class Graph:
    """A pipeline with its sinks, by name.

    Attributes:
        sources: data of each; those that have not ended by themselves are told to end.
    """

    pipeline: penstock.Pipeline
    sources: dict[str, int]
    sinks: dict[str, Sink] = field(default_factory=dict)

    def sink(self, *ports: str, exact: bool, **options: Any) -> None:
        """A sink into which some ports are merged."""
        name = f"sink{len(self.sinks)}"
        self.sinks[name] = Sink(exact)
        self.pipeline.add(name, self.sinks[name].keep)
        for port in ports:
            self.pipeline.connect(port, name, **options)


Build = Callable[[dict[str, int] | None], Graph]
"""Makes a graph anew, with so many data of each source where that is known."""


def issue_graph(seed: int, counts: dict[str, int] | None = None) -> Graph:
    """Six `replay` workers: four stateless ones, one of them behind a merge, one with snapshots, and a zip.

    left  -> one -> both -> sum -> sink
         \\-> three -> pair.a -> sink
    right -> two -> both
         \\-> pair.b
    """
    counts = counts or {"left": ENDLESS, "right": ENDLESS}
    graph = Graph(penstock.Pipeline(f"issue {seed}"), counts)
    pipeline = graph.pipeline
    for name in ("left", "right"):
        pipeline.add(name, f"{NODES}:Stream", {"count": counts[name]})
    for name, kind in {
        "one": "Branch",
        "two": "Pass",
        "three": "Branch",
        "both": "Pass",
        "sum": "Tally",
        "pair": "Couple",
    }.items():
        pipeline.add(name, f"{NODES}:{kind}", executor="multiprocess", **TIRELESS)
    for chain in ("left -> one.in", "one.out -> both.in", "left -> three.in", "right -> two -> both -> sum.in"):
        pipeline.connect(chain)
    pipeline.connect("three.out -> pair.a").connect("right -> pair.b")
    for port in ("one.side", "three.side", "sum.out", "sum.side", "pair.a", "pair.b"):
        graph.sink(port, exact=True)
    graph.sink("pair.unmatched_a", "pair.unmatched_b", exact=True)
    return graph


@dataclass(frozen=True, slots=True)
class _Port:
    """An output.

    Attributes:
        roots: the sources that its data come from.
        pure: its data have one order.
        exact: those of each path have.
        steady: there is one for each datum of its source.
        shared: it is that of a node with replicas, around which edges block.
    """

    name: str
    roots: frozenset[str]
    pure: bool = True
    exact: bool = True
    steady: bool = True
    shared: bool = False


class _Random:
    """Draws a graph."""

    def __init__(self, seed: int, counts: dict[str, int] | None) -> None:
        self._random = Random(seed)
        self._counts = counts
        self._pipeline = penstock.Pipeline(f"chaos {seed}")
        self._graph = Graph(self._pipeline, {})
        self._unused: list[_Port] = []
        self._used: list[_Port] = []
        self._workers = 0
        self._coupled: dict[str, str] = {}
        """Which sources may not get ahead of each other any more, as a zip holds them together."""

    def draw(self) -> Graph:
        random = self._random
        for n in range(random.randint(1, 3)):
            self._source(f"source{n}")
        for n in range(random.randint(3, 8)):
            self._node(f"node{n}")
        if not self._workers:
            self._pass("worker", "multiprocess")
        while self._unused:
            ports = dict.fromkeys(self._take() for _ in range(random.choice((1, 1, 1, 2, 3))))
            self._graph.sink(*(p.name for p in ports), exact=all(p.exact for p in ports), **self._bounds())
        return self._graph

    def _source(self, name: str) -> None:
        executor = self._executor(0.3)
        count = ENDLESS if executor == "native" else _RECITED
        count = count if self._counts is None else self._counts[name]
        self._graph.sources[name] = count
        self._add(name, "Stream", executor, {"count": count})
        self._coupled[name] = name
        self._unused.append(_Port(f"{name}.out", frozenset([name])))

    def _node(self, name: str) -> None:
        kind = self._random.choice(
            ("Pass", "Pass", "Branch", "Branch", "Tally", "Tally", "Keep", "Couple", "Couple", "Newest")
        )
        if kind in {"Couple", "Newest"}:
            self._group(name, kind)
            return
        merged = self._random.random() < 0.3
        ports = list(dict.fromkeys(self._take() for _ in range(self._random.randint(2, 3) if merged else 1)))
        params = {"ballast": self._random.choice((0, 100, 3 << 20))} if kind == "Tally" else {}
        executor = self._executor(0.8)
        shared = kind == "Pass" and executor == "multiprocess" and len(ports) == 1 and not ports[0].shared
        shared = shared and self._random.random() < 0.6
        self._add(name, kind, executor, params, replicas=self._random.randint(2, 3) if shared else 1)
        exact = [self._join(port, f"{name}.in", keeps=shared) and port.exact for port in ports]
        pure = len(ports) == 1 and ports[0].pure
        outputs = ("out", "side") if kind in {"Branch", "Tally"} else ("out",)
        roots = frozenset().union(*(port.roots for port in ports))
        steady = len(ports) == 1 and ports[0].steady and kind != "Branch" and all(exact)
        self._unused += [
            _Port(f"{name}.{port}", roots, pure, all(exact), steady and port == "out", shared) for port in outputs
        ]

    def _group(self, name: str, kind: str) -> None:
        a, b = self._take(), self._take()
        if not self._may_couple(a, b):
            kind = "Newest"  # it takes whatever comes
        self._add(name, kind, self._executor(0.8), {}, sized=False)
        exact = [self._join(port, f"{name}.{into}") and port.exact for port, into in ((a, "a"), (b, "b"))]
        known = all(exact) and a.pure and b.pure and kind == "Couple"
        outputs = ("a", "b", "unmatched_a", "unmatched_b") if kind == "Couple" else ("a", "b", "unmatched_a")
        roots = a.roots | b.roots
        if kind == "Couple":
            self._coupled |= {
                root: self._coupled[min(roots)] for root in self._coupled if self._is_held_with(root, roots)
            }
        self._unused += [_Port(f"{name}.{port}", roots, known, known, steady=False) for port in outputs]

    def _may_couple(self, a: _Port, b: _Port) -> bool:
        """Whether a zip of the two needs no more room the longer it runs."""
        if a.roots == b.roots:
            return len(a.roots) == 1 and a.steady and b.steady
        return not {self._coupled[root] for root in a.roots} & {self._coupled[root] for root in b.roots}

    def _is_held_with(self, root: str, roots: frozenset[str]) -> bool:
        return self._coupled[root] in {self._coupled[other] for other in roots}

    def _pass(self, name: str, executor: str) -> None:
        port = self._take()
        self._add(name, "Pass", executor, {})
        self._workers += 1
        self._join(port, f"{name}.in")
        self._unused.append(replace(port, name=f"{name}.out", shared=False))

    def _take(self) -> _Port:
        """An output, which is used for the first time if there is one."""
        random = self._random
        if self._unused and (not self._used or random.random() < 0.8):
            port = self._unused.pop(random.randrange(len(self._unused)))
            self._used.append(port)
            return port
        return random.choice(self._used)

    def _join(self, source: _Port, target: str, *, keeps: bool = False) -> bool:
        """Connect; whether the edge keeps everything."""
        random = self._random
        drops = random.random() < 0.1 and not keeps and not source.shared
        policy = random.choice(("drop_oldest", "drop_newest", "latest")) if drops else "block"
        bounds = self._bounds()
        if policy == "latest":
            del bounds["capacity"]
        self._pipeline.connect(source.name, target, policy=policy, **bounds)
        return not drops

    def _bounds(self) -> dict[str, Any]:
        random = self._random
        return {"capacity": random.choice((1, 2, 3, 4, 8, 16, 64)), "max_bytes": random.choice((200_000, 4 << 20))}

    def _executor(self, chance: float) -> str:
        worker = self._random.random() < chance and self._workers < _MOST_WORKERS
        self._workers += worker
        return "multiprocess" if worker else "native"

    def _add(
        self, name: str, kind: str, executor: str, params: dict[str, Any], *, sized: bool = True, replicas: int = 1
    ) -> None:
        if sized:
            params = {**params, **self._sizes}
        options = TIRELESS if executor == "multiprocess" else {}
        every = self._random.choice((None, 1, 7))
        if kind in {"Tally", "Keep", "Couple", "Newest"} and executor == "multiprocess":
            options = {**options, "snapshot_every": every}
        self._pipeline.add(name, f"{NODES}:{kind}", params, executor=executor, replicas=replicas, **options)

    @property
    def _sizes(self) -> dict[str, int]:
        return self._random.choice(({}, {}, {"large": 0, "arrays": 2}, {"large": 10, "arrays": 60}, {"pad": 20_000}))


def random_graph(seed: int, counts: dict[str, int] | None = None) -> Graph:
    """The graph of a seed."""
    return _Random(seed, counts).draw()
