"""Runs the conformance suite on each project of examples/bridges, from its own folder: `python examples.py REPORTS`."""

import subprocess
import sys
import tomllib
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples" / "bridges"


def main():
    failed = []
    for folder in sorted(EXAMPLES.iterdir()):
        if not (folder / "pyproject.toml").exists():
            continue
        bridge = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["penstock-conformance"]["bridge"]
        reports = Path(sys.argv[1]).resolve() / folder.name
        command = [
            sys.executable,
            "-m",
            "penstock.conformance",
            "run",
            "--bridge",
            bridge,
            "--report-dir",
            str(reports),
        ]
        if subprocess.run(command, cwd=folder).returncode:
            failed.append(folder.name)
    sys.exit(f"not conformant: {', '.join(failed)}" if failed else 0)


main()
