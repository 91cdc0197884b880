"""The benchmarks run: one of them, the cheapest."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_quick_benchmark_prints_json_with_both_contestants():
    """`--json` is one JSON document on stdout, in which each figure is a positive number within its own spread."""
    command = [sys.executable, "-m", "bench", "--quick", "--only", "wasm", "--json"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}  # `bench` is not installed
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["figures"]
    assert {figure["subject"] for figure in figures} == {"penstock", "numpy"}
    assert {figure["case"] for figure in figures} == {"4 KiB frame, p50", "4 KiB frame, p99"}
    for figure in figures:
        assert 0 < figure["low"] <= figure["value"] <= figure["high"] < math.inf
