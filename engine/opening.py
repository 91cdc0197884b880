"""From a pipeline to its run: check, start, and whatever happens, remove."""

from __future__ import annotations

import os
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from os import PathLike
from pathlib import Path

import trio

from penstock.engine.assembly import Assembly
from penstock.engine.check import check
from penstock.engine.faults import DeadLetter
from penstock.engine.lag import measured
from penstock.engine.options import RunOptions
from penstock.engine.pipeline import Pipeline
from penstock.engine.plan import Plan
from penstock.engine.report import Report
from penstock.engine.running import Run
from penstock.engine.tracing import Tracing
from penstock.engine.watch import can_deadlock
from penstock.executors.multiprocess.wiring import Wiring

__all__ = ["open_plan", "open_run", "run"]

_DEAD_LETTERS = 100


@asynccontextmanager
async def open_run(pipeline: Pipeline, options: RunOptions | None = None, *, alone: bool = False) -> AsyncIterator[Run]:
    """Check a pipeline and open its plan (see `Pipeline.open`).

    Raises:
        PipelineInvalid: it can not be run.
        AllocationFailed, NodeExecution: as `open_plan`.
    """
    options = options or RunOptions()
    record = {edge: os.fspath(path) for edge, path in options.record.items()}
    plan = check(pipeline, only_native=options.only_native, alone=alone, record=record)
    async with open_plan(plan, options) as running:
        yield running


@asynccontextmanager
async def open_plan(plan: Plan, options: RunOptions | None = None) -> AsyncIterator[Run]:
    """Start, yield, stop and remove (see `Plan.open`).

    Leaving the block stops the sources and works off what is in flight within the grace period; an error or a
    cancellation ends everything at once, with the nodes cleaned up.

    Raises:
        Validation: the trace can not be written where it is to be.
        AllocationFailed: /dev/shm is too small.
        NodeExecution: a node failed, or its process died.
        Deadlock: nodes wait for each other, and no edge may grow.
    """
    options = options or RunOptions()
    tracing = None if options.trace is None else Tracing(Path(options.trace))
    with ExitStack() as stack:
        shared = any(node.in_worker for node in plan.nodes)
        wiring = stack.enter_context(Wiring(f"penstock run {plan.name}", plan.wait)) if shared else None
        growth = plan.max_growth if options.max_growth is None else options.max_growth
        growth = growth if can_deadlock(plan) else 0
        dead_letters: deque[DeadLetter] = deque(maxlen=_DEAD_LETTERS)
        on_dead_letter = options.on_dead_letter or dead_letters.append
        assembly = Assembly(plan, options.session_id or secrets.token_hex(8), on_dead_letter, wiring, growth)
        assembly.build(grace_s=options.grace_s, on_output=options.on_output, traced=tracing is not None)
        if tracing is not None:
            tracing.attach(assembly)
        running: Run | None = None
        raised: BaseException | None = None
        try:
            async with trio.open_nursery() as supervisors:
                try:
                    async with trio.open_nursery() as nursery:
                        running = Run(assembly, options, nursery, dead_letters)
                        await running._start(nursery, supervisors)
                        running._measure(stack.enter_context(measured()))
                        try:
                            yield running
                        except BaseException as error:
                            raised = error
                            running._end_external()
                            raise
                        await running.stop()
                        nursery.cancel_scope.cancel()
                finally:
                    if running is not None:
                        await running._end()
                    if tracing is not None:
                        with trio.CancelScope(shield=True):
                            await tracing.write(assembly)
        except BaseExceptionGroup:
            # The tasks of a run note their errors and do not raise them: this is the block's own, wrapped by nurseries.
            if raised is None or isinstance(raised, trio.Cancelled):
                raise
            if running is None or not running._is_own(raised):
                raise raised from raised.__cause__
        if running is not None and running.failure is not None:
            raise running.failure


def run(pipeline: Pipeline | str | PathLike[str], options: RunOptions | None = None) -> Report:
    """Run a pipeline, or the manifest at a path, to its end: `penstock.run("pipeline.yaml")`.

    Raises:
        PipelineInvalid, AllocationFailed, NodeExecution: as `Pipeline.open`.
    """
    from penstock.engine.manifest import load

    described = pipeline if isinstance(pipeline, Pipeline) else load(pipeline)

    async def main() -> Report:
        async with open_run(described, options, alone=True) as running:
            await running.wait()
        return running.report()

    return trio.run(main)
