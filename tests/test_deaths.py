"""Workers that die where it hurts: each place was thought of, and the run goes on as if nothing had been."""

from __future__ import annotations

import pytest
import trio
from test_replay import NODES, exact, listing, node_of

import penstock
from penstock.engine.running import RunOptions


async def exists(path):
    while not path.exists():
        await trio.sleep(0.01)


# Sources


@pytest.mark.parametrize("when", ["source", "flush"])
async def test_a_source_is_replaced_while_it_is_stopped(tmp_path, when):
    """Its successor recites what was published and no more, and then flushes; whether it died before that or in it."""
    kept = []
    pipeline = penstock.Pipeline().add("out", listing(kept))
    pipeline.add("in", f"{NODES}:Dripping", {"folder": str(tmp_path), "when": when}, executor="multiprocess")
    async with pipeline.connect("in -> out").open(RunOptions(grace_s=30)) as run:
        async with trio.open_nursery() as nursery:
            while len(kept) < 20:
                await trio.sleep(0.01)
            if when == "source":
                await exists(tmp_path / "again")
            nursery.start_soon(run.stop)
            await exists(tmp_path / "again")
            await trio.sleep(0.05)  # it may be told to end, now
            (tmp_path / "go").touch()
    report = run.report()
    exact(report)
    assert (report.outcome, node_of(report, "in").restarts) == ("stopped", 1)
    numbers = [item["i"] for item in kept]
    assert numbers == [*range(len(numbers) - 2), -1, -2]
