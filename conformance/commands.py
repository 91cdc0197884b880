"""The commands and their options."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from penstock.conformance.adapter import Profile
from penstock.conformance.known import Known, KnownError, read_known
from penstock.conformance.progress import Progress
from penstock.conformance.reports.compare import compare_files
from penstock.conformance.reports.explain import explanation
from penstock.conformance.reports.files import write_reports
from penstock.conformance.reports.json_report import document
from penstock.conformance.reports.terminal import Terminal
from penstock.conformance.requirements import AREAS, CATALOGUE, in_profile, select
from penstock.conformance.runner import Options, run
from penstock.conformance.settings import bridges_of_environment, from_project
from penstock.conformance.verdict import ExitCode, RunVerdict, exit_code, judge

__all__ = ["conformance"]

_PROFILES = click.Choice([profile.value for profile in Profile])
_BRIDGE = click.option(
    "--bridge", "bridges", metavar="MODULE:CLASS", multiple=True, help="The adapter; several are run side by side."
)


def _defaults(ctx: click.Context, _: object, value: object) -> object:
    """Take the defaults of the options from pyproject.toml."""
    try:
        table = from_project()
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    unknown = set(table) - {option.name for option in ctx.command.params} - {"bridge"}
    if unknown and not ctx.resilient_parsing:
        raise click.UsageError(f"[tool.penstock-conformance] has unknown options: {', '.join(sorted(unknown))}")
    if "bridge" in table:
        table["bridges"] = [table["bridge"]] if isinstance(table["bridge"], str) else table["bridge"]
        del table["bridge"]
    if environment := bridges_of_environment():
        table["bridges"] = list(environment)
    ctx.default_map = {**table, **(ctx.default_map or {})}
    return value


_PROJECT = click.option("--project", is_flag=True, hidden=True, is_eager=True, expose_value=False, callback=_defaults)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "BRIDGE_CONFORMANCE"})
def conformance() -> None:
    """Does an executor bridge keep the contract? docs/conformance.md shows how to find out in ten minutes.

    Exit codes: 0 conformant; 1 a MUST is violated; 2 wrong usage; 3 the adapter does not work; 4 nothing failed, but a
    MUST could not be tried; 5 the suite itself failed.
    """


@conformance.command("run")
@_PROJECT
@_BRIDGE
@click.option("--profile", type=_PROFILES, default="full", show_default=True, help="Only what this profile asks.")
@click.option("--require", multiple=True, metavar="ID", help="Only these: R-BP-02, R-BP, BP; may be repeated.")
@click.option("--known", type=click.Path(dir_okay=False), help="TOML file of known deviations.")
@click.option("--strict", is_flag=True, help="A deviation from a SHOULD fails, too.")
@click.option("--time-scale", default="auto", show_default=True, metavar="auto|N", help="How far bounds are stretched.")
@click.option("--latency", type=click.Choice(["report", "enforce"]), default="report", show_default=True)
@click.option("--latency-budget-ms", type=click.FloatRange(min=0), default=2.0, show_default=True)
@click.option("--repeat", type=click.IntRange(min=1), default=1, show_default=True, help="Runs of each check.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of everything random.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes that share the checks; 2, if there are CPUs.")
@click.option("--isolate", type=click.Choice(["process", "ns", "none"]), default="process", show_default=True)
@click.option("--report-dir", type=click.Path(file_okay=False), help="Write the reports here; else nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON on standard output, and nothing else there.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def run_command(bridges: tuple[str, ...], known: str | None, *, strict: bool, as_json: bool, **options: Any) -> None:
    """Run the checks on one or more adapters."""
    names = _bridges(bridges)
    entries = _known(known)
    given = _options(options)
    verdicts = []
    for name in names:
        verdict = _judged(name, given, entries, strict=strict, quiet=options["quiet"] or as_json)
        verdicts.append(verdict)
        if not as_json:
            Terminal().report(verdict, given.seed)
    if as_json:
        click.echo(json.dumps(document(verdicts, given.seed), indent=1, ensure_ascii=False))
    if options["report_dir"]:
        folder = Path(options["report_dir"])
        write_reports(folder, verdicts, given.seed, sys.argv)
        click.echo(f"  report: {folder / 'report.html'}", err=as_json)
    sys.exit(int(exit_code(verdicts)))


def _judged(name: str, options: Options, known: Sequence[Known], *, strict: bool, quiet: bool) -> RunVerdict:
    with Progress(name, quiet=quiet) as progress:
        result = run(name, Options(**{**vars_of(options), "on_event": progress}))
    return judge(result, known, strict=strict)


def vars_of(options: Options) -> dict[str, Any]:
    return {name: getattr(options, name) for name in Options.__dataclass_fields__}


def _bridges(bridges: Sequence[str]) -> list[str]:
    found = list(bridges) or list(bridges_of_environment())
    if not found:
        raise click.UsageError("which bridge? --bridge your.module:YourAdapter")
    for name in found:
        module, colon, path = name.partition(":")
        if not (module and colon and path):
            raise click.UsageError(f"--bridge {shlex.quote(name)}: write it as package.module:Class")
    return found


def _known(path: str | None) -> list[Known]:
    try:
        return read_known(path) if path else []
    except KnownError as error:
        raise click.UsageError(str(error)) from None


def _options(options: dict[str, Any]) -> Options:
    try:
        ids = [requirement.id for requirement in select(options["require"])]
    except ValueError as error:
        raise click.UsageError(f"--require: {error}") from None
    scale = options["time_scale"]
    try:
        factor = None if scale == "auto" else float(scale)
    except ValueError:
        raise click.UsageError(f"--time-scale {scale}: auto, or a number from 1") from None
    if factor is not None and not 0 < factor < 1000:
        raise click.UsageError(f"--time-scale {scale}: auto, or a number from 1")
    return Options(
        profile=Profile(options["profile"]),
        require=ids,
        seed=options["seed"],
        repeat=options["repeat"],
        time_scale=factor,
        latency_budget_ms=options["latency_budget_ms"] if options["latency"] == "enforce" else None,
        isolate=options["isolate"],
        **({"jobs": options["jobs"]} if options["jobs"] else {}),
    )


@conformance.command("list")
@click.option("--profile", type=_PROFILES, default="full", help="Only what this profile asks.")
@click.option("--require", multiple=True, metavar="ID", help="Only these.")
def list_command(profile: str, require: tuple[str, ...]) -> None:
    """List the requirements; nothing is run."""
    try:
        chosen = select(require) if require else in_profile(Profile(profile))
    except ValueError as error:
        raise click.UsageError(f"--require: {error}") from None
    area = ""
    for requirement in chosen:
        if requirement.area != area:
            area = requirement.area
            click.echo(f"\n{area}: {AREAS[area]}")
        needs = f"  [needs {requirement.needs}]" if requirement.needs else ""
        click.echo(
            f"  {requirement.id}  {requirement.level.value:6}  {requirement.sentence}  ({requirement.basis}){needs}"
        )
    click.echo(f"\n{len(chosen)} requirements")


@conformance.command("explain")
@click.argument("requirement")
def explain_command(requirement: str) -> None:
    """Explain a requirement: sentence, basis, how it is tested, usual causes, the mutant that shows it."""
    name = requirement.upper() if requirement.upper().startswith("R-") else f"R-{requirement.upper()}"
    if name not in CATALOGUE:
        raise click.UsageError(f"there is no requirement {requirement}: `penstock conformance list` shows them all")
    click.echo(explanation(CATALOGUE[name]))


@conformance.command("smoke")
@_BRIDGE
def smoke_command(bridges: tuple[str, ...]) -> None:
    """Try the adapter alone: can everything that it claims be made, called and closed?"""
    worst = ExitCode.CONFORMANT
    for name in _bridges(bridges):
        result = run(name, Options(profile=Profile.CORE, smoke_only=True))
        if result.problem:
            click.echo(f"✗ {name}\n    " + result.problem.replace("\n", "\n    "))
            worst = ExitCode.ADAPTER
        else:
            profiles = ", ".join(profile.value for profile in result.profiles)
            click.echo(f"✓ {name} works; it claims {profiles}")
    sys.exit(int(worst))


@conformance.command("compare")
@click.argument("old", type=click.Path(exists=True, dir_okay=False))
@click.argument("new", type=click.Path(exists=True, dir_okay=False))
def compare_command(old: str, new: str) -> None:
    """Compare two report.json: what got worse, what got better. Exit code 1 where something got worse."""
    try:
        lines, worse = compare_files(old, new)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    click.echo("\n".join(lines))
    sys.exit(1 if worse else 0)


@conformance.command("selftest")
@click.option("--mutant", "names", multiple=True, metavar="NAME", help="Only these mutants.")
@click.option("--jobs", type=click.IntRange(min=1), default=max(1, (os.cpu_count() or 2)), show_default=True)
@click.option(
    "--times", type=click.IntRange(min=1), default=1, show_default=True, help="How often each must be caught."
)
def selftest_command(names: tuple[str, ...], jobs: int, times: int) -> None:
    """Test the suite: the reference passes, and each faulty bridge is caught by the requirement that it breaks."""
    from penstock.conformance.selftest import selftest

    sys.exit(int(selftest(names, jobs, times)))
