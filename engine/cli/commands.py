"""The commands and their options."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

import penstock
from penstock.engine.cli.output import fail, say_orphans, say_problems, table_of_types
from penstock.engine.manifest import load
from penstock.engine.pipeline import Pipeline
from penstock.engine.problems import PipelineInvalid, did_you_mean
from penstock.executors.contract import ServiceError
from penstock.shm.owner import sweep

__all__ = ["cli"]

_MANIFEST = click.argument("manifest", type=click.Path(dir_okay=False))
_SET = click.option(
    "--set",
    "overrides",
    metavar="[NODE.]PARAM=VALUE",
    multiple=True,
    help="Give a parameter, of a node or of the whole pipeline, another value; JSON, or else plain text. "
    "A relative path starts where you are.",
)
_EXECUTOR = click.option(
    "--executor",
    type=click.Choice(["native"]),
    help="Run every node in this process, for the debugger; wasm nodes keep their sandbox.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output, and nothing else.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(penstock.__version__, prog_name="penstock")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Streams of audio, text, tensors and JSON through native, multiprocess and wasm nodes."""
    if ctx.invoked_subcommand != "clean":
        sweep()  # whatever a killed run has left is gone once the next command has run


@cli.command("run")
@_MANIFEST
@_SET
@_EXECUTOR
@_JSON
@click.option("--quiet", "-q", is_flag=True, help="No progress and no table.")
@click.option("--grace", type=click.FloatRange(min=0), default=5.0, show_default=True, help="Seconds a stop may take.")
@click.option("--traceback", is_flag=True, help="When a node raises, show where.")
@click.option(
    "--trace",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write what each node did when, for https://ui.perfetto.dev or chrome://tracing.",
)
@click.option(
    "--record",
    "records",
    multiple=True,
    metavar="EDGE=FILE",
    help="Record what is sent along an edge, as in --record 'asr.out -> log=asr.rec'; `type: replay` gives it again.",
)
def run_command(
    manifest: str,
    overrides: tuple[str, ...],
    executor: str | None,
    as_json: bool,
    quiet: bool,
    grace: float,
    traceback: bool,
    trace: str | None,
    records: tuple[str, ...],
) -> None:
    """Run the pipeline of MANIFEST until its sources end, or Ctrl-C.

    Ctrl-C and SIGTERM stop the sources and work off what is in flight; a second one ends everything at once.
    """
    from penstock.engine.cli.run import Session, run_session
    from penstock.engine.options import RunOptions

    options = RunOptions(only_native=executor == "native", grace_s=grace, trace=trace, record=_records(records))
    session = Session(options, as_json=as_json, quiet=quiet, traceback=traceback)
    pipeline = _load(manifest, overrides, as_json=as_json)
    sys.exit(run_session(pipeline, session))


@cli.command()
@_MANIFEST
@_SET
@_JSON
def validate(manifest: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check MANIFEST without starting anything; every problem with its line."""
    plan = _checked(_load(manifest, overrides, as_json=as_json), as_json=as_json)
    if as_json:
        click.echo(json.dumps({"outcome": "valid", "nodes": len(plan.nodes), "edges": len(plan.edges)}))
    else:
        click.echo(f"{manifest}: valid, {len(plan.nodes)} nodes, {len(plan.edges)} edges")


@cli.command()
@_MANIFEST
@_SET
def graph(manifest: str, overrides: tuple[str, ...]) -> None:
    """Draw MANIFEST as a Mermaid flowchart."""
    from penstock.engine.cli.graph import mermaid

    click.echo(mermaid(_checked(_load(manifest, overrides, as_json=False), as_json=False)))


@cli.command()
@click.argument("recording", type=click.Path(dir_okay=False))
@click.option("--lines", type=click.IntRange(min=0), default=10, show_default=True, help="Data that are listed.")
def show(recording: str, lines: int) -> None:
    """Say what is in RECORDING, a file of `penstock run --record`."""
    from penstock.engine.cli.show import show_recording

    try:
        show_recording(recording, lines)
    except ServiceError as error:
        fail(error.message, code=2)


@cli.command()
@click.argument("node_type", required=False)
def nodes(node_type: str | None) -> None:
    """List the node types, or the ports and parameters of one."""
    try:
        table_of_types(node_type)
    except ServiceError as error:
        fail(error.message, code=2)


@cli.command()
def schema() -> None:
    """Print the JSON schema of manifests, for editors that complete and check YAML with one."""
    from penstock.engine.schema import manifest_schema

    click.echo(json.dumps(manifest_schema(), indent=2, ensure_ascii=False))


@cli.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def clean(dry_run: bool) -> None:
    """Remove the shared memory that killed runs have left; nothing of a live run, and nothing that is not ours."""
    say_orphans(sweep(dry_run=dry_run), dry_run=dry_run)


def _load(manifest: str, overrides: tuple[str, ...], *, as_json: bool) -> Pipeline:
    try:
        pipeline = load(manifest)
    except PipelineInvalid as error:
        say_problems(error, as_json=as_json)
        sys.exit(2)
    for override in overrides:
        _override(pipeline, override)
    return pipeline


def _checked(pipeline: Pipeline, *, as_json: bool) -> Any:
    try:
        return pipeline.check()
    except PipelineInvalid as error:
        say_problems(error, as_json=as_json)
        sys.exit(2)


def _records(said: tuple[str, ...]) -> dict[str, str]:
    records: dict[str, str] = {}
    for record in said:
        edge, _, path = record.partition("=")
        if not (edge.strip() and path):
            fail(f"--record {record}: write it as EDGE=FILE, as in --record 'a -> b=FILE'", code=2)
        if edge in records:
            fail(f"--record {record}: this edge is recorded already, to {records[edge]}", code=2)
        records[edge] = path
    return records


def _override(pipeline: Pipeline, override: str) -> None:
    target, equals, text = override.partition("=")
    node_id, dot, name = target.partition(".")
    if not (equals and node_id and bool(dot) == bool(name)):
        fail(f"--set {override}: write it as NODE.PARAM=VALUE, or PARAM=VALUE for one of the pipeline", code=2)
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    try:
        if dot:
            pipeline.set(node_id, name, value)
        else:
            pipeline.give(node_id, value)
    except KeyError:
        if not dot:
            remedy = f"{did_you_mean(node_id, pipeline.parameters)}; one of a node is NODE.PARAM=VALUE"
            fail(f"--set {override}: the pipeline has no parameter {node_id!r}: {remedy}", code=2)
        known = [node.node_id for node in pipeline.nodes]
        fail(f"--set {override}: there is no node {node_id!r}: {did_you_mean(node_id, known)}", code=2)


@cli.command("conformance", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def conformance(arguments: tuple[str, ...]) -> None:
    """Does an executor bridge keep the contract? See `penstock conformance --help`."""
    from penstock.conformance.cli import main

    main(arguments)
