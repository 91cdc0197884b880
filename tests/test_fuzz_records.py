"""A million fuzzed records: each is a datum or an error that names its edge; nothing else, and no memory outside."""

from __future__ import annotations

import contextlib
import random

import numpy as np
import pytest
from traced import POLICIES, open_edge

from penstock.executors.codec import Codec
from penstock.executors.contract import IPCError, RuntimeData
from penstock.executors.translate import contract_error
from penstock.shm.arena import ArenaMap
from penstock.shm.channel import ReceiveEnd, SendEnd
from penstock.shm.errors import ChannelClosed, CorruptSegment, EndOfChannel, PeerLost, SharedMemoryError
from penstock.shm.record import Field, Flag
from penstock.shm.ring import Policy, Ring, Word
from penstock.shm.slab import SlabPool

RECORDS = 500_000
"""For each kind of ring."""
BATCH = 50_000
SEED = 20_261_125

HEADER = np.dtype(
    [
        ("magic", "<u4"),
        ("kind", "u1"),
        ("flags", "u1"),
        ("input_port", "<u2"),
        ("sequence", "<u8"),
        ("correlation", "<u8"),
        ("input_sequence", "<u8"),
        ("output_index", "<u4"),
        ("tail_bytes", "<u4"),
        ("payload_bytes", "<u8"),
        ("timestamp_ns", "<i8"),
        ("published_ns", "<i8"),
        ("arena", "<u4"),
        ("lease", "<u4"),
        ("offset", "<u8"),
        ("type", "u1"),
        ("code", "u1"),
        ("dimensions", "u1"),
        ("zero", "u1"),
        ("rate", "<u4"),
        ("channels", "<u4"),
        ("port", "<u4"),
        ("shape", "<u8", 4),
    ]
)
CHECKED = ("kind", "flags", "tail_bytes", "payload_bytes", "arena", "lease", "offset", "type", "code", "dimensions")
TAILS = [
    b"",
    b"{}",
    b'{"s":"x"}',
    b'{"s":3}',
    b"[1]",
    b"\xff\xfe{",
    b'{"m":[]}',
    b'{"d":"<f4","h":[2,-1]}',
    b'{"d":"<f4","h":[1,1,1,1,2]}',
    b'{"d":"O"}',
    b'{"d":[["a","<i4"],["b","O"]]}',
    b'{"d":"V0","h":"ab"}',
    b'{"d":{"a":1},"h":[true]}',
    b'{"d":"<f4","h":[1e400]}',
    b'{"d":"m8[7Y]","h":{}}',
    b'{"p":{"a":1},"s":"\\ud800"}',
    b"[" * 60,
    b'{"d":[["a",["b"],[99999999999]]]}',
    b'{"h":[9223372036854775807,9223372036854775807],"d":"<c16"}',
]
DATA = [
    RuntimeData.audio(np.arange(4, dtype="f4"), sample_rate=8000, session_id="s", timestamp_ns=1),
    RuntimeData.json({"a": 1}, timestamp_ns=2),
    RuntimeData.tensor(np.zeros((1, 1, 1, 2, 2), "i2"), timestamp_ns=3),
    RuntimeData.tensor(np.zeros(5000, "f4"), timestamp_ns=4),
    RuntimeData.text("x" * 300, meta={"m": "y" * 500}, timestamp_ns=5),
]


def templates(edge):
    """Valid headers of every kind, as they stand in the ring; all of them as record 0."""
    rows = []
    codec = Codec("e")
    for number, data in enumerate(DATA):
        edge.sender.offer(codec.encode(data))
        view, _ = slot_of(edge, number)
        row = np.frombuffer(bytes(view), HEADER).copy()
        row["sequence"] = 0
        rows.append(row)
    return np.concatenate(rows)


def slot_of(edge, number):
    ring = edge.ring
    drops = ring.policy is Policy.DROP_OLDEST
    at = ring.places[ring.index[number % ring.capacity] if drops else number % ring.capacity]
    return ring.view[at : at + 128], ring.view[at + 128 : at + ring.slot_bytes]


def mutate(rows, rng):
    """Valid headers with one to four fields of any value, near the old one or at a border, or with random bytes."""
    count = len(rows)
    names = list(HEADER.names)
    checked = np.array([names.index(name) for name in CHECKED])
    for _ in range(rng.integers(1, 5)):
        field = np.where(rng.random(count) < 0.8, rng.choice(checked, count), rng.integers(0, len(names), count))
        how = rng.integers(0, 4, count)
        for index, name in enumerate(names):
            mine = np.flatnonzero(field == index)
            shape = rows[name][mine].shape
            kind = rows[name].dtype
            bits = kind.itemsize * 8
            edges = np.array([0, 1, 2, 7, 255, 192, 1 << (bits - 1), (1 << bits) - 1, (1 << bits) - 128], object)
            border = np.array([int(value) % (1 << bits) for value in edges], f"u{kind.itemsize}")
            old = rows[name][mine].view(f"u{kind.itemsize}")
            near = old + rng.integers(-3, 4, shape).astype(old.dtype)
            anything = rng.integers(0, (1 << bits) - 1, shape, f"u{kind.itemsize}", endpoint=True)
            chosen = how[mine].reshape(-1, *[1] * (len(shape) - 1))
            new = np.select([chosen == 0, chosen == 1, chosen == 2], [anything, rng.choice(border, shape), near], old)
            rows[name][mine] = new.view(kind)
    raw = rows.view("u1").reshape(count, 128)
    noisy = np.flatnonzero(rng.random(count) < 0.1)
    raw[noisy, rng.integers(0, 128, len(noisy))] = rng.integers(0, 256, len(noisy))
    return raw


def judge(record, codec, arena):
    """A record that was taken: its payload stands where it says, inside a slab, and it is a datum or an `IPCError`."""
    header = record.header
    assert len(record.payload) == header[Field.PAYLOAD_BYTES]
    assert len(record.tail) == header[Field.TAIL_BYTES]
    if header[Field.FLAGS] & Flag.SLAB:
        at = header[Field.OFFSET] - arena.data_at - header[Field.LEASE] * arena.slab_bytes
        assert 0 <= at <= at + header[Field.PAYLOAD_BYTES] <= arena.slab_bytes
        assert header[Field.LEASE] < arena.slabs
    try:
        data, port, params = codec.decode_call(record)
    except IPCError as error:
        assert "edge a -> b" in str(error)
        return 0
    assert isinstance(data, RuntimeData)
    assert port >= 0
    assert params is not None
    return 1


@POLICIES
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fuzzed_record_is_a_datum_or_an_error(policy):
    """Mutated headers, inline and by reference, with tails of every sort: nothing undocumented is raised."""
    rng = np.random.default_rng(SEED)
    with open_edge(8, policy, max_leases=1 << 30) as edge:
        valid = templates(edge)
        _, contents = slot_of(edge, 0)
        target, _ = slot_of(edge, 0)
        take, reader, held = edge.receiver.take, edge.receiver.ring, edge.receiver._held
        codec, arena = Codec("a -> b"), edge.arenas.locate(*map(int, valid[3][["arena", "lease", "offset"]]), 1)
        taken = sound = 0
        try:
            for _ in range(RECORDS // BATCH):
                raw = mutate(valid[rng.integers(0, len(valid), BATCH)], rng)
                for number in range(BATCH):
                    if number % 500 == 0:
                        tail = TAILS[rng.integers(len(TAILS))]
                        contents[:] = (b"\0" * int(rng.choice([0, 4, 7, 16])) + tail * 200)[: len(contents)].ljust(
                            len(contents), b"\0"
                        )
                    row = raw[number]
                    target[:] = row
                    try:
                        record = take()
                    except CorruptSegment:
                        continue
                    taken += 1
                    sound += judge(record, codec, arena)
                    reader.next = 0
                    if policy is Policy.DROP_OLDEST:
                        reader._in_hand = False
                    held.clear()
        except BaseException:
            print(f"seed {SEED}, header {bytes(row).hex()}, contents {bytes(contents[:80])!r}")
            raise
        assert 0 < sound < taken < RECORDS
        assert edge.receiver.held <= 1


def values(rng):
    """Words that mean trouble."""
    small, bits = rng.randrange(12), rng.randrange(64)
    return rng.choice([small, 1 << bits, (1 << bits) - 1, (1 << 64) - 1 - small, rng.getrandbits(64), small << 16])


@POLICIES
def test_a_reader_of_fuzzed_words_gives_records_and_documented_errors(policy):
    """HEAD, EVICT, the index, the ends and its own words are anything: a new reader takes and acknowledges."""
    rng = random.Random(SEED)
    named = (Word.HEAD, Word.ENDED, Word.EVICT, Word.ACK, Word.CLAIM, Word.VALID, Word.RECEIVED, Word.WRITER_LOST)
    with open_edge(4, policy) as edge:
        for number in range(4):
            edge.sender.offer(Codec("e").encode(DATA[number]))
        before = list(edge.ring.words), list(edge.ring.index)
        for number in range(10_000):
            for index, value in enumerate(before[0]):
                if index > 7:
                    edge.ring.words[index] = value if index < 32 else 0
                if index > 40:
                    break
            for index, value in enumerate(before[1][:8]):
                edge.ring.index[index] = value
            chosen = rng.sample(named, rng.randrange(1, 4))
            for word in chosen:
                edge.ring.words[word] = values(rng)
            if before[1] and rng.random() < 0.3:
                edge.ring.index[rng.randrange(4)] = values(rng)
            said = {word: edge.ring.words[word] for word in named}
            try:
                reader = ReceiveEnd(edge.ring, edge.arenas, edge.there, edge.here, edge.options)
                reader.arm()
                if (record := reader.take()) is not None:
                    del record
                    reader.acknowledge()
                    reader.take()
            except (CorruptSegment, EndOfChannel, PeerLost) as error:
                assert "edge a -> b" in str(contract_error(error, "a -> b"))
            except BaseException:
                print(f"seed {SEED}, round {number}, words {said}, index {list(edge.ring.index[:4])}")
                raise


@POLICIES
def test_a_writer_beside_fuzzed_words_of_its_reader_raises_documented_errors(policy):
    """ACK, CLAIM, VALID, RECEIVED and READER_LOST are anything, before and while a writer works."""
    rng = random.Random(SEED)
    named = (Word.ACK, Word.CLAIM, Word.VALID, Word.RECEIVED, Word.RECEIVED + 1, Word.READER_LOST)
    for number in range(300):
        with open_edge(3, policy) as edge:
            sender = edge.sender
            try:
                for step in range(30):
                    if rng.random() < 0.3:
                        edge.ring.words[rng.choice(named)] = rng.choice([values(rng), rng.randrange(step + 2) << 16])
                    if rng.random() < 0.1:
                        pool = SlabPool(edge.family)
                        pool.adopt()
                        sender = SendEnd(Ring(edge.ring.segment), pool, edge.here, edge.there, edge.options)
                    with contextlib.suppress(PeerLost, ChannelClosed, CorruptSegment):
                        sender.offer(Codec("e").encode(DATA[rng.randrange(5)]))
            except SharedMemoryError:
                pass  # of a successor, or of what it takes over
            except BaseException:
                said = {word: edge.ring.words[word] for word in named}
                print(f"seed {SEED}, edge {number}, step {step}, words {said}")
                raise


def test_fuzzed_pages_of_arenas_never_lead_outside():
    """Size, number and place of the slabs, and the leases, are anything: a record, or a `CorruptSegment`."""
    rng = random.Random(SEED)
    with open_edge(4) as edge:
        edge.sender.offer(Codec("e").encode(DATA[3]))
        arena = edge.pool._arenas[0]
        before = bytes(arena.view[: arena.data_at])
        for number in range(2_000):
            arena.view[: arena.data_at] = before
            for _ in range(rng.randrange(1, 4)):
                word = rng.choice([0, 1, 2, 3, rng.randrange(arena.data_at // 8), 512, 513, 520])
                arena.words[word] = rng.choice(
                    [values(rng), before[word * 8] + 1, len(arena.view) >> rng.randrange(20)]
                )
            said = list(arena.words[:4])
            try:
                reader = ReceiveEnd(edge.ring, ArenaMap(edge.family), edge.there, edge.here, edge.options)
                record = reader.take()
                assert len(bytes(record.payload)) == DATA[3].nbytes
                reader._arenas.let_go(0, rng.getrandbits(64), taken_only=rng.random() < 0.5)
            except CorruptSegment:
                continue
            except BaseException:
                print(f"seed {SEED}, round {number}, words {said}")
                raise
        record = reader = None
        arena.view[: arena.data_at] = before


@pytest.mark.parametrize("words", [{Word.HEAD: 1 << 60}, {Word.RECEIVED: (1 << 64) - 1}], ids=["HEAD", "RECEIVED"])
def test_a_position_that_no_record_has_is_refused(words):
    """A claim has 48 bits for it, and nobody has received more than there was."""
    with open_edge(1, Policy.DROP_OLDEST) as edge:
        edge.sender.offer(Codec("e").encode(DATA[1]))
        for word, value in words.items():
            edge.ring.words[word] = value
        edge.ring.words[Word.EVICT] = words.get(Word.HEAD, 1) - 1
        with pytest.raises(CorruptSegment):
            ReceiveEnd(edge.ring, edge.arenas, edge.there, edge.here, edge.options).take()
