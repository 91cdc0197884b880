"""What goes into a ring comes out of it, bit for bit; and nonsense is an error that names the edge."""

import contextlib
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from penstock.executors.codec import Codec
from penstock.executors.contract import DataType, IPCError, RuntimeData, ServiceError
from penstock.shm.arena import ArenaMap
from penstock.shm.channel import ReceiveEnd, SendEnd
from penstock.shm.doorbell import Doorbell
from penstock.shm.owner import Owner
from penstock.shm.record import DESCRIPTION_BYTES, MAGIC, Kind, Record
from penstock.shm.ring import Geometry, Ring
from penstock.shm.slab import SlabPool

QUIET = settings(deadline=None, max_examples=150, database=None)
EDGE = "mic -> asr"
DESCRIPTION = struct.Struct("<BBBBIII4Q")

DTYPES = (
    npst.scalar_dtypes()
    | npst.scalar_dtypes().map(lambda dtype: dtype.newbyteorder(">"))
    | npst.byte_string_dtypes(min_len=1)
    | npst.unicode_string_dtypes(min_len=1)
    | npst.array_dtypes(npst.integer_dtypes() | npst.array_dtypes(npst.floating_dtypes(), max_size=2), max_size=3)
)
SHAPES = npst.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
LABELS = {
    "session_id": st.text(max_size=12) | st.sampled_from(["a/b", "\udc80", "'"]),
    "timestamp_ns": st.integers(-(2**63), 2**63 - 1),
    "meta": st.dictionaries(st.text(max_size=5), JSON, max_size=3),
}


@st.composite
def data(draw):
    """A datum of any type, dtype, shape, session, time and meta."""
    labels = {name: draw(strategy) for name, strategy in LABELS.items()}
    match draw(st.sampled_from(list(DataType))):
        case DataType.TEXT:
            return RuntimeData.text(draw(st.text()), **labels)
        case DataType.JSON:
            return RuntimeData.json(draw(JSON), **labels)
        case DataType.TENSOR:
            dtype = draw(DTYPES)
            shape = draw(SHAPES)
            nbytes = int(np.prod(shape)) * dtype.itemsize
            bits = np.random.default_rng(draw(st.integers(0, 2**32))).bytes(nbytes)
            return RuntimeData.tensor(np.frombuffer(bits, dtype).reshape(shape), **labels)
        case _:
            channels = draw(st.integers(1, 8))
            dtype = draw(st.sampled_from(["u1", "<i2", "<i4", "<f4", "<f8"]))
            frames = draw(st.integers(0, 3000))
            samples = np.random.default_rng(frames).integers(0, 256, frames * channels * 8, np.uint8).view(dtype)
            count = frames * channels
            rate = draw(st.integers(1, 2**32 - 1))
            return RuntimeData.audio(samples[:count], sample_rate=rate, channels=channels, **labels)


class Crossing:
    """A ring with a codec at each end; small slots, so that slabs are used, too."""

    def __init__(self, stack):
        owner = stack.enter_context(Owner())
        here, there = (stack.enter_context(Doorbell.create()) for _ in range(2))
        geometry = Geometry(4, 192)
        family = owner.family("a")
        pool = SlabPool(family)
        stack.callback(pool.close)
        ring = Ring.format(owner.create("r", geometry.segment_bytes, what="a test"), geometry)
        self.sender = SendEnd(ring, pool, here, there)
        self.receiver = ReceiveEnd(ring, ArenaMap(family), there, here)
        self.encoder, self.decoder = Codec(EDGE), Codec(EDGE)

    def cross(self, datum, **how):
        self.sender.send_nowait(self.encoder.encode(datum, **how))
        record = self.receiver.receive_nowait()
        came = self.decoder.decode_call(record)
        self.receiver.acknowledge()
        return record, came


@pytest.fixture
def crossing():
    with contextlib.ExitStack() as stack:
        yield Crossing(stack)


def test_every_datum_crosses_bit_for_bit(crossing):
    """Type, payload, dtype, shape, rate, channels, session, timestamp, meta, port and parameters (R-CV-05 to 12)."""

    @given(data(), st.integers(0, 2**32 - 1), st.dictionaries(st.text(max_size=4), JSON, max_size=3))
    @QUIET
    def check(datum, port, params):
        _, (came, to, said) = crossing.cross(datum, port=port, params=params)
        assert came == datum
        assert came.dtype == datum.dtype
        assert (to, said) == (port, params)

    check()


def test_what_is_remembered_of_one_datum_is_not_given_to_the_next(crossing):
    """Descriptions and sessions are worked out once: two kinds in turn stay apart."""

    @given(data(), data())
    @QUIET
    def check(first, second):
        for datum in (first, second, first):
            assert crossing.cross(datum)[1][0] == datum

    check()


def test_correlation_and_kind_cross(crossing):
    """What matches an answer to its call."""
    record, _ = crossing.cross(RuntimeData.text("x"), kind=Kind.CALL, correlation=2**64 - 1)
    assert (record.kind, record.correlation) == (Kind.CALL, 2**64 - 1)


def test_more_kinds_of_data_than_are_remembered_cross(crossing):
    """The caches are bounded, and begin again without mixing anything up."""
    for number in range(1200):
        datum = RuntimeData.tensor(np.zeros(number % 7, "u1"), session_id=f"s{number}", timestamp_ns=number)
        assert crossing.cross(datum, port=number)[1][:2] == (datum, number)


def test_the_payload_is_not_copied_on_its_way_into_the_message():
    """Encoding refers to the datum's own bytes."""
    datum = RuntimeData.tensor(np.arange(10))
    assert Codec(EDGE).encode(datum).payload is datum.payload


def test_the_common_case_needs_no_tail():
    """Audio and tensors of up to four dimensions without session and meta fit the header."""
    codec = Codec(EDGE)
    assert codec.encode(RuntimeData.audio([0.0], sample_rate=8000)).tail == b""
    assert codec.encode(RuntimeData.tensor(np.zeros((1, 1, 1, 1), "f4"))).tail == b""
    assert codec.encode(RuntimeData.tensor(np.zeros((1, 1, 1, 1, 1), "f4"))).tail != b""


# Nonsense


def record(description=b"", tail=b"", payload=b"", kind=Kind.DATA):
    description = description.ljust(DESCRIPTION_BYTES, b"\0")
    return Record((MAGIC, kind, 0, 0, 7, 0, 0, 0, len(tail), len(payload), 0, 0, 0, 0, 0, description), payload, tail)


def tensor(code=11, dimensions=1, *shape):
    return DESCRIPTION.pack(3, code, dimensions, 0, 0, 0, 0, *(*shape, 0, 0, 0, 0)[:4])


@pytest.mark.parametrize(
    ("description", "tail", "payload", "said"),
    [
        (b"\0", b"", b"", "type 0"),
        (b"\5", b"", b"", "type 5"),
        (tensor(99), b"", b"", "dtype code 99"),
        (tensor(11, 5), b"", b"", "5 dimensions"),
        (tensor(11, 254), b"", b"", "254 dimensions"),
        (tensor(11, 1, 2), b"", b"1234567", "7 bytes are no float32 of shape"),
        (tensor(11, 4, 2**63, 2**63, 2**63, 2**63), b"", b"", "0 bytes"),
        (tensor(0, 1, 2), b"", b"", "its tail is no JSON"),
        (tensor(0, 1, 2), b"{}", b"", "dtype or shape in its tail"),
        (tensor(0, 1, 2), b'{"d":"|O"}', b"", "Python objects"),
        (tensor(0, 1, 2), b'{"d":[["a","|O"]]}', b"", "Python objects"),
        (tensor(0, 1, 2), b'{"d":"no such"}', b"", "dtype or shape"),
        (tensor(0, 1, 2), b'{"d":5}', b"", "dtype or shape"),
        (tensor(0, 1, 2), b'{"d":null}', b"", "dtype or shape"),
        (tensor(0, 1, 2), b'{"d":[["a"]]}', b"", "dtype or shape"),
        (tensor(11, 255), b'{"h":[1,-2]}', b"", "shape"),
        (tensor(11, 255), b'{"h":["x"]}', b"", "shape"),
        (tensor(11, 255), b'{"h":5}', b"", "dtype or shape"),
        (tensor(11, 255), b'{"h":[3]}', b"1234", "4 bytes are no float32 of shape"),
        (tensor(11, 0), b"[]", b"1234", "no JSON object"),
        (tensor(11, 0), b'{"s":5}', b"1234", "values of the wrong types"),
        (tensor(11, 0), b'{"m":[]}', b"1234", "values of the wrong types"),
        (tensor(11, 0), b'{"p":"x"}', b"1234", "values of the wrong types"),
        (b"\2", b"\xff\xfe", b"", "no JSON"),
        (b"\2", b"{", b"", "no JSON"),
    ],
)
def test_nonsense_names_the_edge_and_the_record(description, tail, payload, said):
    """A description or a tail that makes no sense is an `IPCError`; the same again after it was seen once."""
    codec = Codec(EDGE)
    for _ in range(2):
        with pytest.raises(IPCError, match=rf"^IPC error: edge {EDGE}: record 7 makes no sense: .*{said}"):
            codec.decode(record(description, tail, payload))


@pytest.mark.parametrize(
    ("description", "tail"),
    [
        pytest.param(b"\2", b'{"m":' + b"[" * 100_000, id="deep tail"),
        pytest.param(tensor(0, 1, 2), b'{"d":' + b"[" * 900 + b"]" * 900 + b"}", id="deep dtype"),
        pytest.param(tensor(0, 1, 2), b'{"d":"("}', id="dtype of a parenthesis"),
        pytest.param(tensor(0, 1, 2), b'{"d":","}', id="dtype of a comma"),
        pytest.param(tensor(0, 1, 2), b'{"d":[["a","<f4",[1000000000000000000000]]]}', id="huge field"),
        pytest.param(tensor(0, 1, 2), b'{"d":[[["a","b","c"],"<f4"]]}', id="title of three"),
        pytest.param(tensor(0, 1, 2), b'{"d":[["a","<f4"],["a","<f4"]]}', id="one name twice"),
        pytest.param(tensor(0, 1, 2), b'{"d":[["","<f4",{}]]}', id="shape of a mapping"),
        pytest.param(tensor(11, 255), b'{"h":[' + b"9" * 4000 + b"," + b"9" * 4000 + b"]}", id="huge shape"),
        pytest.param(tensor(11, 255), b'{"h":' + b"[" * 900 + b"]" * 900 + b"}", id="deep shape"),
        pytest.param(tensor(11, 255), b'{"h":{"1":1}}', id="shape of a mapping of sizes"),
    ],
)
def test_far_fetched_nonsense_is_no_other_error(description, tail):
    """Whatever a broken peer writes, the error is the contract's."""
    with pytest.raises(IPCError, match=EDGE):
        Codec(EDGE).decode(record(description, tail))


TAILS = st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode())
FIELDS = st.dictionaries(st.sampled_from("smdhpx"), JSON | st.sampled_from(["<f4", "|O", "<M8[ns]", "V0"]), max_size=4)


@given(
    description=st.binary(min_size=DESCRIPTION_BYTES, max_size=DESCRIPTION_BYTES)
    | st.builds(
        lambda kind, code, dimensions, size: DESCRIPTION.pack(
            kind, code, dimensions, 0, 1, 1, 0, size, size, size, size
        ),
        st.integers(0, 5),
        st.integers(0, 18),
        st.sampled_from([0, 1, 2, 4, 5, 255]),
        st.sampled_from([0, 1, 2, 2**64 - 1]),
    ),
    tail=TAILS | FIELDS.map(lambda value: json.dumps(value).encode()),
    payload=st.binary(max_size=16),
)
@settings(QUIET, max_examples=500)
def test_random_nonsense_is_an_ipc_error_or_a_datum(description, tail, payload):
    """Fuzzed records: what decodes can be read or raises a `TypeMismatch`, and nothing else is ever raised."""
    codec = Codec(EDGE)
    try:
        datum = codec.decode(record(description, tail, payload))
    except IPCError as error:
        assert EDGE in str(error)
        return
    assert bytes(datum.payload) == payload
    with contextlib.suppress(ServiceError):
        getattr(datum, f"as_{datum.data_type.value.lower()}")()
