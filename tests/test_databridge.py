"""The bridge between two executors: equal data, bounded, in turn, in order; and its end."""

import itertools
import random

import numpy as np
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from test_codec import data as any_data
from test_converter import in_trio, segments
from trio.testing import MockClock, wait_all_tasks_blocked

from penstock.executors import (
    BackpressureTimeout,
    BridgeClosed,
    ConversionFailed,
    DataBridge,
    DataType,
    ExecutorType,
    Internal,
    IPCError,
    MultiprocessExecutorBridge,
    NativeExecutorBridge,
    RuntimeData,
    SharedMemoryConverter,
    TypeMismatch,
    Validation,
    contract,
)

PAIRS = list(itertools.product(ExecutorType, repeat=2))
NATIVE, MULTI = ExecutorType.NATIVE, ExecutorType.MULTIPROCESS


class End:
    """A stand-in for an executor bridge."""

    def __init__(self, executor_type):
        self.executor_type = executor_type


class Recorder(SharedMemoryConverter):
    """Notes who converts, and can wait while it does."""

    def __init__(self):
        super().__init__()
        self.calls = []
        self.gate = None

    async def to_ipc(self, data):
        self.calls.append("to_ipc")
        if self.gate is not None:
            await self.gate.wait()
        return await super().to_ipc(data)

    async def from_ipc(self, msg):
        self.calls.append("from_ipc")
        return await super().from_ipc(msg)


def bridge(pair=(NATIVE, MULTI), **options):
    return DataBridge(End(pair[0]), End(pair[1]), **options)


def number(value):
    return RuntimeData.tensor(np.array([value]))


def value(data):
    return int(data.as_tensor()[0])


async def drain(between):
    return [value(data) async for data in between]


@settings(deadline=None, max_examples=60, database=None)
@given(data=any_data(), pair=st.sampled_from(PAIRS))
@in_trio
async def test_all_nine_pairs_transfer_equal_data(data, pair):
    async with bridge(pair) as between:
        assert await between.transfer(data) == data
        assert await between.transfer_with_backpressure(data) == data
        assert await between.receive() == data
        stats = between.get_stats()
        assert (stats.total_transfers, stats.total_bytes) == (2, 2 * data.nbytes)


async def test_it_is_a_data_bridge_of_the_contract():
    async with bridge() as between:
        assert isinstance(between, contract.DataBridge)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
async def test_only_different_executors_convert(pair):
    """Between two of one type the datum is passed on, and stands where it stood."""
    async with Recorder() as converter, bridge(pair, converter=converter) as between:
        datum = number(1)
        moved = await between.transfer(datum)
        assert converter.calls == ([] if pair[0] is pair[1] else ["to_ipc", "from_ipc"])
        assert (moved is datum) is (pair[0] is pair[1])


async def test_the_types_are_asked_each_time():
    source, target = End(NATIVE), End(NATIVE)
    async with Recorder() as converter, DataBridge(source, target, converter=converter) as between:
        await between.transfer(number(1))
        assert not converter.calls
        target.executor_type = MULTI
        await between.transfer(number(1))
        assert converter.calls
        target.executor_type = "Quantum"
        with pytest.raises(Internal, match="^Unsupported executor combination$"):
            await between.transfer(number(1))


async def test_data_go_through_real_nodes_and_back():
    """From a worker a reference arrives as what it is: a payload in shared memory, which is not copied again."""

    def double(data: RuntimeData) -> RuntimeData:
        return RuntimeData.tensor(data.as_tensor() * 2)

    async with (
        NativeExecutorBridge("s", nodes={"double": double}) as native,
        MultiprocessExecutorBridge("s", nodes={"echo": "penstock.conformance.nodes:Echo"}) as multi,
        DataBridge(native, multi) as there,
        DataBridge(multi, multi) as across,
        DataBridge(multi, native) as back,
    ):
        await native.initialize_node("d", "double", {})
        await multi.initialize_node("e", "echo", {})
        await multi.initialize_node("f", "echo", {})
        datum = RuntimeData.tensor(np.arange(100_000, dtype="f4"))
        doubled = await there.transfer(await native.execute_node("d", "double", datum, {}))
        answer = await multi.execute_node("e", "echo", doubled, {})
        moved = await across.transfer(answer)
        assert moved.payload is answer.payload
        answer = await back.transfer(await multi.execute_node("f", "echo", moved, {}))
        assert np.array_equal(answer.as_tensor(), np.arange(100_000, dtype="f4") * 2)
        for between in (there, across, back):
            await between.close()
        assert (await native.execute_node("d", "double", datum, {})).nbytes == datum.nbytes


async def test_a_conversion_error_is_the_cause():
    """Nothing is counted and no slot is taken; the bridge goes on."""
    wrong = RuntimeData(DataType.AUDIO, b"this is text")
    async with bridge(capacity=1) as between:
        for call in (between.transfer, between.transfer_with_backpressure) * 2:
            with pytest.raises(
                ConversionFailed, match="^Data conversion failed: Type mismatch: expected Audio"
            ) as failed:
                await call(wrong)
            assert isinstance(failed.value.__cause__, TypeMismatch)
        with pytest.raises(Validation, match="RuntimeData"):
            await between.transfer("text")
        assert between.get_stats() == contract.BridgeStats()
        await between.transfer_with_backpressure(number(1))
        assert value(await between.receive()) == 1


async def test_nothing_foreign_leaves_the_bridge():
    """What somebody's converter raises is an error of the contract, with the cause; its slot is free again."""

    class Broken(SharedMemoryConverter):
        async def to_ipc(self, data):
            raise KeyError(data)

    async with bridge(converter=Broken(), capacity=1) as between:
        for call in (between.transfer, between.transfer_with_backpressure) * 2:
            with pytest.raises(Internal, match="^Data conversion failed: KeyError") as failed:
                await call(number(1))
            assert isinstance(failed.value.__cause__, KeyError)


NONSENSE = [
    {"capacity": 0},
    {"capacity": -1},
    {"capacity": True},
    {"capacity": 1.5},
    {"timeout": -1},
    {"timeout": float("nan")},
    {"timeout": "1"},
]


@pytest.mark.parametrize("options", NONSENSE, ids=str)
def test_nonsense_is_refused_when_it_is_made(options):
    with pytest.raises(Validation):
        bridge(**options)


async def test_a_full_bridge_makes_callers_wait_in_turn():
    """One receive admits one, the one that waits longest."""
    async with bridge(capacity=2) as between, trio.open_nursery() as nursery:
        done = []

        async def put(item):
            await between.transfer_with_backpressure(number(item))
            done.append(item)

        for item in range(6):
            nursery.start_soon(put, item)
            await wait_all_tasks_blocked()
        assert done == [0, 1]
        assert between.statistics().waiting_to_transfer == 4
        for taken in range(6):
            assert value(await between.receive()) == taken
            await wait_all_tasks_blocked()
            assert done == list(range(min(6, taken + 3)))


async def test_conversions_do_not_overtake_each_other():
    """However long one takes, those behind it come out behind it."""
    async with Recorder() as converter, bridge(capacity=8, converter=converter) as between:
        converter.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            for item in range(5):
                nursery.start_soon(between.transfer_with_backpressure, number(item))
                await wait_all_tasks_blocked()
                if item == 2:
                    first, converter.gate = converter.gate, None
            assert between.statistics().in_transfer == 1
            first.set()
        await between.close()
        assert await drain(between) == [0, 1, 2, 3, 4]


def test_a_timeout_leaves_nothing():
    """Its datum never appears, its slot is there for the next one; timeout 0 takes what is free."""

    async def main():
        for timeout in (0.0, 2.5):
            async with bridge(capacity=1, timeout=timeout) as between:
                await between.transfer_with_backpressure(number(1))
                for _ in range(3):
                    start = trio.current_time()
                    with pytest.raises(BackpressureTimeout, match=f"^Backpressure timeout after {timeout:g}s$") as late:
                        await between.transfer_with_backpressure(number(2))
                    assert late.value.timeout == timeout
                    assert trio.current_time() - start >= timeout
                assert value(await between.receive()) == 1
                await between.transfer_with_backpressure(number(3))
                assert value(await between.receive()) == 3
                assert between.get_stats().total_transfers == 2

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_a_cancelled_call_was_never_there():
    """Whether it waits, converts, or is admitted at the same moment: in, or out without a trace."""
    for steps in range(12):
        async with Recorder() as converter, bridge(capacity=1, converter=converter) as between:
            await between.transfer_with_backpressure(number(0))
            accepted = []
            scope = trio.CancelScope()

            async def put():
                with scope:
                    await between.transfer_with_backpressure(number(1))
                    accepted.append(1)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(put)
                await wait_all_tasks_blocked()
                if steps % 2:
                    await between.receive()
                for _ in range(steps // 2):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
            if not steps % 2:
                await between.receive()
            await between.close()
            assert await drain(between) == accepted
            assert converter.statistics().slabs_in_use == 0


async def test_a_cancelled_conversion_redeems_its_reference():
    """Between `to_ipc` and `from_ipc` nothing can be cancelled: nobody else would redeem it."""

    class Late(SharedMemoryConverter):
        async def to_ipc(self, data):
            message = await super().to_ipc(data)
            scope.cancel()
            return message

    async with Late() as converter, bridge(converter=converter) as between:
        for call in (between.transfer, between.transfer_with_backpressure):
            with trio.CancelScope() as scope:
                await call(number(1))
        assert value(await between.receive()) == 1
        assert converter.statistics().slabs_in_use == 0


async def test_many_producers_and_consumers():
    """Nothing is lost, doubled, or out of its producer's order; never more than the capacity is held."""
    capacity, producers, each = 3, 6, 40
    seen = {producer: [] for producer in range(producers)}
    async with bridge(capacity=capacity) as between:

        async def produce(producer):
            for item in range(each):
                await between.transfer_with_backpressure(RuntimeData.tensor(np.array([producer, item])))
                assert between.statistics().buffered <= capacity

        async def consume():
            async for data in between:
                producer, item = data.as_tensor()
                seen[int(producer)].append(int(item))

        async with trio.open_nursery() as consumers:
            consumers.start_soon(consume)
            async with trio.open_nursery() as nursery:
                for producer in range(producers):
                    nursery.start_soon(produce, producer)
            await between.close()
        assert seen == {producer: list(range(each)) for producer in range(producers)}
        assert between.get_stats().total_transfers == producers * each


async def test_what_was_accepted_can_be_received_after_the_end():
    """Then the iteration ends, `receive` raises, and closing again changes nothing; the converter has gone."""
    before = segments()
    async with bridge(capacity=4) as between:
        for item in range(3):
            await between.transfer_with_backpressure(number(item))
    assert segments() == before
    assert value(await between.receive()) == 0
    await between.aclose()
    assert await drain(between) == [1, 2]
    for call in (
        between.receive,
        lambda: between.transfer(number(9)),
        lambda: between.transfer_with_backpressure(number(9)),
    ):
        with pytest.raises(BridgeClosed, match="^Bridge closed$"):
            await call()
    assert between.get_stats().total_transfers == 3


async def test_close_wakes_everybody_who_waits():
    """Those who wait for a slot, and those who wait for a datum; also when the close itself is cancelled."""
    for full in (True, False):
        async with bridge(capacity=1) as between:
            ended = []

            async def ends(call, *arguments):
                with pytest.raises(BridgeClosed):
                    await call(*arguments)
                ended.append(call)

            if full:
                await between.transfer_with_backpressure(number(1))
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    if full:
                        nursery.start_soon(ends, between.transfer_with_backpressure, number(2))
                    else:
                        nursery.start_soon(ends, between.receive)
                await wait_all_tasks_blocked()
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await between.close()
            assert len(ended) == 3
            assert await drain(between) == [1] * full


async def test_a_close_that_races_transfers():
    """Each of them is in and comes out, or raises `BridgeClosed`; and who receives waits for who converts."""
    for seed in range(60):
        chance = random.Random(seed)
        async with bridge(capacity=chance.choice([1, 2, 8])) as between:
            accepted, received = [], []

            async def put(item):
                try:
                    await between.transfer_with_backpressure(number(item))
                except BridgeClosed:
                    return
                accepted.append(item)

            async def take():
                async for data in between:
                    received.append(value(data))

            async with trio.open_nursery() as nursery:
                for item in range(6):
                    nursery.start_soon(put, item)
                if chance.random() < 0.5:
                    nursery.start_soon(take)
                for _ in range(chance.randrange(12)):
                    await trio.lowlevel.checkpoint()
                await between.close()
            received += await drain(between)
            assert sorted(received) == sorted(accepted)


async def test_a_close_while_one_converts():
    """It does not wait for it; the datum was accepted, so a receiver does; and the one behind it is closed out."""
    async with Recorder() as converter, bridge(converter=converter) as between:
        converter.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(between.transfer_with_backpressure, number(1))
            await wait_all_tasks_blocked()
            received = []

            async def take():
                received.extend(await drain(between))

            nursery.start_soon(take)
            await between.close()
            await wait_all_tasks_blocked()
            assert not received
            converter.gate.set()
        assert received == [1]


async def test_the_callers_converter_stays_open():
    """Its errors are conversion errors, also that it is closed."""
    converter = SharedMemoryConverter()
    async with bridge(converter=converter) as between:
        await between.transfer(number(1))
    await converter.from_ipc(await converter.to_ipc(number(1)))
    async with bridge(converter=converter) as between:
        await converter.aclose()
        with pytest.raises(ConversionFailed) as failed:
            await between.transfer(number(1))
        assert isinstance(failed.value.__cause__, IPCError)
