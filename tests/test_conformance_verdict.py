"""One verdict for everybody: terminal, JSON, JUnit, HTML, badge and exit code say the same."""

import datetime as dt
import io
import json
from xml.etree import ElementTree as ET

import pytest

from penstock.conformance.known import Known, KnownError, read_known
from penstock.conformance.reports.compare import compare_files
from penstock.conformance.reports.files import write_reports
from penstock.conformance.reports.html import page
from penstock.conformance.reports.json_report import document
from penstock.conformance.reports.junit import junit
from penstock.conformance.reports.short import badge, summary
from penstock.conformance.reports.terminal import Terminal
from penstock.conformance.requirements import CATALOGUE
from penstock.conformance.results import Outcome, Result
from penstock.conformance.verdict import ExitCode, Run, Verdict, exit_code, judge

ABOUT = {"name": "b", "version": "1", "claims": {"profiles": ["metrics"], "kinds": []}}
IDS = [name for name in CATALOGUE if name.startswith("R-MT")]


def a_run(outcomes=None, *, selected=IDS, problem="", complete=True, not_claimed=None):
    """A run of the profile metrics in which everything passes but what `outcomes` says."""
    outcomes = outcomes or {}
    results = [
        Result(name, "check_x", outcomes.get(name, Outcome.PASS), expected="<one>", actual="two & \x00")
        for name in selected
        if outcomes.get(name, Outcome.PASS) is not None
    ]
    others = {name: "profile x is not claimed" for name in CATALOGUE if name not in IDS}
    return Run("m:A", ABOUT, selected, {**others, **(not_claimed or {})}, results, problem, complete)


@pytest.mark.parametrize(
    ("outcomes", "conformant", "code"),
    [
        ({}, True, 0),
        ({"R-MT-01": Outcome.FAIL}, False, 1),
        ({"R-MT-01": Outcome.HANG}, False, 1),
        ({"R-MT-01": Outcome.CRASH}, False, 1),
        ({"R-MT-01": Outcome.ERROR}, False, 5),
        ({"R-MT-01": Outcome.NOT_EXERCISED}, False, 4),
        ({"R-MT-01": Outcome.INCONCLUSIVE}, False, 4),
        ({"R-MT-01": None}, False, 4),
        ({"R-MT-01": Outcome.NOT_APPLICABLE}, True, 0),
        ({"R-MT-09": Outcome.FAIL}, True, 0),  # a SHOULD
        ({"R-MT-09": Outcome.NOT_EXERCISED}, True, 0),
        (dict.fromkeys(IDS, Outcome.NOT_APPLICABLE), False, 4),  # nothing was tested
    ],
)
def test_all_reports_agree(outcomes, conformant, code, tmp_path):
    """Whatever the outcome."""
    verdict = judge(a_run(outcomes))
    assert (verdict.conformant, verdict.code) == (conformant, code)
    report = document([verdict], 1)
    assert report["exit_code"] == report["runs"][0]["exit_code"] == code
    assert report["runs"][0]["conformant"] is conformant
    assert (badge(verdict)["color"] == "brightgreen") is conformant
    assert (">conformant<" in page([verdict], 1)) is conformant
    text = io.StringIO()
    Terminal(text).report(verdict, 1)
    assert f"exit code {code}" in text.getvalue()
    assert (": conformant" in text.getvalue()) is conformant
    assert (": conformant |" in summary([verdict], 1)) is conformant
    suite = ET.fromstring(junit([verdict]))[0]
    failed = {Outcome.FAIL, Outcome.HANG, Outcome.CRASH} & {
        outcome for name, outcome in outcomes.items() if name != "R-MT-09"
    }
    assert int(suite.get("failures")) == len(failed)
    write_reports(tmp_path, [verdict], 1, ["x"])
    assert json.loads((tmp_path / "report.json").read_text())["runs"][0]["conformant"] is conformant


def test_a_part_is_never_conformant():
    """`--require` judges what it was asked for, and no profile."""
    verdict = judge(a_run(selected=["R-MT-01"]))
    assert (verdict.conformant, verdict.code) == (False, 0)


def test_a_problem_of_the_adapter_is_one_message():
    """Exit code 3, and nothing is judged."""
    verdict = judge(a_run(selected=[], problem="no licence"))
    assert (verdict.conformant, verdict.code) == (False, ExitCode.ADAPTER)


def test_an_incomplete_run_is_open():
    """Whatever has passed so far."""
    assert judge(a_run(complete=False)).code == ExitCode.OPEN


def test_strict_counts_deviations():
    """And without it they are shown."""
    run = a_run({"R-MT-09": Outcome.FAIL})
    assert judge(run).by_id("R-MT-09").verdict is Verdict.DEVIATION
    assert judge(run, strict=True).code == ExitCode.VIOLATED


def test_a_failure_follows_from_its_root():
    """Root causes come first."""
    ids = ["R-EB-01", "R-EB-03", "R-EB-09"]
    about = {"name": "b", "claims": {"profiles": ["core"], "kinds": ["Native"]}}
    failed = [Result(name, "check_x", Outcome.FAIL, expected="e", actual="a") for name in ids[1:]]
    verdict = judge(Run("m:A", about, ids, {}, [Result("R-EB-01", "check_x", Outcome.PASS), *failed]))
    assert [(item.requirement.id, item.follows) for item in verdict.failures] == [
        ("R-EB-03", ""),
        ("R-EB-09", "R-EB-03"),
    ]


def test_known_deviations_keep_ci_green_and_nothing_else():
    """The exit code is 0, the bridge is not conformant."""
    known = [Known("R-MT-01", "issue 9")]
    verdict = judge(a_run({"R-MT-01": Outcome.FAIL}), known)
    assert (verdict.conformant, verdict.code) == (False, 0)
    assert judge(a_run(), known).code == ExitCode.VIOLATED  # it passes: off the list
    old = [Known("R-MT-01", "issue 9", expires=dt.date(2020, 1, 1))]
    assert judge(a_run({"R-MT-01": Outcome.FAIL}), old).code == ExitCode.VIOLATED
    other = [Known("R-MT-01", "issue 9", bridge="another")]
    assert judge(a_run({"R-MT-01": Outcome.FAIL}), other).code == ExitCode.VIOLATED


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[known]]\nid = "R-XX-01"\nreason = "r"', "R-XX-01"),
        ('[[known]]\nid = "R-MT-01"', "no reason"),
        ('[[known]]\nid = "R-MT-01"\nreason = "r"\nwhy = 1', "why"),
        ('contract = "0.9"', "0.9"),
        ("[[known", "known.toml"),
    ],
)
def test_a_wrong_list_of_known_deviations_is_refused(text, said, tmp_path):
    """Naming the entry."""
    path = tmp_path / "known.toml"
    path.write_text(text)
    with pytest.raises(KnownError, match=said):
        read_known(str(path))


def test_nothing_is_not_conformant():
    """No run, no checks: never 0."""
    assert exit_code([]) == ExitCode.OPEN
    assert judge(a_run(dict.fromkeys(IDS))).code == ExitCode.OPEN


def test_two_reports_are_compared(tmp_path):
    """What got worse, by id."""
    paths = []
    for name, outcomes in (("old", {"R-MT-02": Outcome.FAIL}), ("new", {"R-MT-01": Outcome.FAIL})):
        paths.append(str(tmp_path / f"{name}.json"))
        (tmp_path / f"{name}.json").write_text(json.dumps(document([judge(a_run(outcomes))], 1)))
    lines, worse = compare_files(*paths)
    assert worse
    assert "  worse  R-MT-01  PASS -> FAIL" in lines
    assert "  better R-MT-02  FAIL -> PASS" in lines
    assert compare_files(paths[0], paths[0])[1] is False


def test_html_escapes_what_bridges_say():
    """A bridge's words are text."""
    html = page([judge(a_run({"R-MT-01": Outcome.FAIL}))], 1)
    assert "&lt;one&gt;" in html
    assert "<one>" not in html


def test_failures_that_follow_are_one_line_behind_their_root():
    """And a profile names the requirements that it was not asked."""
    failed = dict.fromkeys(("R-MT-01", "R-MT-02", "R-MT-04", "R-MT-06"), Outcome.FAIL)
    stream = io.StringIO()
    Terminal(stream).report(judge(a_run(failed, not_claimed={"R-MT-10": "profile x is not claimed"})), 1)
    said = stream.getvalue()
    assert "✗ R-MT-02/04/06  fail as well; look at R-MT-01 first" in said
    assert said.count("✗ ") == 2
    assert "1 NOT-CLAIMED (R-MT-10): not conformant" in said
