"""The suite in a hostile place: nothing of it is read but the adapter, nothing is written but the report."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from penstock.conformance.runner import Options, run
from penstock.conformance.verdict import judge

HOSTILE_FILES = {
    "conftest.py": "raise SystemExit('conftest')",
    "pytest.ini": "[pytest]\naddopts = --no-such-option",
    "setup.cfg": "[tool:pytest]\naddopts = --no-such-option",
    "tox.ini": "[pytest]\naddopts = --no-such-option",
    "random.py": "raise SystemExit('random')",
    "adapter.py": "raise SystemExit('adapter')",
    "conformance.py": "raise SystemExit('conformance')",
    "sitecustomize.py": "raise SystemExit('sitecustomize')",
    "test_bad.py": "raise SystemExit('test')",
    "mine.py": "from penstock.conformance.reference.adapter import ReferenceAdapter\n"
    "class Mine(ReferenceAdapter): pass\n",
}
HOSTILE_SHELL = {
    "PYTEST_ADDOPTS": "--boom",
    "PYTEST_PLUGINS": "nope",
    "PYTHONOPTIMIZE": "2",
    "PYTHONWARNINGS": "error",
    "PY_COLORS": "1",
    "COLUMNS": "7",
}
AREAS = ("R-NX", "R-EB-03", "R-DB", "R-CL-01", "R-LK-01")


@pytest.fixture
def hostile(tmp_path):
    """A folder that belongs to whoever runs the test."""
    for name, content in HOSTILE_FILES.items():
        (tmp_path / name).write_text(content)
    return tmp_path


def suite(folder, *options, prefix=(), **shell):
    """The JSON report of a run in this folder."""
    require = [word for area in AREAS for word in ("--require", area)]
    command = [*prefix, sys.executable, "-P", "-m", "penstock.conformance", "run", "--bridge", "mine:Mine", "--json"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [*command, *require, *options], cwd=folder, env={**env, **shell}, capture_output=True, text=True, timeout=110
    )
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout[-3000:]
    return {item["id"]: item["verdict"] for item in report["runs"][0]["requirements"]}


def listing(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_hostile_folder_changes_nothing(hostile):
    """Neither conftest.py nor the four places for pytest's options, nor modules that have our names."""
    before = listing(hostile)
    verdicts = suite(hostile, **HOSTILE_SHELL)
    assert {verdicts[name] for name in ("R-NX-01", "R-EB-03", "R-DB-01", "R-CL-01", "R-LK-01")} == {"PASS"}
    assert listing(hostile) == before


def test_nothing_is_written_but_the_report(hostile):
    """And of the report, only where it was asked for."""
    before = listing(hostile)
    suite(hostile, "--report-dir", "out")
    new = {path.relative_to(hostile).parts[0] for path in listing(hostile).keys() - before.keys()}
    assert new == {"out"}
    assert "report.html" in os.listdir(hostile / "out")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
@pytest.mark.parametrize(
    "less",
    [("--reuid=65534", "--regid=65534", "--clear-groups"), ("--bounding-set=-all", "--no-new-privs")],
    ids=["nobody", "without capabilities"],
)
def test_it_needs_no_rights(hostile, less):
    """In a folder that it may not write to, without a home."""
    prefix = ("setpriv", *less, "--inh-caps=-all")
    for folder in (hostile, *list(hostile.parents)[:2]):
        folder.chmod(0o755)
    if subprocess.run([*prefix, "test", "-x", sys.executable], check=False).returncode:
        pytest.skip("nobody can not read this installation")
    before = listing(hostile)
    verdicts = suite(hostile, prefix=prefix, HOME="/nonexistent", TMPDIR="/tmp")
    assert verdicts["R-LK-01"] == verdicts["R-EB-03"] == "PASS"
    assert listing(hostile) == before


def test_isolation_changes_no_verdict(hostile):
    """In this process, in one of its own, in two."""
    apart = suite(hostile, "--isolate", "process", "--jobs", "2")
    assert suite(hostile, "--isolate", "none") == apart
    assert Path(hostile / "out").exists() is False


def _litter(stop):
    """Leaves a segment that nobody has mapped, again and again."""
    names = []
    while not stop.wait(0.05):
        names.append(f"/dev/shm/litter-{os.urandom(6).hex()}")
        Path(names[-1]).touch()
    for name in names:
        os.unlink(name)


def test_other_peoples_segments_are_not_accused():
    """Whatever comes and stays in /dev/shm meanwhile."""
    stop = threading.Event()
    litterer = threading.Thread(target=_litter, args=(stop,))
    litterer.start()
    try:
        ids = ["R-LK-02", "R-CV-18", "R-CV-23", "R-DB-07"]
        verdict = judge(run("penstock.conformance.reference.adapter:ReferenceAdapter", Options(require=ids)))
    finally:
        stop.set()
        litterer.join()
    assert [verdict.by_id(name).verdict.value for name in ids] == ["PASS"] * 4
