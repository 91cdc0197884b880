"""`penstock run`: the pipeline, the signals, the live table, and the report at the end."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
import trio
from rich.console import Console
from rich.live import Live

from penstock.engine.cli.output import live_view, problems_json, report_tables, say_error, say_problems
from penstock.engine.cli.signals import receive_signals
from penstock.engine.opening import open_run
from penstock.engine.options import RunOptions
from penstock.engine.pipeline import Pipeline
from penstock.engine.problems import PipelineInvalid
from penstock.engine.report import Report
from penstock.engine.running import Run
from penstock.executors.contract import NodeExecution, ServiceError

__all__ = ["Session", "run_session"]

_REFRESH_S = 0.25


@dataclass(slots=True)
class Session:
    """How a run is shown, and what became of it."""

    options: RunOptions
    as_json: bool
    quiet: bool
    traceback: bool
    run: Run | None = None
    ended_by: signal.Signals | None = None
    error: ServiceError | None = None

    def note_signal(self, number: signal.Signals) -> None:
        """The first one is what ended the run."""
        self.ended_by = self.ended_by or number

    @property
    def exit_code(self) -> int:
        if isinstance(self.error, PipelineInvalid):
            return 2
        if self.error is not None:
            return 1
        return 0 if self.ended_by is None else 128 + self.ended_by


def run_session(pipeline: Pipeline, session: Session) -> int:
    """Run a pipeline as a command does; its exit code."""
    with _own_stdout(session.as_json) as stdout:
        try:
            trio.run(_main, pipeline, session)
        except* KeyboardInterrupt:  # a node that did not let the loop run was interrupted: see receive_signals
            session.note_signal(signal.SIGINT)
        if isinstance(session.error, PipelineInvalid):
            if session.as_json:
                stdout.write(problems_json(session.error) + "\n")
            say_problems(session.error, as_json=False)
            return session.exit_code
        report = None if session.run is None else session.run.report()
        if session.as_json:
            stdout.write(json.dumps(_said(report, session), ensure_ascii=False) + "\n")
        elif report is not None and not session.quiet:
            Console(stderr=True, highlight=False).print(report_tables(report))
    _explain(session)
    return session.exit_code


async def _main(pipeline: Pipeline, session: Session) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(_heed_signals, session, nursery)
        try:
            await _run(pipeline, session)
        except ServiceError as error:
            session.error = error
        nursery.cancel_scope.cancel()


async def _run(pipeline: Pipeline, session: Session) -> None:
    async with open_run(pipeline, session.options, alone=True) as run, trio.open_nursery() as nursery:
        session.run = run
        if not session.quiet and not session.as_json and sys.stderr.isatty():
            nursery.start_soon(_show, run)
        await run.wait()
        nursery.cancel_scope.cancel()


async def _heed_signals(
    session: Session, nursery: trio.Nursery, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """The first one stops in good order, the second at once."""
    again = False
    with receive_signals(session.options.grace_s, session.note_signal) as received:
        task_status.started()
        async for number in received:
            run = session.run
            if run is None:
                nursery.cancel_scope.cancel()
            elif again:
                run.abort()
            else:
                click.echo(f"{number.name}: stopping; once more to abort", err=True)
                nursery.start_soon(_stop, run)
            again = True


async def _stop(run: Run) -> None:
    if not await run.stop():
        run.abort()


async def _show(run: Run) -> None:
    """A live table on the terminal. What nodes print appears above it, if it goes to the same terminal."""
    console = Console(stderr=True)
    with Live(
        live_view(run.report()),
        console=console,
        transient=True,
        auto_refresh=False,
        redirect_stdout=sys.stdout.isatty(),
    ) as live:
        while True:
            await trio.sleep(_REFRESH_S)
            live.update(live_view(run.report()), refresh=True)


@contextmanager
def _own_stdout(as_json: bool) -> Iterator[Any]:
    """Standard output for us alone: with `--json`, whatever a node prints there, from Python or C, goes to stderr.

    For the rest of the process: what a C library has buffered comes out when it exits.
    """
    if not as_json:
        yield sys.stdout
        return
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(saved, "w", encoding="utf-8") as stdout:
        yield stdout


def _said(report: Report | None, session: Session) -> dict[str, Any]:
    if report is None:
        outcome = "aborted" if session.error is None else "failed"
        return {"outcome": outcome, "error": None if session.error is None else str(session.error)}
    return report.to_json()


def _explain(session: Session) -> None:
    error = session.error
    if error is None:
        return
    say_error(str(error))
    if isinstance(error, NodeExecution) and error.details and error.kind:
        if session.traceback:
            click.echo(error.details, err=True)
        else:
            click.echo("(--traceback shows where)", err=True)
