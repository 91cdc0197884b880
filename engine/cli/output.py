"""What the commands print."""

from __future__ import annotations

import inspect
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import click
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from penstock.engine.catalogue import Catalogue, FoundType
from penstock.engine.declarations import NodeDecl
from penstock.engine.problems import PipelineInvalid
from penstock.engine.report import Report
from penstock.engine.values import plain, words
from penstock.shm.owner import Orphan

__all__ = [
    "fail",
    "live_view",
    "problems_json",
    "report_tables",
    "say_error",
    "say_orphans",
    "say_problems",
    "table_of_types",
]

_SEEN_LAG_MS = 100.0


def fail(text: str, *, code: int) -> NoReturn:
    """Say what is wrong and end."""
    say_error(text)
    sys.exit(code)


def say_error(text: str) -> None:
    """One or more lines on standard error, the first marked."""
    click.echo(click.style("error: ", fg="red", bold=True) + text, err=True)


def say_problems(error: PipelineInvalid, *, as_json: bool) -> None:
    """Every problem of a pipeline: a line each, or one JSON document."""
    if as_json:
        click.echo(problems_json(error))
    for problem in error.problems:
        say_error(str(problem))


def problems_json(error: PipelineInvalid) -> str:
    """Every problem of a pipeline as one JSON document."""
    problems = [{"file": p.where.file, "line": p.where.line, "text": p.text} for p in error.problems]
    return json.dumps({"outcome": "invalid", "problems": problems}, ensure_ascii=False)


def report_tables(report: Report) -> Group:
    """The work of the nodes, and the ledger of the edges."""
    return Group(_title(report), node_table(report), *_incidents(report), *_lag(report), Text(""), edge_table(report))


def node_table(report: Report) -> Table:
    """A row for each node: how long a call takes, and how long data wait for it."""
    table = _table("node", "runs", "data>", "busy>", "p50>", "p95>", "p99>", "queue p50>", "p99>", "MiB>")
    for node in report.nodes:
        table.add_row(
            node.node_id,
            node.executor if not node.pid else f"pid {node.pid}",
            f"{node.processed:,}",
            _or_blank(node.busy_share, "{:.0%}"),
            *map(_duration, (node.p50_us, node.p95_us, node.p99_us, node.queue_p50_us, node.queue_p99_us)),
            _or_blank(None if node.peak_rss_kib is None else node.peak_rss_kib / 1024, "{:.0f}"),
        )
    return table


def _incidents(report: Report) -> Iterator[Text]:
    """What was out of the ordinary: a line for each node that had any of it."""
    for node in report.nodes:
        counts = (
            (node.restarts, "restarts"),
            (node.redelivered, "data given again"),
            (node.state_lost, "inputs forgotten"),
            (node.errors, "data failed"),
            (node.dead_letters, "dead letters"),
        )
        said = ", ".join(f"{what} {count:,}" for count, what in counts if count)
        if said:
            yield Text(f"{node.node_id}: {said}", style="yellow")


def edge_table(report: Report) -> Table:
    """A row for each edge; what is still in flight stands out."""
    table = _table("edge", "kind", "sent>", "received>", "dropped>", "in flight>")
    for edge in report.edges:
        table.add_row(
            edge.name.replace(".out -> ", " -> ").removesuffix(".in"),
            edge.kind if edge.grown_from is None else f"{edge.kind}, grew from {edge.grown_from} to {edge.capacity}",
            f"{edge.sent:,}",
            f"{edge.received:,}",
            f"{edge.dropped:,}",
            Text(f"{edge.in_flight:,}", style="yellow" if edge.in_flight else ""),
        )
    return table


def live_view(report: Report) -> Group:
    """What changes while a pipeline runs."""
    return report_tables(report)


def _table(*columns: str) -> Table:
    """A plain table; columns that end in > stand to the right."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for name in columns:
        table.add_column(name.removesuffix(">"), justify="right" if name.endswith(">") else "left", overflow="fold")
    return table


def say_orphans(orphans: Sequence[Orphan], *, dry_run: bool) -> None:
    """What a sweep found, and whose it was."""
    for orphan in orphans:
        began = "" if orphan.started is None else time.strftime(" of %Y-%m-%d %H:%M:%S", time.localtime(orphan.started))
        what = orphan.what or "a run"
        pid = "" if orphan.pid is None else f" (pid {orphan.pid})"
        verb = "would remove" if dry_run else "removed"
        size = f"{orphan.size_bytes / 2**20:.1f} MiB"
        click.echo(f"{verb} {len(orphan.segments)} segments, {size}, left by {what}{pid}{began}")
    if not orphans:
        click.echo("nothing to clean")


def table_of_types(node_type: str | None) -> None:
    """All node types with a sentence each, or one with its ports and parameters.

    Raises:
        Validation: there is no such type.
    """
    catalogue = Catalogue(os.getcwd())
    console = Console(highlight=False)
    if node_type is None:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for name in ("type", "takes", "gives", "what it does"):
            table.add_column(name, overflow="fold")
        for name in catalogue.names():
            found = catalogue.find(NodeDecl(name, name))
            takes, gives = (", ".join(side.values()) for side in _ports(found).values())
            table.add_row(name, takes, gives, _first_sentence(found.factory))
        console.print(table)
        return
    found = catalogue.find(NodeDecl(node_type, node_type))
    console.print(Text(node_type, style="bold"))
    console.print(Text(inspect.getdoc(found.factory) or ""))
    for side, ports in _ports(found).items():
        console.print(Text(f"{side}: " + (", ".join(f"{name} ({kind})" for name, kind in ports.items()) or "none")))
    console.print("parameters:" if found.signature.parameters or found.guest_params else "parameters: none")
    for parameter in found.signature.parameters.values():
        console.print(Text(f"  {_parameter(parameter)}"))
    for name, described in (found.guest_params or {}).items():
        console.print(Text(f"  {name}: {described.get('type', 'any')} = {described.get('default')!r}"))


def _ports(found: FoundType) -> dict[str, Mapping[str, str]]:
    """Both sides, name to type."""
    if found.signature.ports_of is not None:
        return {side: {"by its parameters": "any"} for side in ("inputs", "outputs")}
    return {"inputs": found.signature.inputs, "outputs": found.signature.outputs}


def _parameter(parameter: inspect.Parameter) -> str:
    """`name: type = default`, in short words, as a manifest says them."""
    required = parameter.default is parameter.empty
    default = "" if required else f" = {json.dumps(plain(parameter.default), ensure_ascii=False)}"
    return f"{parameter.name}: {words(parameter.annotation)}{default}{' (required)' if required else ''}"


def _first_sentence(factory: Any) -> str:
    return (inspect.getdoc(factory) or "").split("\n\n", 1)[0].replace("\n", " ").split(". ", 1)[0]


def _title(report: Report) -> Text:
    style = {"failed": "bold red", "aborted": "bold yellow"}.get(report.outcome, "bold")
    return Text(f"{report.name}: {report.outcome}, {report.duration_s:.1f} s", style=style)


def _lag(report: Report) -> list[Text]:
    """A line, where somebody held up everything else in this process."""
    lag_ms, node = report.loop_lag_ms_max, report.holds_loop
    if lag_ms < _SEEN_LAG_MS:
        return []
    held_ms = 0.0 if node is None else node.longest_hold_ms or 0.0
    whose = "" if node is None or held_ms < lag_ms / 2 else f", by {node.node_id} for {_duration(held_ms * 1e3)}"
    return [Text(f"the loop of this process was held up for {_duration(lag_ms * 1e3)}{whose}", style="yellow")]


def _duration(us: float | None) -> str:
    """In three figures, with its unit."""
    if us is None:
        return ""
    for size, unit in ((1e6, "s"), (1e3, "ms")):
        if us >= 0.9995 * size:
            return f"{us / size:.3g}{unit}"
    return f"{us:.3g}us"


def _or_blank(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
