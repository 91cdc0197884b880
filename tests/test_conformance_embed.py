"""The suite inside somebody's own pytest, and as plain functions."""

import subprocess
import sys

import pytest

from penstock.conformance import ConformanceFailure, check_converter, check_data_bridge

REFERENCE = "penstock.conformance.reference.adapter:ReferenceAdapter"
MINE = """
from penstock.conformance import BridgeConformance
from penstock.conformance.runner import Options

class TestMine(BridgeConformance):
    adapter = "penstock.conformance.mutants:{name}"
    known = {known}
    options = Options(require=["R-EB-03", "R-NX-06"], time_scale=1.0)
"""


def pytest_on(tmp_path, text):
    """What pytest says to a file."""
    (tmp_path / "test_mine.py").write_text(text)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-rfx",
        "--strict-markers",
        str(tmp_path),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path).stdout


def test_a_class_of_ones_own(tmp_path):
    """One test for each requirement; a failure explains itself."""
    said = pytest_on(tmp_path, MINE.format(name="EchoesItsInput", known={}))
    assert "1 failed, 2 passed, 138 skipped" in said
    assert "R-EB-03 FAIL: The result is the node's own output" in said


def test_known_deviations_are_xfail(tmp_path):
    """And one that passes is an error."""
    said = pytest_on(tmp_path, MINE.format(name="EchoesItsInput", known={"R-EB-03": "a stub", "R-NX-06": "not so"}))
    assert "1 xfailed" in said
    assert "R-NX-06 is listed as known, and passes" in said


def test_overriding_a_test_fails(tmp_path):
    """Deviations are stated, not hidden."""
    text = MINE.format(name="EchoesItsInput", known={}) + "    def test_requirement(self):\n        pass\n"
    assert "'test_requirement'] overridden" in pytest_on(tmp_path, text)


async def test_plain_functions():
    """Nothing for what is right, ConformanceFailure for what is not."""
    verdict = await check_converter(REFERENCE)
    assert verdict.by_id("R-CV-05").verdict.value == "PASS"
    with pytest.raises(ConformanceFailure, match="R-CL-04 FAIL"):
        await check_data_bridge("penstock.conformance.mutants:ClosesOnce")
