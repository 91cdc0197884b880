"""What the engine and a worker say to each other beside the data: JSON, a line each, over a socket pair.

Engine to worker: one `WorkerSpec`, then `{"type": "start"}`. Worker to engine: `ready` or `failed`, `error` (a node
raised on a stream), `log`, and `finished` with why ("ended", "interrupted", "peer lost") and counters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from penstock.executors.contract import Json
from penstock.shm.patience import WaitMode

__all__ = ["JournalSpec", "LinkSpec", "NodeSpec", "WorkerSpec", "decode_spec", "encode", "lines"]


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """One end of a ring, as the worker at that end has to know it.

    Attributes:
        name: of the edge, for errors.
        port: of the node; None where each record says its port (a stream to a bridge).
        ring: the segment.
        family: the arenas of the writer.
        peer_bell: descriptors of the other side's doorbell.
        lane, max_bytes: see `EdgeOptions`.
        timeout_s: how long a send may wait.
        max_age_s: what was sent longer ago is discarded when it would be taken.
        wait: how it waits (see `penstock.shm.patience`).
        feedback: the engine may end it, when its writer has nothing to send.
        strands: how many links in a row its edge consists of, to or from replicas.
        causes: behind a replica, the ring of that one's inputs.
    """

    name: str
    port: str | None
    ring: str
    family: str
    peer_bell: tuple[int, int]
    lane: int = 0
    max_bytes: int = 16 << 20
    timeout_s: float | None = None
    max_age_s: float | None = None
    wait: WaitMode = "adaptive"
    feedback: bool = False
    strands: int = 1
    causes: str = ""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """The node that a worker runs."""

    node_id: str
    node_type: str
    params: Mapping[str, Json] = field(default_factory=dict)
    session_id: str = ""
    metadata: Mapping[str, Json] = field(default_factory=dict)
    on_error: str = "fail"


@dataclass(frozen=True, slots=True)
class JournalSpec:
    """How a worker notes what a successor has to know (see `journal`).

    Attributes:
        blobs: descriptors of two files for snapshots; None of a stateless node.
        every: inputs between two snapshots at most.
        succeeds: whether there was a worker before.
        fresh: whether what it knew, or has made as a source, is no concern of who takes its place.
        set_aside: (number of the input, sequence) of data that are not given to the node any more.
        crashes: why they are not.
    """

    blobs: tuple[int, int] | None = None
    every: int | None = None
    succeeds: bool = False
    fresh: bool = False
    set_aside: tuple[tuple[int, int], ...] = ()
    crashes: str = ""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """All that a worker has to know.

    Attributes:
        node: what to run.
        bell: descriptors of its own doorbell.
        family: under which name it may create arenas.
        page: the segment of its page.
        journal: left out where nobody is to go on in its place.
        inputs, outputs: its edges.
        search_path: `sys.path` of the engine.
        main_path: the program's main script, for node types that are defined there.
        types: short names of node types, each a `package.module:Name`.
        trace: the segment of its trace, if it is traced.
    """

    node: NodeSpec
    bell: tuple[int, int]
    family: str
    page: str
    journal: JournalSpec | None = None
    inputs: tuple[LinkSpec, ...] = ()
    outputs: tuple[LinkSpec, ...] = ()
    search_path: tuple[str, ...] = ()
    main_path: str | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    trace: str | None = None


def encode(message: WorkerSpec | Mapping[str, Json]) -> bytes:
    """One line."""
    said: Any = asdict(message) if isinstance(message, WorkerSpec) else message
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


def decode_spec(line: bytes) -> WorkerSpec:
    said = json.loads(line)
    said["node"] = NodeSpec(**said["node"])
    if said["journal"] is not None:
        said["journal"]["set_aside"] = tuple(map(tuple, said["journal"]["set_aside"]))
        said["journal"] = JournalSpec(**said["journal"])
    for side in ("inputs", "outputs"):
        said[side] = tuple(LinkSpec(**link) for link in said[side])
    return WorkerSpec(**said)


def lines(buffer: bytearray) -> Iterator[bytes]:
    """Take the complete lines out of a buffer."""
    while (end := buffer.find(b"\n")) >= 0:
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        yield line
