"""What crosses into a guest and back: every type, 0..n outputs, meta, time and session, and areas that grow."""

import logging

import numpy as np
import pytest
from guests.wat import HERE, guest_file, opened, private_cache  # noqa: F401

from penstock.executors.contract import DataType, NodeExecution, RuntimeData
from penstock.executors.wasm.limits import WasmLimits

META = {"speaker": "ä", "nested": [1, 2.5, None]}
WITH = {"session_id": "s", "timestamp_ns": 123, "meta": META}


@pytest.fixture
def echo(tmp_path):
    with opened(guest_file(tmp_path)) as node:
        yield node


DATA = {
    "f32": RuntimeData.audio(np.linspace(-1, 1, 480, dtype="f4"), sample_rate=48000, channels=2, **WITH),
    "i16": RuntimeData.audio(np.arange(-100, 100, dtype="i2"), sample_rate=8000, **WITH),
    "u8": RuntimeData.audio(np.arange(9, dtype="u1"), sample_rate=8000, **WITH),
    "f64": RuntimeData.audio(np.zeros(0), sample_rate=1, **WITH),
    "text": RuntimeData.text("grüße \ud800", **WITH),
    "empty text": RuntimeData.text("", **WITH),
    "json": RuntimeData.json({"a": [1, "ü"]}, **WITH),
    "tensor": RuntimeData.tensor(np.arange(24, dtype="i8").reshape(1, 2, 3, 4), **WITH),
    "scalar": RuntimeData.tensor(np.float64(2.5), **WITH),
    "empty tensor": RuntimeData.tensor(np.zeros((3, 0), "i4"), **WITH),
}


@pytest.mark.parametrize("name", DATA)
def test_identity_survives_the_crossing(echo, name):
    """A pass-through guest gives back an equal datum: type, bytes, dtype, shape, rate, session, time and meta."""
    assert echo.process(DATA[name]) == [DATA[name]]


def test_outputs_are_copies(echo):
    """A later call does not change what an earlier one gave, and nobody can write to it."""
    first = echo.process(RuntimeData.tensor(np.arange(4)))[0]
    echo.process(RuntimeData.tensor(np.zeros(4, int)))
    assert first.as_tensor().tolist() == [0, 1, 2, 3]
    assert not first.as_tensor().flags.writeable


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (RuntimeData.tensor(np.zeros(3, bool)), "elements of bool"),
        (RuntimeData.tensor(np.zeros(3, ">f4")), "elements of >f4"),
        (RuntimeData.tensor(np.zeros((1, 1, 1, 1, 1))), "5 dimensions"),
        (RuntimeData.text("x", timestamp_ns=-1), "timestamp_ns -1"),
        (RuntimeData.audio(np.zeros(70000, "f4"), sample_rate=8000, channels=70000), "channels 70000"),
        (RuntimeData.text("x", meta={"a": {1, 2}}), "meta is not JSON"),
    ],
)
def test_what_a_frame_can_not_say_is_refused(echo, data, text):
    """A datum that the frame has no words for is a NodeExecution that says which; the instance is kept."""
    with pytest.raises(NodeExecution, match=text):
        echo.process(data)
    assert len(echo.process(DATA["text"])) == 1


def test_a_type_that_the_guest_does_not_take_is_refused():
    """The described input type is checked at run time too."""
    with opened(HERE / "words.wasm") as node, pytest.raises(NodeExecution, match="takes Text, not Tensor"):
        node.process(DATA["tensor"])


def test_any_buffer_is_a_payload(echo):
    """A payload of another format than bytes crosses all the same."""
    samples = np.arange(8, dtype="f4")
    data = RuntimeData(DataType.TENSOR, memoryview(samples), dtype=samples.dtype, shape=(8,))
    assert echo.process(data)[0].as_tensor().tolist() == samples.tolist()


def test_none_one_and_many_outputs():
    """A guest gives 0..n outputs for an input, and what it held back at the flush."""
    with opened(HERE / "words.wasm") as node:
        said = RuntimeData.text("to be or not", session_id="s", timestamp_ns=5)
        outputs = node.process(said)
        assert [out.as_text() for out in outputs] == ["to", "be", "or", "not"]
        assert {(out.session_id, out.timestamp_ns) for out in outputs} == {("s", 5)}
        assert [out.meta for out in outputs] == [{"word": True}, {}, {}, {}]
        assert node.process(RuntimeData.text("   ")) == []
        assert [out.as_text() for out in node.process(RuntimeData.text(" one "))] == ["one"]
        (total,) = node.flush()
        assert total.as_json() == 5


def test_a_guest_sets_its_own_time():
    """pts_ns, when the guest sets it, is the output's time; ps.now_ns is the host's clock."""
    with opened(HERE / "words.wasm") as node:
        node.process(RuntimeData.text("a", timestamp_ns=5, session_id="s"))
        (total,) = node.flush()
        assert total.timestamp_ns > 1_600_000_000 * 10**9
        assert total.session_id == "s"


def test_parameters_reach_the_guest():
    """ps_open gets the parameters as JSON."""
    with opened(HERE / "words.wasm", {"shout": True}) as node:
        assert [out.as_text() for out in node.process(RuntimeData.text("to be"))] == ["TO", "BE"]


def test_the_guests_log_goes_to_its_logger(caplog):
    """ps.log ends in the logger penstock.node.<node_id>, with its level."""
    caplog.set_level(logging.DEBUG)
    with opened(HERE / "words.wasm", node_id="speech") as node:
        node.process(RuntimeData.text("a"))
    assert ("penstock.node.speech", logging.INFO, "counted") in caplog.record_tuples


@pytest.mark.parametrize(
    "arguments", ["(i32.const -1) (i32.const -16) (i32.const 32)", "(i32.const 9) (i32.const 0) (i32.const -1)"]
)
def test_a_wild_log_line_harms_nobody(tmp_path, caplog, arguments):
    """ps.log out of bounds is told in the log, and the call goes on."""
    body = f"(param i32 i32) (result i32) (call $log {arguments}) i32.const 1"
    imports = '(import "ps" "log" (func $log (param i32 i32 i32)))'
    with opened(guest_file(tmp_path, imports=imports, ps_process=body)) as node:
        assert len(node.process(DATA["text"])) == 1
    assert "out of bounds" in caplog.text


def test_meta_is_not_mistaken_for_an_earlier_one(tmp_path):
    """Meta that the guest makes is parsed, also when it equals what an earlier input had."""
    remember = """(param $handle i32) (param $frame i32) (result i32)
        (if (i32.load offset=52 (local.get $frame))
            (then (global.set $count (i32.load offset=48 (local.get $frame))))
            (else (i32.store offset=48 (local.get $frame) (global.get $count))
                  (i32.store offset=52 (local.get $frame) (i32.const 8))))
        i32.const 1"""
    with opened(guest_file(tmp_path, ps_process=remember)) as node:
        assert node.process(RuntimeData.text("a", meta={"k": 10}))[0].meta == {"k": 10}
        with pytest.raises(NodeExecution, match="meta"):  # 8 of its 9 bytes: no JSON
            node.process(RuntimeData.text("b"))
        assert node.process(RuntimeData.text("a", meta={"k": 1}))[0].meta == {"k": 1}
        assert node.process(RuntimeData.text("b"))[0].meta == {"k": 1}


def test_planar_audio_comes_out_interleaved(tmp_path):
    """A guest that marks its audio as planar is read channel by channel."""
    planar = "(param i32 i32) (result i32) (i32.store8 offset=7 (local.get 1) (i32.const 2)) i32.const 1"
    with opened(guest_file(tmp_path, ps_process=planar)) as node:
        samples = np.array([1, 2, 3, 10, 20, 30], "f4")
        (out,) = node.process(RuntimeData.audio(samples, sample_rate=8000, channels=2))
        assert out.as_audio().samples.tolist() == [1, 10, 2, 20, 3, 30]


def test_bytes_come_out_as_a_tensor(tmp_path):
    """Kind 5 is a uint8 tensor."""
    kind = "(param i32 i32) (result i32) (i32.store8 offset=4 (local.get 1) (i32.const 5)) i32.const 1"
    with opened(guest_file(tmp_path, ps_process=kind)) as node:
        assert node.process(RuntimeData.text("AB"))[0].as_tensor().tolist() == [65, 66]


def test_the_host_area_grows_and_is_used_again(echo):
    """Payloads of growing size make the area and the memory grow; small ones afterwards use it as it is."""
    small, large = RuntimeData.tensor(np.arange(10)), RuntimeData.tensor(np.arange(1_000_000))
    assert echo.process(small) == [small]
    first = echo._guest._data.size
    assert echo.process(large) == [large]
    grown = (echo._guest._data.pointer, echo._guest._data.size, len(echo._guest._instance.view))
    assert grown[1] >= 8_000_000 > first
    for _ in range(5):
        assert [echo.process(small), echo.process(large)] == [[small], [large]]
    assert (echo._guest._data.pointer, echo._guest._data.size, len(echo._guest._instance.view)) == grown


def test_two_nodes_of_one_module_are_independent(tmp_path):
    """Each node has its own memory; the compiled module is shared."""
    count = """(param i32 i32) (result i32) (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (i32.store8 (i32.load offset=40 (local.get 1)) (i32.add (i32.const 48) (global.get $count))) i32.const 1"""
    path = guest_file(tmp_path, ps_process=count)
    with opened(path) as one, opened(path) as two:
        assert [one.process(RuntimeData.text("-"))[0].as_text() for _ in range(3)] == ["1", "2", "3"]
        assert two.process(RuntimeData.text("-"))[0].as_text() == "1"
        assert one._module is two._module
        one.cleanup()
        assert two.process(RuntimeData.text("-"))[0].as_text() == "2"


def test_without_a_deadline_the_guest_runs_too(tmp_path):
    """Limits without a deadline are another compilation of the same file."""
    with opened(guest_file(tmp_path), limits=WasmLimits(deadline_ms=None)) as node:
        assert node.process(DATA["f32"]) == [DATA["f32"]]
