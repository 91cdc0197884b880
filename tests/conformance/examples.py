"""Runs the suite on each project of examples/bridges as its author would: from a copy, beside an installed penstock.

`python -P examples.py REPORTS`. Nothing of the checkout is imported: the copies are elsewhere, and where penstock comes
from is looked at.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLES = CHECKOUT / "examples" / "bridges"
HOME = "import penstock.conformance, sys; print(penstock.conformance.__file__)"


def main():
    reports = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="examples-") as folder:
        installed = subprocess.run([sys.executable, "-c", HOME], cwd=folder, capture_output=True, text=True, check=True)
        if Path(installed.stdout.strip()).is_relative_to(CHECKOUT / "conformance"):
            sys.exit(f"penstock is imported from the checkout, not installed: {installed.stdout.strip()}")
        projects = sorted(path.parent for path in EXAMPLES.glob("*/pyproject.toml"))
        failed = [project.name for project in projects if not conformant(project, Path(folder), reports)]
    if not projects or failed:
        sys.exit(f"not conformant: {', '.join(failed) or 'there is no example'}")


def conformant(project, folder, reports):
    """Whether a copy of the project passes what it claims; its bridge is named in its pyproject.toml."""
    copy = folder / project.name
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns("__pycache__"))
    before = sorted(copy.rglob("*"))
    command = [sys.executable, "-m", "penstock.conformance", "run", "--report-dir", str(reports / project.name)]
    code = subprocess.run(command, cwd=copy, check=False).returncode
    if sorted(copy.rglob("*")) != before:
        sys.exit(f"{project.name}: the run has left {set(copy.rglob('*')) - set(before)}")
    return code == 0


main()
