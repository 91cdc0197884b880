"""`python -m bench`, from the root of the repository."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from bench.figures import Figure
from bench.options import Options
from bench.placing import ALL
from bench.table import comparison, table

NAMES = (
    "execute_node",
    "callers",
    "calls",
    "stream",
    "channel",
    "frames",
    "fanout",
    "chain",
    "conversion",
    "native",
    "wasm",
    "start",
    "idle",
)


def main() -> None:
    """Measure what was asked for, and print it."""
    arguments = _parser().parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # here and in the children: reading a frame must not take a second core
    options = Options(quick=arguments.quick)
    before, figures = _environment(), []
    for name in arguments.only or NAMES:
        found = importlib.import_module(f"bench.{name}").run(options).figures()
        figures += found
        if not arguments.json:
            print(table(found), flush=True)
    _conclude(arguments, {"before": before, "after": _environment()}, figures)


def _conclude(arguments: argparse.Namespace, environment: dict[str, Any], figures: list[Figure]) -> None:
    if arguments.json:
        said = {"environment": environment, "figures": [figure.to_json() for figure in figures]}
        print(json.dumps(said, indent=1))
    else:
        load = " -> ".join(f"{environment[when]['load']:.2f}" for when in ("before", "after"))
        print(f"Python {platform.python_version()}, {len(ALL)} processors, load {load} (the second is mostly this run)")
    if arguments.compare is not None:
        print(comparison(figures, json.loads(arguments.compare.read_text())["figures"]), file=sys.stderr)


def _environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": len(ALL),
        "load": os.getloadavg()[0],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What penstock costs, beside bare means.")
    parser.add_argument("--only", action="append", choices=NAMES, help="one benchmark; may be given several times")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter blocks: all of it in less than 60 s")
    parser.add_argument("--json", action="store_true", help="print JSON, to keep and to --compare with")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="a saved --json: print this run divided by it")
    return parser


if __name__ == "__main__":
    main()
