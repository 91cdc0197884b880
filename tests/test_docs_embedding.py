"""The programs of docs/embedding.md run as they stand there, and print what their comments say."""

import re
import subprocess
import sys

import pytest
from support import ROOT

PAGE = (ROOT / "docs" / "embedding.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_there_are_three():
    """A page without programs would prove nothing."""
    assert len(PROGRAMS) == 3


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_of_the_page_runs(tmp_path, number):
    """In an empty folder, with warnings as errors; a comment behind a print is what it prints first of all."""
    text = PROGRAMS[number]
    (tmp_path / "example.py").write_text(text)
    command = [sys.executable, "-W", "error", "example.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    expected = re.findall(r"print\(.*\)  # (.*)$", text, re.MULTILINE)
    assert done.stdout.split("\n")[: len(expected)] == expected or not expected


def test_the_page_names_every_call_of_a_run():
    """What a run can do is in its tables or its text."""
    from penstock.engine import Run

    public = {name for name in dir(Run) if not name.startswith("_")}
    assert {name for name in public if f"run.{name}" not in PAGE} <= {"failure"}
