"""A datum comes back bit for bit, once, to whom it is meant for; and what nobody looks at any more is free."""

import contextlib
import dataclasses
import functools
import json
import os
import re
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from support import PrivateShm
from test_codec import data as any_data

from penstock.conformance.limits import smaller_files
from penstock.executors import (
    AllocationFailed,
    ChannelNotFound,
    ConversionError,
    DataType,
    Inline,
    IPCDataConverter,
    IPCError,
    RuntimeData,
    SharedMemoryConverter,
    SharedMemoryRef,
    TypeMismatch,
)
from penstock.shm.record import HEADER_BYTES

QUIET = settings(deadline=None, max_examples=150, database=None)
SESSION = "session"
FOLDER = "/dev/shm"


def floats(count, seed=0):
    """A tensor of the session."""
    return RuntimeData.tensor(np.random.default_rng(seed).random(count, np.float32), session_id=SESSION)


async def there_and_back(converter, data, other=None):
    return await (other or converter).from_ipc(await converter.to_ipc(data))


def in_trio(test):
    """For tests of hypothesis, which are not async."""

    @functools.wraps(test)
    def run(**arguments):
        trio.run(functools.partial(test, **arguments))

    return run


def segments():
    """What this process has in /dev/shm, where others may be at work."""
    names = [name for name in os.listdir(FOLDER) if name.startswith("pstk-")]
    mine = {name.removesuffix("owner") for name in names if name.endswith("-owner") and _maker(name) == os.getpid()}
    return {name for name in names if name.startswith(tuple(mine))}


def _maker(name):
    with contextlib.suppress(OSError, ValueError), open(f"{FOLDER}/{name}") as file:
        return json.load(file)["pid"]


@QUIET
@given(data=any_data(), bound=st.booleans(), apart=st.booleans())
@in_trio
async def test_every_datum_comes_back_bit_for_bit(data, bound, apart):
    """Of any type, dtype, shape, rate, session, time and meta; also through a second converter of the session."""
    session = data.session_id if bound else None
    async with SharedMemoryConverter(session) as converter, SharedMemoryConverter(session) as other:
        back = await there_and_back(converter, data, other if apart else None)
        assert back == data


async def test_it_is_a_converter_of_the_contract():
    async with SharedMemoryConverter() as converter:
        assert isinstance(converter, IPCDataConverter)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (RuntimeData.audio(np.zeros(0, "<f4"), sample_rate=8000), SharedMemoryRef),
        (RuntimeData.audio(np.zeros(8, "<i2"), sample_rate=48000, channels=8), SharedMemoryRef),
        (RuntimeData.tensor(np.array(1.5)), SharedMemoryRef),
        (RuntimeData.text(""), Inline),
        (RuntimeData.text("x" * (64 << 10)), Inline),
        (RuntimeData.text("x" * ((64 << 10) + 1)), SharedMemoryRef),
        (RuntimeData.json({"k": "v" * 100_000}), Inline),
    ],
    ids=repr,
)
async def test_arrays_and_long_texts_travel_by_reference(data, kind):
    """Everything else is in the message itself."""
    async with SharedMemoryConverter() as converter:
        message = await converter.to_ipc(data)
        assert type(message) is kind
        assert await converter.from_ipc(message) == data


async def test_a_payload_is_read_in_place_and_holds_its_slab():
    """An array made of the datum alone keeps it; the slab is free when the last of them has gone."""
    async with SharedMemoryConverter(SESSION) as converter:
        back = await there_and_back(converter, floats(100_000))
        assert (converter.statistics().views_held, converter.statistics().slabs_in_use) == (1, 1)
        view = back.as_tensor()[10:20]
        again = RuntimeData.tensor(view)  # published memory is not copied
        assert np.shares_memory(again.as_tensor(), view)
        del back, view
        assert converter.statistics().slabs_in_use == 1
        del again
        assert (converter.statistics().views_held, converter.statistics().slabs_in_use) == (0, 0)


async def test_what_is_held_is_not_written_again():
    """Neither by later data nor by closing; and what was sent is not changed with its source."""
    source = bytearray(b"abcdefgh" * 1000)
    sent = dataclasses.replace(RuntimeData.tensor(np.zeros(8000, "u1"), session_id=SESSION), payload=memoryview(source))
    async with SharedMemoryConverter(SESSION) as converter:
        message = await converter.to_ipc(sent)
        source[:] = bytes(8000)
        back = await converter.from_ipc(message)
        for seed in range(200):
            await there_and_back(converter, floats(2000, seed))
    assert bytes(back.payload) == b"abcdefgh" * 1000
    assert memoryview(back.payload).readonly


async def test_a_message_shares_nothing_with_its_datum():
    """The meta of a text is a copy, all the way down."""
    meta = {"a": [1]}
    async with SharedMemoryConverter() as converter:
        message = await converter.to_ipc(RuntimeData.text("t", meta=meta))
        one = await converter.from_ipc(message)
        meta["a"].append(2)
        one.meta["a"].append(3)
        assert (await converter.from_ipc(message)).meta == {"a": [1]}


async def test_thousands_of_round_trips_use_one_slab():
    """Nothing grows: neither shared memory nor what is held."""
    async with SharedMemoryConverter(SESSION) as converter:
        datum = floats(1024)
        await there_and_back(converter, datum)
        before = converter.statistics()
        for _ in range(3000):
            await there_and_back(converter, datum)
        assert converter.statistics() == before
        assert before.slabs_in_use == 0


async def test_data_that_are_kept_beyond_a_number_are_copies():
    """Whoever keeps everything does not keep all of it in shared memory."""
    async with SharedMemoryConverter(SESSION) as converter:
        kept = [await there_and_back(converter, floats(8, seed)) for seed in range(300)]
        assert converter.statistics().views_held == 256
        assert all(back.payload == floats(8, seed).payload for seed, back in enumerate(kept))


async def test_references_are_redeemed_in_any_order():
    async with SharedMemoryConverter(SESSION) as converter:
        data = [floats(50 + seed, seed) for seed in range(20)]
        messages = [await converter.to_ipc(datum) for datum in data]
        for number in np.random.default_rng(1).permutation(20):
            assert await converter.from_ipc(messages[number]) == data[number]


async def test_a_reference_is_redeemed_once():
    """By whomever; the second one has an error, also after the slab has been used again."""
    async with SharedMemoryConverter(SESSION) as one, SharedMemoryConverter(SESSION) as other:
        for first, second in ((one, one), (other, one), (one, other), (other, other)):
            message = await one.to_ipc(floats(10))
            held = await first.from_ipc(message)
            with pytest.raises(IPCError, match="redeemed"):
                await second.from_ipc(message)
            del held
            later = await one.to_ipc(floats(20))
            with pytest.raises(IPCError):
                await second.from_ipc(message)
            assert (await second.from_ipc(later)).nbytes == 80


async def test_forged_references_are_errors():
    """Every bit of the number counts, and nothing but a number is one; the genuine one is still good."""
    async with SharedMemoryConverter(SESSION) as converter:
        message = await converter.to_ipc(floats(10))
        for bit in range(170):
            with pytest.raises(IPCError):
                await converter.from_ipc(SharedMemoryRef(message.sample_id ^ 1 << bit, SESSION))
        for forged in (-1, 0, 1 << 40, 1 << 500, -message.sample_id, "7", None, 1.5):
            with pytest.raises(IPCError):
                await converter.from_ipc(SharedMemoryRef(forged, SESSION))
        assert (await converter.from_ipc(message)).nbytes == 40


async def test_sessions_are_apart():
    """A datum or a reference of another session is unknown, and not redeemed by trying, whatever it says it is."""
    async with SharedMemoryConverter(SESSION) as mine, SharedMemoryConverter("other") as other:
        message = await mine.to_ipc(floats(10))
        with pytest.raises(ChannelNotFound, match="Channel not found: session"):
            await other.from_ipc(message)
        with pytest.raises(IPCError):
            await other.from_ipc(dataclasses.replace(message, session_id="other"))
        for data in (floats(3), RuntimeData.text("t", session_id=SESSION)):
            with pytest.raises(ChannelNotFound, match=SESSION):
                await other.to_ipc(data)
        assert (await mine.from_ipc(message)).session_id == SESSION


async def test_closing_frees_what_was_not_redeemed():
    """Afterwards its references are errors everywhere, and what was redeemed is still valid."""
    before = segments()
    async with SharedMemoryConverter(SESSION) as other:
        converter = SharedMemoryConverter(SESSION)
        datum = floats(5000)
        back = await there_and_back(converter, datum)
        messages = [await converter.to_ipc(datum) for _ in range(30)]
        assert segments() > before
        for _ in range(2):
            await converter.aclose()
        assert segments() == before
        for who in (converter, other):
            with pytest.raises(IPCError):
                await who.from_ipc(messages[0])
        with pytest.raises(IPCError, match="closed"):
            await converter.to_ipc(datum)
        assert back == datum


async def test_a_converter_that_was_forgotten_says_so():
    """Its segments go all the same. One that never made any has nothing to say."""
    before = segments()
    SharedMemoryConverter()
    converter = SharedMemoryConverter(SESSION)
    await converter.to_ipc(floats(10))
    with pytest.warns(ResourceWarning, match="was not closed"):
        del converter
    assert segments() == before


async def test_a_cancelled_call_has_done_nothing():
    async with SharedMemoryConverter(SESSION) as converter:
        message = await converter.to_ipc(floats(10))
        with trio.CancelScope() as scope:
            scope.cancel()
            await converter.to_ipc(floats(10))
        with trio.CancelScope() as scope:
            scope.cancel()
            await converter.from_ipc(message)
        assert converter.statistics().slabs_in_use == 1
        await converter.from_ipc(message)


async def test_without_memory_nothing_is_left():
    """The error says how much was needed; what fits goes on."""
    async with SharedMemoryConverter(SESSION) as converter:
        await there_and_back(converter, floats(10))
        before, held = segments(), converter.statistics()
        with (
            smaller_files(1 << 20),
            pytest.raises(AllocationFailed, match=r"needs 6\.\d+ MiB of shared memory, .* free"),
        ):
            await converter.to_ipc(floats(1 << 20))
        assert (segments(), converter.statistics()) == (before, held)
        assert (await there_and_back(converter, floats(1 << 20))).nbytes == 4 << 20


FILL = """
import numpy, trio
from penstock.executors import AllocationFailed, RuntimeData, SharedMemoryConverter
async def main():
    data = RuntimeData.tensor(numpy.ones(900_000, "u1"))
    async with SharedMemoryConverter() as converter:
        messages = []
        try:
            while True:
                messages.append(await converter.to_ipc(data))
        except AllocationFailed as error:
            print(error)
        print(len(messages) > 3, all([await converter.from_ipc(message) == data for message in messages]))
        await converter.from_ipc(await converter.to_ipc(data))
trio.run(main)
"""


def test_a_full_dev_shm_is_an_error_with_figures():
    """What stood there before is still redeemed, then there is room again; nothing is left in the end."""
    with PrivateShm("8m") as shm:
        done = subprocess.run([*shm.before, sys.executable, "-c", FILL], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        said, rest = done.stdout.splitlines()
        assert re.match(
            r"Shared memory allocation failed: .* needs [\d.]+ MiB .*, [\d.]+ .iB is free in /dev/shm", said
        )
        assert rest == "True True"
        assert os.listdir(shm.folder) == []


@pytest.mark.parametrize(
    "data",
    [
        RuntimeData(DataType.AUDIO, b"this is text"),
        RuntimeData(DataType.TENSOR, b"this is text"),
        RuntimeData(DataType.TENSOR, bytes(40), dtype=np.dtype("f4"), shape=(11,)),
        RuntimeData(DataType.TEXT, b"\xff\xfe"),
        RuntimeData(DataType.JSON, b"{not json"),
        RuntimeData(DataType.JSON, b"[" * 100_000),
        RuntimeData(DataType.TEXT, None),
        RuntimeData("Audio", b""),
        "no datum",
    ],
    ids=["audio", "tensor", "shape", "utf-8", "json", "deep", "none", "type", "str"],
)
async def test_a_payload_that_is_not_what_its_type_says(data):
    async with SharedMemoryConverter() as converter:
        with pytest.raises(TypeMismatch, match="^Type mismatch: expected .*, got "):
            await converter.to_ipc(data)
        assert converter.statistics().allocated_bytes == 0


@pytest.mark.parametrize(
    "wrong",
    [{"meta": {"x": object()}}, {"timestamp_ns": 1 << 70}, {"timestamp_ns": None}, {"sample_rate": 1 << 40}],
    ids=str,
)
async def test_fields_that_can_not_cross(wrong):
    async with SharedMemoryConverter(SESSION) as converter:
        with pytest.raises(IPCError):
            await converter.to_ipc(dataclasses.replace(floats(10), **wrong))
        assert converter.statistics().slabs_in_use == 0
        await there_and_back(converter, floats(10))


@pytest.mark.parametrize(
    "message",
    [
        Inline(DataType.AUDIO, b"1234"),
        Inline(None, b"1234"),
        Inline(99, b"1234"),
        Inline([], b"1234"),
        Inline(DataType.TEXT, b"\xff"),
        Inline(DataType.TEXT, "str"),
        Inline(DataType.JSON, b"{"),
        Inline(DataType.TEXT, b"t", session_id=None),
        Inline(DataType.TEXT, b"t", meta=[1]),
        Inline(DataType.TEXT, b"t", meta={"a": object()}),
        None,
        7,
    ],
    ids=repr,
)
async def test_malformed_messages_are_errors(message):
    async with SharedMemoryConverter() as converter:
        with pytest.raises(ConversionError):
            await converter.from_ipc(message)


async def test_nonsense_in_a_slab_is_an_error():
    """Whatever stands there: an error of the contract, or a datum; never a crash."""
    random = np.random.default_rng(5)
    async with SharedMemoryConverter(SESSION) as converter:
        for _ in range(200):
            message = await converter.to_ipc(dataclasses.replace(floats(10), meta={"k": 1}))
            depot = converter._depot
            arena = depot._pool.find(0, 0).arena
            for lease in range(arena.slabs):
                at = arena.data_at + lease * arena.slab_bytes
                place = at + int(random.integers(0, HEADER_BYTES + 60))
                arena.view[place] = int(random.integers(0, 256))
            try:
                await converter.from_ipc(message)
            except ConversionError:
                await converter.aclose()
                converter.__init__(SESSION)


REDEEM = """
import sys, json, trio
from penstock.executors import SharedMemoryConverter, SharedMemoryRef, ConversionError
async def main():
    async with SharedMemoryConverter("session") as converter:
        print("ready", flush=True)
        for line in sys.stdin:
            try:
                back = await converter.from_ipc(SharedMemoryRef(int(line), "session"))
            except ConversionError as error:
                print(json.dumps(None), flush=True)
            else:
                print(json.dumps(back.as_tensor().tolist()), flush=True)
                if len(back.as_tensor()) > 100:
                    del back
trio.run(main)
"""


def redeemer():
    """Another process that redeems what it is told to; it keeps the last datum unless that is long."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(REDEEM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


async def test_another_process_redeems():
    """Once among all; its view holds the slab until it is gone."""
    async with SharedMemoryConverter(SESSION) as converter:
        with redeemer() as process:

            def ask(message):
                print(message.sample_id, file=process.stdin, flush=True)
                return json.loads(process.stdout.readline())

            for count in (3, 5000):
                datum = floats(count)
                message = await converter.to_ipc(datum)
                assert ask(message) == datum.as_tensor().tolist()
                assert ask(message) is None
                with pytest.raises(IPCError):
                    await converter.from_ipc(message)
            short = await converter.to_ipc(floats(4))
            assert ask(short) == floats(4).as_tensor().tolist()
            assert converter.statistics().slabs_in_use == 1
            await converter.from_ipc(await converter.to_ipc(floats(4)))
            process.stdin.close()
            process.wait()
        assert converter.statistics().slabs_in_use == 0


async def test_two_processes_that_race_redeem_once_each():
    """Whoever is first has it; and one that is killed while it races takes nothing from the other."""
    async with SharedMemoryConverter(SESSION) as converter:
        messages = [await converter.to_ipc(floats(200, seed)) for seed in range(300)]
        numbers = "".join(f"{message.sample_id}\n" for message in messages)
        with redeemer() as one, redeemer() as other:
            for process in (one, other):
                process.stdin.write(numbers)
                process.stdin.flush()
            got = [[process.stdout.readline() != "null\n" for _ in messages] for process in (one, other)]
            assert all(sum(pair) == 1 for pair in zip(*got, strict=True))
            one.send_signal(signal.SIGKILL)
            other.stdin.close()
            other.wait()
            one.wait()
