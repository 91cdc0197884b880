"""A tap sees copies of what passes an edge, and holds nothing up."""

from __future__ import annotations

import numpy as np
import pytest
import trio
from support import NODES as SMALL

from penstock.engine.external import RunEnded
from penstock.engine.pipeline import Pipeline
from penstock.executors.contract import NodeExecution, RuntimeData, Validation
from penstock.shm.arena import ArenaMap
from penstock.shm.blocking import Receiver, Sender
from penstock.shm.channel import EdgeOptions
from penstock.shm.doorbell import Doorbell
from penstock.shm.owner import Owner
from penstock.shm.record import Outgoing
from penstock.shm.ring import Geometry, Policy, Ring
from penstock.shm.slab import SlabPool
from penstock.shm.tapping import RingTap

NODES = "nodes.looking"
LARGE = 40_000


def through(executor, **bounds):
    """in -> one -> two -> out, where the edge between the two is looked at."""
    pipeline = Pipeline().add("one", f"{SMALL}:echo", executor=executor).add("two", f"{SMALL}:echo", executor=executor)
    return pipeline.input("in", "one").connect("one -> two", **bounds).output("out", "two")


# A ring, by itself


class Channel:
    """Both ends of a ring in this process, and a tap of it."""

    def __init__(self, owner, bells, *, capacity=4, policy=Policy.BLOCK, growth=0, max_age_s=None):
        geometry = Geometry.fitting(capacity, policy, growth)
        self.ring = Ring.format(
            owner.create("r0", geometry.segment_bytes, what="a ring", reserve=geometry.reserve_bytes), geometry
        )
        family = owner.family("a0")
        self.pool = SlabPool(family)
        options = EdgeOptions(name="edge", lane=9, max_age_s=max_age_s)
        self.sender = Sender(self.ring, self.pool, *bells, options)
        self.receiver = Receiver(self.ring, ArenaMap(family), *bells[::-1], options)
        self.tap = RingTap(self.ring, ArenaMap(family), options.lane)

    def send(self, *numbers, size=10):
        for number in numbers:
            self.sender.send_nowait(Outgoing(bytes([number]) * size, tail=bytes([number])))

    def receive(self, count):
        for _ in range(count):
            self.receiver.receive_nowait()
            self.receiver.acknowledge()

    def seen(self):
        """The numbers of what the tap has, each after a look at its bytes."""
        numbers = []
        head = self.tap.head
        while (record := self.tap.take(head)) is not None:
            assert record.tail == bytes([record.payload[0]])
            assert record.payload == bytes([record.payload[0]]) * len(record.payload)
            numbers.append(record.payload[0])
        return numbers


@pytest.fixture
def channel():
    """Makes channels, one in a test."""
    bells = Doorbell.create(), Doorbell.create()
    made = []

    def make(**options):
        owner = Owner("a test")
        made.append((owner, Channel(owner, bells, **options)))
        return made[-1][1]

    yield make
    for owner, one in made:
        one.pool.close()
        owner.close()
    for bell in bells:
        bell.close()


@pytest.mark.parametrize("policy", list(Policy))
def test_a_tap_begins_where_it_is_opened_and_needs_no_reader(channel, policy):
    """What was sent before is not seen; what is sent afterwards is, whether somebody receives it or not."""
    one = channel(policy=policy)
    one.send(1, 2)
    tap = RingTap(one.ring, ArenaMap("none"), 9)
    one.send(3)
    one.receive(1)
    one.tap = tap
    assert one.seen() == [3]
    one.send(4)
    assert one.seen() == [4]
    assert tap.lost == 0


@pytest.mark.parametrize("policy", [Policy.BLOCK, Policy.DROP_OLDEST])
def test_what_was_overwritten_is_lost_and_counted(channel, policy):
    """A tap that comes late gets the newest that are whole, and knows how many it did not get."""
    one = channel(policy=policy)
    for number in range(20):
        one.send(number)
        one.receive(1)
    seen = one.seen()
    assert seen == list(range(20))[-len(seen) :]
    assert seen
    assert len(seen) + one.tap.lost == 20


def test_a_record_that_may_be_half_overwritten_is_not_taken(channel):
    """The writer may be in the slot of a record that is acknowledged before HEAD says so; not in that of another."""
    one = channel()
    one.send(0, 1, 2, 3)
    again = RingTap(one.ring, ArenaMap("none"), 9)
    again.next = 0
    assert one.seen() == [0, 1, 2, 3]
    one.receive(2)
    one.tap = again
    assert one.seen() == [1, 2, 3]
    assert again.lost == 1


def test_a_ring_of_one_is_seen_while_it_is_full(channel):
    """An edge that holds one datum shows it until it is acknowledged, and not afterwards."""
    one = channel(capacity=1)
    one.send(1)
    assert one.seen() == [1]
    one.receive(1)
    one.send(2)
    one.receive(1)
    assert one.seen() == []
    assert one.tap.lost == 1


def test_a_header_that_is_being_written_is_no_record(channel):
    """Where the oldest gives way, a slot may have half of another record in it."""
    one = channel(policy=Policy.DROP_OLDEST)
    one.send(1)
    (at,) = [place for place in one.ring.places if one.ring.view[place : place + 4] == b"PSR1"]
    one.ring.view[at + 8 : at + 16] = b"\0" * 7 + b"\1"
    assert one.seen() == []
    assert one.tap.lost == 1


@pytest.mark.parametrize("policy", [Policy.BLOCK, Policy.DROP_OLDEST])
def test_a_slab_is_read_only_while_it_is_held(channel, policy):
    """Once its reader is done with it a slab may be filled anew at any time, and nothing says so."""
    one = channel(policy=policy, capacity=2)
    one.send(1, size=LARGE)
    assert one.seen() == [1]
    one.send(2, size=LARGE)
    one.receive(2)
    assert one.seen() == []
    assert one.tap.lost == 1
    one.send(3, size=LARGE)
    assert one.seen() == [3]


def test_a_ring_that_has_grown_is_followed(channel):
    """Records stand in another region from then on."""
    one = channel(growth=2)
    one.send(0, 1, 2)
    one.ring.grow()
    one.send(3, 4, 5, 6)
    assert one.seen() == [0, 1, 2, 3, 4, 5, 6]
    one.receive(7)
    one.send(7, 8)
    assert one.seen() == [7, 8]


def test_the_end_is_seen_behind_the_last_record(channel):
    """Not before it, although the word says so."""
    one = channel()
    one.send(1)
    one.sender.end()
    assert not one.tap.ended
    assert one.seen() == [1]
    assert one.tap.ended


# An edge of a run


@pytest.mark.parametrize("executor", ["native", "multiprocess"])
async def test_a_tap_sees_what_passes_bit_by_bit(executor):
    """Small and large data of every kind, as they were sent; and the stream is as it was."""
    data = [
        RuntimeData.json({"a": [1, None]}, session_id="s", timestamp_ns=5, meta={"m": 1}),
        RuntimeData.text("täxt", timestamp_ns=6),
        RuntimeData.tensor(np.arange(60_000, dtype=np.float64).reshape(3, -1), timestamp_ns=7),
        RuntimeData.audio(np.zeros((8, 2), np.int16), sample_rate=8000, timestamp_ns=8),
    ]
    async with through(executor).open() as run, run.tap("two -> out", every_s=0.001) as tap:
        for datum in data:
            await run.send("in", datum)
        assert [await tap.receive() for _ in data] == data
        assert [await run.receive("out") for _ in data] == data
        assert (tap.edge, tap.dropped) == ("two.out -> out", 0)


@pytest.mark.parametrize("executor", ["native", "multiprocess"])
async def test_a_tap_that_nobody_reads_holds_nothing_up(executor):
    """The newest are kept, the others counted."""
    async with through(executor).open() as run, run.tap("one -> two", capacity=3, every_s=0.001) as tap:
        for number in range(50):
            await run.send("in", number)
            assert (await run.receive("out")).as_json() == number
        while tap.dropped + 3 < 50:
            await trio.sleep(0.001)
        assert [(await tap.receive()).as_json() for _ in range(3)] == [47, 48, 49]
        assert tap.dropped == 47


@pytest.mark.parametrize("executor", ["native", "multiprocess"])
async def test_a_tap_ends_with_its_edge(executor):
    """`async for` comes to an end, with everything that had passed; two taps see the same."""
    async with through(executor).open() as run, run.tap("one -> two") as first, run.tap("one.out -> two.in") as other:
        for number in range(5):
            await run.send("in", number)
        await run.end("in")
        assert [data.as_json() async for data in first] == [0, 1, 2, 3, 4]
        assert [data.as_json() async for data in other] == [0, 1, 2, 3, 4]
        with pytest.raises(trio.EndOfChannel):
            await first.receive()


@pytest.mark.parametrize("executor", ["native", "multiprocess"])
async def test_an_edge_is_as_before_when_its_tap_is_closed(executor):
    """Nothing is seen before and after the block, and an inner tap does not close an outer one."""
    async with through(executor).open() as run:
        await run.send("in", 0)
        await run.receive("out")
        async with run.tap("one -> two", every_s=0.001) as outer:
            async with run.tap("one -> two", every_s=0.001) as inner:
                await run.send("in", 1)
                assert (await inner.receive()).as_json() == 1
            await run.send("in", 2)
            assert [(await outer.receive()).as_json() for _ in range(2)] == [1, 2]
        await run.send("in", 3)
        assert [(await run.receive("out")).as_json() for _ in range(3)] == [1, 2, 3]
        assert [data async for data in inner] == []


@pytest.mark.parametrize("executor", ["native", "multiprocess"])
async def test_a_tap_ends_with_a_run_that_fails(executor):
    """Whoever waits at it is let go."""
    pipeline = Pipeline().add("echo", f"{SMALL}:echo", executor=executor).add("fail", f"{SMALL}:fail")
    pipeline.input("in", "echo").connect("echo -> fail")
    seen = []

    async def watch(tap):
        with trio.CancelScope(shield=True):
            seen.extend([data.as_text() async for data in tap])

    with pytest.raises(NodeExecution, match="boom"):
        async with (
            pipeline.open() as run,
            run.tap("echo -> fail", every_s=0.001) as tap,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(watch, tap)
            await run.send("in", "x")
            await run.wait()
    assert seen == ["x"]
    with pytest.raises(RunEnded):
        async with run.tap("echo -> fail"):
            pass


async def test_a_tap_of_an_edge_that_is_not_there_says_so():
    """With the nearest one that is."""
    async with through("native").open() as run:
        with pytest.raises(Validation, match=r"no edge 'one -> too': did you mean 'one.out -> two.in'"):
            run.tap("one -> too")
        for bounds in ({"capacity": 0}, {"every_s": 0}, {"every_s": -1}, {"every_s": float("nan")}):
            with pytest.raises(Validation, match="a tap keeps"):
                run.tap("one -> two", **bounds)
        async with run.tap("in -> one") as tap:
            await run.send("in", 1)
            assert (await tap.receive()).as_json() == 1


@pytest.mark.parametrize("policy", ["block", "drop_oldest"])
async def test_at_full_rate_a_tap_gives_whole_data_or_none(policy):
    """Two workers at full speed, while the slots and slabs that are copied are written again and again."""
    pipeline = Pipeline().add("in", f"{NODES}:Patterns", {"count": 20_000}, executor="multiprocess")
    pipeline.add("out", f"{SMALL}:none", executor="multiprocess").connect("in -> out", capacity=8, policy=policy)
    seen = []
    async with pipeline.open() as run, run.tap("in -> out", capacity=10_000, every_s=0.0005) as tap:
        async for data in tap:
            number = data.meta["number"]
            array = data.as_tensor()
            assert array.size == (500 if number % 3 else 30_000)
            assert (array == number).all(), number
            seen.append(number)
    assert seen == sorted(set(seen))
    assert seen
    assert len(seen) + tap.dropped >= seen[-1] - seen[0] + 1
