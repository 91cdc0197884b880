"""The catalogue as a page: `python -m penstock.conformance.catalogue > docs/requirements.md`."""

from __future__ import annotations

from penstock.conformance.requirements import AREAS, CATALOGUE, CONTRACT, Level

__all__ = ["markdown"]


def markdown() -> str:
    """All requirements, by area."""
    counts = {level: sum(item.level is level for item in CATALOGUE.values()) for level in Level}
    tally = ", ".join(f"{count} {level.value}" for level, count in counts.items())
    lines = [
        "# The requirements",
        "",
        f"The contract of executor bridges, version {CONTRACT}, numbered: {len(CATALOGUE)} requirements, {tally}.",
        "`L` are lines of executor-bridge-api.md, `D` decisions of its errata. This page is made from the catalogue:",
        "`python -m penstock.conformance.catalogue > docs/requirements.md`.",
    ]
    for area, title in AREAS.items():
        lines += [
            "",
            f"## {area}: {title}",
            "",
            "| id | level | requirement | basis | tested by |",
            "|---|---|---|---|---|",
        ]
        for item in CATALOGUE.values():
            if item.area == area:
                needs = f" *(needs {item.needs})*" if item.needs else ""
                how = item.how.replace("|", "\\|")
                lines.append(f"| {item.id} | {item.level.value} | {item.sentence}{needs} | {item.basis} | {how} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
