"""The examples of the README run as they stand there, in an empty folder."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"^```(python|yaml)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language):
    """The code blocks of one language."""
    return [text for found, text in BLOCK.findall(README.read_text()) if found == language]


def run(*arguments, cwd):
    """A program in a folder, with warnings as errors; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("language", ["python", "yaml"])
def test_there_is_an_example(language):
    """At least one of each."""
    assert blocks(language), f"README.md has no ```{language} block"


def test_the_python_examples_run(tmp_path):
    """Each in a file of its own, as its reader would."""
    for number, text in enumerate(blocks("python")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "example.py").write_text(text)
        run("example.py", cwd=folder)


def test_the_manifests_run(tmp_path):
    """`penstock run` of each, whole and unchanged."""
    for number, text in enumerate(blocks("yaml")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "pipeline.yaml").write_text(text)
        run("-m", "penstock", "run", "pipeline.yaml", cwd=folder)
