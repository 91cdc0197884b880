"""Random graphs whose workers are killed and stopped: a short form of `python -m bench.chaos`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DIFFERENCE = """
from bench.chaotic.graphs import Sink
from bench.chaotic.rounds import differences
one, other = Sink(exact=True), Sink(exact=True)
one.paths["a>b"] = [((0,), 1), ((1,), 2), ((1,), 2)]
other.paths["a>b"] = [((0,), 1), ((1,), 2), ((2,), 3)]
print(*differences(one, other))
one.exact = False
print(*differences(one, other))
"""


def python(*arguments):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}  # `bench` is not installed
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("graph", [("--issue", "--seed=1"), ("--seed=3",), ("--seed=7",)], ids=" ".join)
def test_the_sinks_do_not_notice_that_workers_are_killed(graph):
    """They get what a run without kills gets, ledgers are exact, nothing is left behind."""
    done = python("-m", "bench.chaos", *graph, "--seconds=4", "--rate=3", "--kills=3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[3-9] killed, [1-9] restarts, .* not one lost, doubled, or out of order", done.stdout)


def test_a_difference_is_told_with_its_place():
    """Two streams that are to be the same, and one that is to have an order."""
    done = python("-c", DIFFERENCE)
    assert done.returncode == 0, done.stderr
    exact, ordered = done.stdout.splitlines()
    assert exact.startswith("path a>b: 3 data under fire, 3 in peace; at 2 there are [((1,), 2)] instead of")
    assert ordered == "path a>b: (1,) comes after (1,)"
