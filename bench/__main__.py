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
from bench.table import comparison, table, targets

NAMES = (
    "execute_node",
    "callers",
    "calls",
    "stream",
    "channel",
    "frames",
    "fanout",
    "chain",
    "chains",
    "fanin",
    "replicas",
    "conversion",
    "steps",
    "native",
    "sessions",
    "crowd",
    "wasm",
    "start",
    "idle",
    "memory",
)
PEERS = ("rivals.round_trip", "rivals.one_way", "rivals.frames", "rivals.fan_out")


def main() -> None:
    """Measure what was asked for, and print it."""
    arguments = _parser().parse_args()
    run = json.loads(arguments.load.read_text()) if arguments.load else _measure(arguments)
    if arguments.save:
        arguments.save.write_text(_as_json(run))
    if arguments.json:
        print(_as_json(run))
    else:
        load = " -> ".join(f"{run['environment'][when]['load']:.2f}" for when in ("before", "after"))
        said = run["environment"]["before"]
        print(f"Python {said['python']}, {said['processors']} processors, load {load} (the second is mostly this run)")
    _judge(arguments, run)


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # here and in the children: reading a frame must not take a second core
    options = Options(quick=arguments.quick)
    before, figures = _environment(), list[Figure]()
    for name in arguments.only or (PEERS if arguments.peers else NAMES):
        found = importlib.import_module(f"bench.{name}").run(options).figures()
        figures += found
        if not arguments.json:
            print(table(found), flush=True)
    environment = {"before": before, "after": _environment()}
    return {"environment": environment, "figures": [figure.to_json() for figure in figures]}


def _judge(arguments: argparse.Namespace, run: dict[str, Any]) -> None:
    out = sys.stderr if arguments.json else sys.stdout
    figures = [Figure.from_json(saved) for saved in run["figures"]]
    if arguments.load and not arguments.json:
        print(table(figures))
    if arguments.compare:
        saved = json.loads(arguments.compare.read_text())["figures"]
        print(f"\n{comparison(figures, [Figure.from_json(each) for each in saved])}", file=out)
    if arguments.targets:
        print(f"\n{targets(figures)}", file=out)


def _as_json(run: dict[str, Any]) -> str:
    return json.dumps(run, indent=1)


def _environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": len(ALL),
        "load": os.getloadavg()[0],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What penstock costs, beside bare means.")
    only = parser.add_argument("--only", action="append", choices=NAMES + PEERS, metavar="NAME")
    only.help = f"one benchmark; may be given several times: {', '.join(NAMES + PEERS)}"
    parser.add_argument("--peers", action="store_true", help="beside other libraries, as far as they are installed")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter blocks: all of it in less than 90 s")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the run as JSON, to --compare with")
    parser.add_argument("--load", type=Path, metavar="FILE", help="measure nothing: show a run that was kept")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="a run that was kept: this one divided by it")
    parser.add_argument("--targets", action="store_true", help="the design's targets, and whether they are met")
    return parser


if __name__ == "__main__":
    main()
