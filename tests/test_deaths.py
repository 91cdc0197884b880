"""Workers that die where it hurts: each place was thought of, and the run goes on as if nothing had been."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import trio
from test_replay import NODES, TIRELESS, exact, listing, node_of, summed

import penstock
from penstock.engine.options import RunOptions
from penstock.executors.contract import NodeExecution, RuntimeData


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


# In the last steps


def test_a_node_dies_when_all_is_done_but_its_inputs_are_not_acknowledged(tmp_path):
    """Its edges have ended; a successor still settles the accounts."""
    kept = []
    report = penstock.run(summed(tmp_path, "Brittle", "settle", kept))
    exact(report)
    assert node_of(report, "sum").restarts == 1
    assert kept[-2:] == [{"total": sum(range(40))}, {"end": True}]


# In the first steps


def test_who_dies_before_it_begins_again_had_no_datum_in_hand(tmp_path):
    """Deaths in `initialize` count as restarts, and not against the datum that its predecessor died with."""
    kept = []
    pipeline = summed(tmp_path, "Brittle", "initialize", kept, max_redeliveries=1, restart={"backoff": 0, "max": 9})
    pipeline.set("sum", "times", 5)
    report = penstock.run(pipeline)
    exact(report)
    assert (node_of(report, "sum").restarts, node_of(report, "sum").redelivered) == (5, 1)


def test_deaths_in_initialize_are_bounded(tmp_path):
    """By `restart`, which says so."""
    pipeline = summed(tmp_path, "Brittle", "initialize", [], max_redeliveries=1, restart={"backoff": 0, "max": 3})
    pipeline.set("sum", "times", 50)
    with pytest.raises(NodeExecution, match="after 3 restarts within 60 s: no more"):
        penstock.run(pipeline)


def test_the_time_of_a_dead_process_is_not_that_of_its_successor(tmp_path):
    """`timeout` is for a datum in hand, and nobody has one between two lives."""
    kept = []
    report = penstock.run(summed(tmp_path, "Slow", "before", kept, timeout_s=0.3))
    exact(report)
    assert node_of(report, "sum").restarts == 1


# Between two orders


async def test_a_node_is_configured_between_two_lives(tmp_path):
    """The datum that its predecessor had in hand is given to it as that one was, and only then the order."""
    kept = []
    pipeline = penstock.Pipeline().add("out", listing(kept)).input("in", "scale")
    pipeline.add("scale", f"{NODES}:Scaled", {"folder": str(tmp_path), "at": 3}, executor="multiprocess")
    async with pipeline.connect("scale -> out").open() as run:
        for i in range(4):
            await run.send("in", RuntimeData.json({"i": i}))
        async with trio.open_nursery() as nursery:
            await exists(tmp_path / "died")
            nursery.start_soon(partial(run.configure, "scale", factor=10))
            await trio.sleep(0.05)
            (tmp_path / "go").touch()
        for i in range(4, 6):
            await run.send("in", RuntimeData.json({"i": i}))
    exact(run.report())
    assert [item["i"] for item in kept] == [0, 0, 1, 1, 2, 2, 3, 3, 40, 40, 50, 50]


# Ends


def of_four(deaths, kind, kept, counts, at=-1, **options):
    pipeline = penstock.Pipeline()
    pipeline.add("all", f"{NODES}:{kind}", {"deaths": str(deaths), "at": at}, executor="multiprocess", **options)
    for port, count in zip("abcd", counts, strict=True):
        pipeline.add(f"in_{port}", f"{NODES}:Small", {"count": count})
        pipeline.connect(f"in_{port} -> all.{port}", capacity=4096)
    return pipeline.add("out", listing(kept)).connect("all -> out")


@pytest.mark.parametrize("count", [254, 255, 256])
def test_a_log_has_room_for_all_ends(tmp_path, count):
    """However much was begun since the last snapshot."""
    kept = []
    exact(penstock.run(of_four(tmp_path / "deaths", "KeptEnds", kept, [count, 255, 255, 255])))
    assert kept == [*({"ended": n} for n in range(1, 5)), {"ended": 4, "data": 765 + count}]


def test_who_begins_anew_hears_of_ends_again(tmp_path):
    """It knows nothing of what its predecessor was told."""
    kept = []
    pipeline = of_four(tmp_path / "deaths", "Ends", kept, [0, 30, 0, 0], at=20, delivery="restart_fresh")
    report = penstock.run(pipeline)
    exact(report)
    assert node_of(report, "all").restarts == 1
    assert kept[-1] == {"ended": 4, "data": 10}


# Everywhere


def mortal(tmp_path, **more):
    return {"deaths": str(tmp_path / "deaths"), "lives": 6, **more}


@pytest.mark.parametrize("seed", range(2))
async def test_a_program_talks_to_workers_that_die(tmp_path, seed):
    """What it sends and what it receives goes through the hands of the dead."""
    pipeline = penstock.Pipeline().input("in", "one", capacity=4).output("out", "window.out", capacity=4)
    for name, kind in (("one", "Twice"), ("window", "Window")):
        params = mortal(tmp_path, seed=seed, within=2500)
        pipeline.add(name, f"{NODES}:{kind}", params, executor="multiprocess", **TIRELESS)
    kept = []
    pipeline.add("none", f"{NODES}:Small", {"count": 0}).connect("none -> window.b")
    async with pipeline.connect("one -> window.a", capacity=4).open(RunOptions(grace_s=30)) as run:

        async def receive():
            kept.extend([data.as_json() async for data in run.outputs("out")])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            for i in range(150):
                await run.send("in", RuntimeData.json({"i": i}))
            await run.drain()
    report = run.report()
    exact(report)
    assert [node_of(report, name).restarts for name in ("one", "window")] == [6, 6]
    numbers = [i for i in range(150) for _ in range(2 if i % 3 else 1)]
    assert [item["window"][-1][1] for item in kept[:-1]] == numbers
    assert kept[-1] == {"count": len(numbers)}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", ["Round", "KeptRound"])
def test_a_cycle_ends_although_its_workers_die(tmp_path, kind, seed):
    """Everything goes round as often as it is to, and the end is seen in spite of what is not settled."""
    kept = []
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Small", {"count": 80})
    params = mortal(tmp_path, seed=seed, within=3000)
    pipeline.add("round", f"{NODES}:{kind}", params, executor="multiprocess", **TIRELESS)
    pipeline.add("pass", f"{NODES}:Pass", params, executor="multiprocess", **TIRELESS)
    pipeline.add("out", listing(kept)).connect("in -> round.in", capacity=4).connect("round.out -> out")
    pipeline.connect("round.again -> pass", capacity=4).connect("pass -> round.back", capacity=4, feedback=True)
    report = penstock.run(pipeline)
    exact(report)
    assert [node_of(report, name).restarts for name in ("round", "pass")] == [6, 6]
    numbers = [item["i"] for item in kept]
    if kind == "KeptRound":
        assert numbers.pop() == sum(1 + i % 4 for i in range(80))
    assert sorted(numbers) == list(range(80))


@pytest.mark.parametrize("seed", range(2))
async def test_what_is_interrupted_or_too_old_is_not_replayed(tmp_path, seed):
    """The accounts stay exact, nothing comes twice, and all in order, whatever was discarded before a death."""
    kept = []
    pipeline = penstock.Pipeline().input("in", "one", capacity=8)
    for name, kind in (("one", "Pass"), ("window", "Window")):
        params = mortal(tmp_path, seed=seed, within=2500)
        pipeline.add(name, f"{NODES}:{kind}", params, executor="multiprocess", **TIRELESS)
    pipeline.add("out", listing(kept)).connect("window.out -> out")
    pipeline.add("none", f"{NODES}:Small", {"count": 0}).connect("none -> window.b")
    async with pipeline.connect("one -> window.a", capacity=8, max_age_s=0.05).open(RunOptions(grace_s=30)) as run:
        for i in range(400):
            await run.send("in", RuntimeData.json({"i": i}))
            if i % 20 == 0 and i < 350:  # after that nothing is stale behind the node, nor what it says at its end
                run.interrupt("window")
    report = run.report()
    exact(report)
    numbers = [item["window"][-1][1] for item in kept[:-1]]
    assert all(before < after for before, after in pairwise(numbers))
    given = next(edge for edge in report.edges if edge.name == "one.out -> window.a")
    assert kept[-1] == {"count": given.received}
