"""Edges on which nothing moves are reported: who holds what is there, since when, and what he is doing."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import trio
from support import NODES

import penstock
from penstock.engine.options import RunOptions
from penstock.engine.stall import Stalls

SOON = RunOptions(stall_after_s=0.2)


async def stalls_of(run, count):
    """Wait until so many edges have stalled; by name."""
    with trio.fail_after(30):
        while len(stalls := run.stalls()) < count:
            await trio.sleep(0.01)
    return {stall.edge: stall for stall in stalls}


@pytest.mark.parametrize("places", ["nnn", "mmm", "nmn"])
async def test_a_node_that_is_stuck_is_named_with_its_process_and_what_waits_for_it(tmp_path, caplog, places):
    """The edge into it, which it holds in its own code; the one before, whose reader waits for room; each is logged."""
    source, via, hold = ({"n": "native", "m": "multiprocess"}[place] for place in places)
    gate = tmp_path / "gate"
    pipeline = penstock.Pipeline().add("in", f"{NODES}:Numbers", {"count": 30}, executor=source)
    pipeline.add("via", f"{NODES}:echo", executor=via)
    pipeline.add("hold", f"{NODES}:Hold", {"path": str(gate)}, executor=hold, thread=hold == "native")
    pipeline.add("out", lambda data: None)
    pipeline.connect("in -> via -> hold", capacity=3).connect("hold -> out")
    async with pipeline.open(SOON) as run:
        assert run.stalls() == []
        stalls = await stalls_of(run, 2)
        pids = {node.node_id: node.pid for node in run.report().nodes}
        assert run.report().stalls[0].edge in stalls
        with trio.fail_after(30):
            while caplog.text.count("has moved for") < 2:
                await trio.sleep(0.01)
        gate.touch()
        await run.wait()
        assert run.stalls() == []
    first, second = stalls["in.out -> via.in"], stalls["via.out -> hold.in"]
    assert (first.holder, first.pid, first.doing) == ("via", pids["via"], "waits for room on via.out -> hold.in")
    assert (second.holder, second.pid, second.doing) == ("hold", pids["hold"], "is in its own code")
    assert (first.in_flight, second.in_flight) == (3, 3)
    assert first.seconds >= 0.2
    assert caplog.text.count("edge in.out -> via.in: none of 3 data has moved for") == 1
    assert caplog.text.count("edge via.out -> hold.in: none of 3 data has moved for") == 1
    assert run.report().stalls == ()


@pytest.mark.parametrize("place", ["native", "multiprocess"])
async def test_a_program_that_does_not_receive_and_a_node_that_waits_for_another_input(place):
    """Nobody is wrong, and the report says so as well."""
    pipeline = penstock.Pipeline().add("zip", "zip", {"inputs": ["left", "right"]}, executor=place)
    pipeline.input("left", "zip.left").input("right", "zip.right").output("both", "zip.left")
    pipeline.add("sink", lambda data: None).connect("zip.right -> sink")
    async with pipeline.open(SOON) as run:
        for number in range(3):
            await run.send("left", number)
        await run.send("right", 0)
        stalls = await stalls_of(run, 2)
        await run.end("left")
        await run.end("right")
    (waits,) = (stall for stall in stalls.values() if stall.holder)
    assert (waits.holder, waits.doing) == ("zip", "waits for data on right -> zip.right")
    (program,) = (stall for stall in stalls.values() if not stall.holder)
    assert program.doing == "does not receive them"
    assert (program.pid, str(program).count("the program")) == (0, 1)


@pytest.mark.parametrize("node", ["HoldEither", "HoldChosen"])
@pytest.mark.parametrize("place", ["native", "multiprocess"])
async def test_a_node_that_works_on_one_input_does_not_wait_for_the_other(tmp_path, place, node):
    """Although it listens to that, where it is a task of this process."""
    gate = tmp_path / "gate"
    pipeline = penstock.Pipeline().input("left", "hold.left").input("right", "hold.right")
    pipeline.add("hold", f"{NODES}:{node}", {"path": str(gate)}, executor=place, thread=place == "native")
    pipeline.add("out", lambda data: None).connect("hold -> out")
    async with pipeline.open(SOON) as run:
        await run.send("left", 0)
        (stall,) = (await stalls_of(run, 1)).values()
        gate.touch()
        await run.end("left")
        await run.end("right")
    assert (stall.edge, stall.holder, stall.doing) == ("left -> hold.left", "hold", "is in its own code")


def test_what_moves_has_not_stalled():
    """The time begins when the oldest datum is the oldest: neither before it came nor while others went."""
    edge = object()
    stalls = Stalls(10.0, lambda _: os.getpid())

    def look(now_s, done, in_flight):
        flows = {edge: SimpleNamespace(received=done, dropped=0, in_flight=in_flight)}
        stalls.look(flows, now_s)
        return stalls.stalled(flows, now_s)

    assert look(0.0, 0, 0) == look(60.0, 0, 0) == look(61.0, 0, 1) == look(69.0, 0, 3) == []
    assert look(71.0, 0, 3) == [edge]
    assert (stalls.is_new(edge), stalls.is_new(edge)) == (True, False)
    assert look(72.0, 1, 2) == look(81.0, 1, 2) == []
    assert look(82.0, 1, 2) == [edge]
    assert stalls.is_new(edge)
