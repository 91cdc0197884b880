"""report.html: one file, no scripts from elsewhere; a matrix of requirements and bridges whose rows open."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from penstock.conformance.contract_text import quoted
from penstock.conformance.reports.style import SCRIPT, STYLE
from penstock.conformance.reports.words import profile_line, repeat_command, turns
from penstock.conformance.requirements import AREAS, CATALOGUE, CONTRACT
from penstock.conformance.verdict import Judged, RunVerdict, Verdict

__all__ = ["page"]

_SIGNS = {
    Verdict.PASS: "✓",
    Verdict.FAIL: "✗",
    Verdict.HANG: "∞",
    Verdict.CRASH: "✗",
    Verdict.ERROR: "!",
    Verdict.DEVIATION: "~",
    Verdict.KNOWN: "k",
    Verdict.NOT_EXERCISED: "?",
    Verdict.INCONCLUSIVE: "?",
    Verdict.NOT_CLAIMED: "·",
    Verdict.NOT_SELECTED: " ",
}

_FILTER = '<label><input type="checkbox" id="only"> only what did not pass</label>'


def page(verdicts: Sequence[RunVerdict], seed: int) -> str:
    """The whole page."""
    title = "Executor bridge conformance"
    body = [
        f"<h1>{title}</h1>",
        f'<p class="dim">contract {CONTRACT}, seed {seed}. Rows open and say what was expected and what was seen.</p>',
        '<div class="cards">'
        + "".join(_card(verdict, nth, several=len(verdicts) > 1) for nth, verdict in enumerate(verdicts, 1))
        + "</div>",
        _failing(verdicts),
        f'<p class="filter">{_columns(verdicts)}{_FILTER}</p>',
        *(_area(area, verdicts, seed) for area in AREAS),
        _figures(verdicts),
        *(_claims(verdict) for verdict in verdicts if verdict.run.about),
        _legend(),
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{title}</title>"
    html = f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body><main>{"".join(body)}</main>'
    return f"{html}<script>{SCRIPT}</script></body></html>\n"


def _columns(verdicts: Sequence[RunVerdict]) -> str:
    """Which column is which, where there are several."""
    if len(verdicts) < 2:
        return ""
    names = (f'<span class="nth">{nth}</span> {escape(verdict.run.name)}' for nth, verdict in enumerate(verdicts, 1))
    return "".join(f'<span class="column">{name}</span>' for name in names)


def _failing(verdicts: Sequence[RunVerdict]) -> str:
    """What failed, root causes first, each a link to its row."""
    parts = []
    for verdict in verdicts:
        items = "".join(_failed(item) for item in verdict.failures)
        if items:
            whose = f" of {escape(verdict.run.name)}" if len(verdicts) > 1 else ""
            parts.append(f'<h2>What fails{whose}</h2><ul class="failing">{items}</ul>')
    return "".join(parts)


def _failed(item: Judged) -> str:
    name = item.requirement.id
    seen = f"expected {item.worst.expected}; actual: {item.worst.actual}" if item.worst else ""
    why = f"follows from {item.follows}" if item.follows else seen
    mark = f'<span class="mark {item.verdict.value.lower()}">{_SIGNS[item.verdict]}</span>'
    head = f'<a href="#{name}">{mark}<code>{name}</code><span class="say">{_code(item.requirement.sentence)}'
    return f"<li{' class=follows' if item.follows else ''}>{head}<small>{escape(_cut(why))}</small></span></a></li>"


def _cut(text: str, most: int = 220) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _card(verdict: RunVerdict, nth: int, *, several: bool) -> str:
    run = verdict.run
    state = "good" if verdict.conformant else "bad" if verdict.failures or run.problem else "open"
    said = {"good": "conformant", "bad": "not conformant", "open": "not shown to be conformant"}[state]
    name = f'<span class="nth">{nth}</span> ' if several else ""
    name += f"{escape(run.name)} <small>{escape(str(run.about.get('version', '')))}</small>"
    rows = "".join(
        f"<tr><th>{profile.profile.value}</th><td>{_bar(profile.must_pass, profile.must_total)}</td>"
        f"<td>{escape(profile_line(profile))}</td></tr>"
        for profile in verdict.profiles
    )
    problem = f"<pre>{escape(run.problem)}</pre>" if run.problem else ""
    foot = f'<p class="dim">{len(run.results)} checks in {run.seconds:.0f} s, time scale {run.host.get("scale", 1)}</p>'
    head = f'<section class="card {state}"><h2>{name}</h2><p class="said">{said}</p>'
    return f"{head}{problem}<table>{rows}</table>{foot}</section>"


def _bar(part: int, whole: int) -> str:
    share = 100 * part / whole if whole else 0
    return f'<span class="bar"><span style="width:{share:.0f}%"></span></span>'


def _area(area: str, verdicts: Sequence[RunVerdict], seed: int) -> str:
    rows = []
    for requirement in CATALOGUE.values():
        if requirement.area == area:
            judged = [verdict.by_id(requirement.id) for verdict in verdicts]
            if any(item.verdict is not Verdict.NOT_SELECTED for item in judged):
                rows.append(_row(judged, verdicts, seed))
    return f"<h2>{AREAS[area]}</h2>{''.join(rows)}" if rows else ""


def _row(judged: Sequence[Judged], verdicts: Sequence[RunVerdict], seed: int) -> str:
    requirement = judged[0].requirement
    marks = "".join(
        f'<span class="mark {item.verdict.value.lower()}" title="{escape(verdict.run.name)}: {item.verdict.value}">'
        f"{_SIGNS[item.verdict]}</span>"
        for item, verdict in zip(judged, verdicts, strict=True)
    )
    calm = all(item.verdict in {Verdict.PASS, Verdict.NOT_CLAIMED, Verdict.NOT_SELECTED} for item in judged)
    opened = " open" if any(item.verdict.failed and not item.follows for item in judged) else ""
    level = "" if requirement.level.value == "MUST" else f' <em class="level">{requirement.level.value}</em>'
    head = f'<span class="marks">{marks}</span><code>{requirement.id}</code>'
    head += f'<span class="say">{_code(requirement.sentence)}{level}</span>'
    details = "".join(
        _details(item, verdict, seed, len(verdicts)) for item, verdict in zip(judged, verdicts, strict=True)
    )
    basis = "; ".join(quoted(requirement)) or "decisions of the errata"
    about = f'<p class="dim">{escape(requirement.basis)}: {escape(basis)}. {escape(requirement.kind.value)}.</p>'
    start = f'<details id="{requirement.id}" class="{"calm" if calm else "loud"}"{opened}><summary>{head}</summary>'
    return f'{start}<div class="in">{about}{details}</div></details>'


def _details(item: Judged, verdict: RunVerdict, seed: int, several: int) -> str:
    name = (
        f"<h3>{escape(verdict.run.name)}: {item.verdict.value}</h3>"
        if several > 1
        else f"<h3>{item.verdict.value}</h3>"
    )
    if not item.verdict.failed and item.verdict is not Verdict.DEVIATION:
        reason = f"<p>{escape(item.reason)}</p>" if item.reason else ""
        return name + reason + _measured(item)
    if item.follows:
        name += f"<p>This stands on <code>{item.follows}</code>, which fails as well: look there first.</p>"
    worst = item.worst
    fields: list[tuple[str, str]] = []
    if worst is not None:
        where = f" on the {worst.kind} bridge" if worst.kind else ""
        fields += [
            ("check", escape(worst.check.removeprefix("check_").replace("_", " ") + where)),
            ("expected", escape(worst.expected)),
            ("actual", f"<strong>{escape(worst.actual)}</strong>"),
            ("repeated", escape(turns(item.results))),
        ]
    causes = "".join(f"<li>{_code(cause)}</li>" for cause in item.requirement.causes)
    fields += [
        ("usual causes", f"<ul>{causes}</ul>"),
        ("repeat", f"<code>{escape(repeat_command(verdict, item.requirement.id, seed))}</code>"),
    ]
    rows = "".join(f"<dt>{label}</dt><dd>{text}</dd>" for label, text in fields if text)
    return f"{name}<dl>{rows}</dl>{_witness(item)}{_measured(item)}"


def _witness(item: Judged) -> str:
    worst = item.worst
    if worst is None or not worst.witness:
        return ""
    text = escape("\n".join(worst.witness[-60:]))
    return f'<details class="witness"><summary>what happened, call by call</summary><pre>{text}</pre></details>'


def _measured(item: Judged) -> str:
    rows = [
        f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>"
        for result in item.results
        for name, value in result.measured.items()
        if not isinstance(value, list)
    ]
    return f"<dl>{''.join(rows)}</dl>" if rows else ""


def _figures(verdicts: Sequence[RunVerdict]) -> str:
    """The latency tables."""
    parts = []
    for verdict in verdicts:
        for result in verdict.run.results:
            for title, rows in result.measured.items():
                if isinstance(rows, list) and rows and isinstance(rows[0], dict):
                    parts.append(f"<h3>{escape(verdict.run.name)}: {escape(title)}</h3>{_table(rows)}")
    return f'<h2>Measured</h2><div class="wide">{"".join(parts)}</div>' if parts else ""


def _table(rows: list[dict[str, Any]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{_number(value)}</td>" for value in row.values()) + "</tr>" for row in rows)
    return f'<table class="figures"><tr>{head}</tr>{body}</table>'


def _number(value: Any) -> str:
    return (
        f"{value:,}" if isinstance(value, int) else f"{value:,.1f}" if isinstance(value, float) else escape(str(value))
    )


def _claims(verdict: RunVerdict) -> str:
    claims = verdict.run.about.get("claims", {})
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(_claim(value))}</td></tr>" for name, value in claims.items()
    )
    return f"<h2>What {escape(verdict.run.name)} claims</h2><table class='claims'>{rows}</table>"


def _claim(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return {True: "yes", False: "no", None: "-"}.get(value, str(value)) if not isinstance(value, str) else value


def _legend() -> str:
    marks = "".join(
        f'<span><span class="mark {verdict.value.lower()}">{sign}</span> {verdict.value}</span>'
        for verdict, sign in _SIGNS.items()
        if verdict is not Verdict.NOT_SELECTED
    )
    return f'<p class="legend">{marks}</p>'


def _code(text: str) -> str:
    """Text in which `x` is code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
