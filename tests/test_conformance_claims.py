"""Every capability is tested on both of its branches: a true claim to less is not accused of the rest."""

from pathlib import Path

import pytest

from penstock.conformance.requirements import select
from penstock.conformance.runner import Options, run
from penstock.conformance.verdict import judge

HERE = Path(__file__).parent / "conformance"


@pytest.mark.parametrize(
    ("adapter", "areas", "is_open"),
    [
        ("NoWasm", ["DB"], []),
        ("NoParams", ["EB", "NX", "MT"], []),
        ("NoTimeout", ["BP", "CL"], []),
        ("SharedProcesses", ["MX"], []),
        ("TextAndJson", ["EB", "NX", "DB", "BP", "MT"], []),
        ("NoCancellation", ["EB", "ER"], []),
        ("FewNodes", ["R-EB-09", "R-EB-13", "NX"], ["R-EB-09", "R-NX-02", "R-NX-03", "R-NX-07"]),
        ("Respawns", ["MX"], []),
    ],
)
def test_a_true_claim_is_not_accused(adapter, areas, is_open):
    """What is missing is said to be missing."""
    ids = [item.id for item in select(areas)]
    verdict = judge(run(f"claims:{adapter}", Options(require=ids, path=[str(HERE)], time_scale=1.0)))
    assert verdict.run.problem == ""
    said = [(item.requirement.id, item.worst.expected, item.worst.actual) for item in verdict.failures]
    assert said == []
    assert [item.requirement.id for item in verdict.requirements if item.verdict.open] == is_open
