"""How a pipeline is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike

from penstock.engine.faults import OnDeadLetter
from penstock.executors.multiprocess.supervisor import OnOutput, print_output

__all__ = ["RunOptions"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a pipeline is run.

    Attributes:
        only_native: every node in this process, for the debugger.
        grace_s: how long a stop may take to drain, and then a worker to end after SIGTERM.
        on_output: gets each line that a worker prints: `on_output(node_id, "stdout" | "stderr", line)`.
        session_id: of the data; a random one when it is left out.
        max_growth: how often an edge may double where nodes wait for each other; left out, what the pipeline says.
        stall_after_s: an edge on which nothing moves for as long is reported, and logged.
        on_dead_letter: gets each datum that a node with `on_error: dead_letter` failed on; left out, the newest 100 are
            in `Run.dead_letters`.
        trace: the file of a trace (see docs/inside.md); none is made if it is left out.
        record: files by edge (`a.out -> b.in`): what is sent along it, bit by bit, for the node `replay`.
    """

    only_native: bool = False
    grace_s: float = 5.0
    on_output: OnOutput = print_output
    session_id: str | None = None
    max_growth: int | None = None
    stall_after_s: float = 10.0
    on_dead_letter: OnDeadLetter | None = None
    trace: str | PathLike[str] | None = None
    record: Mapping[str, str | PathLike[str]] = field(default_factory=dict)
