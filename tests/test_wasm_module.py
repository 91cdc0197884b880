"""What is refused before a guest runs, and how it is said."""

import pytest
import wasmtime
from guests.wat import CLEAN, guest_file, opened, private_cache  # noqa: F401

from penstock.executors.contract import Validation
from penstock.executors.wasm.limits import WasmLimits
from penstock.executors.wasm.node import describe


def refusal(path, limits=None):
    with pytest.raises(Validation) as caught:
        describe(path, limits or WasmLimits())
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_describe_gives_ports_and_params():
    """A guest's ports, parameters and defaults are known without opening it."""
    said = describe(CLEAN)
    assert (said.name, said.abi, said.in_place) == ("clean", 1, True)
    assert (said.inputs, said.outputs) == ({"in": "audio"}, {"out": "audio"})
    assert {name: (spec["type"], spec["default"]) for name, spec in said.params.items()} == {
        "cutoff_hz": ("number", 80),
        "gain_db": ("number", 0),
    }


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "it is empty"),
        (b"(module)", "does not begin with \\0asm"),
        (b"\0asm\1\0\0\0\xff\xff garbage", "does not compile"),
        (b"\0asm\x0d\0\1\0", "component"),
    ],
)
def test_a_file_that_is_no_module_is_refused(tmp_path, content, text):
    """Garbage, an empty file and a component are each named for what they are."""
    path = tmp_path / "bad.wasm"
    path.write_bytes(content)
    assert text in refusal(path)


def test_a_missing_file_is_refused(tmp_path):
    """A path that leads nowhere is a Validation with the system's reason."""
    assert "No such file" in refusal(tmp_path / "none.wasm")


def test_a_forbidden_import_is_refused(tmp_path):
    """Anything but ps.log and ps.now_ns is refused by name."""
    text = refusal(guest_file(tmp_path, imports='(import "env" "abort" (func))'))
    assert "env.abort" in text
    assert "ps.log and ps.now_ns alone" in text


def test_a_wasi_import_is_refused_as_wasi(tmp_path):
    """A guest built with stdio is told that WASI is not granted."""
    imports = '(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))'
    assert "WASI is not granted" in refusal(guest_file(tmp_path, imports=imports))


def test_an_import_of_another_type_is_refused(tmp_path):
    """ps.log with other parameters is refused with both types."""
    assert "(i64) -> ()" in refusal(guest_file(tmp_path, imports='(import "ps" "log" (func (param i64)))'))


def test_missing_exports_are_named_together(tmp_path):
    """All missing exports stand in one message."""
    text = refusal(guest_file(tmp_path, leave_out=("ps_flush", "ps_error", "memory")))
    assert "does not export memory, ps_error, ps_flush" in text


@pytest.mark.parametrize("body", ["(param i32) (result i32) i32.const 1", "(param i32 i32) (result i64) i64.const 1"])
def test_a_wrong_signature_is_refused(tmp_path, body):
    """An export of another type never reaches the unchecked call."""
    assert "it is (i32, i32) -> (i32)" in refusal(guest_file(tmp_path, ps_process=body))


def test_an_export_that_is_no_function_is_refused(tmp_path):
    """A global under an export's name is refused."""
    path = guest_file(tmp_path, leave_out=("ps_abi",), extra='(global (export "ps_abi") i32 (i32.const 1))')
    assert "ps_abi as global" in refusal(path)


def test_another_abi_is_refused(tmp_path):
    """A guest of ABI 2 is refused with both numbers, whether ps_abi or the description says so."""
    assert "gives 2, this penstock speaks ABI 1" in refusal(guest_file(tmp_path, ps_abi="(result i32) i32.const 2"))
    assert "says abi 3" in refusal(guest_file(tmp_path, description={"abi": 3}))


@pytest.mark.parametrize(
    ("description", "text"),
    [
        (b"{", "no JSON"),
        (b"[1]", "not a JSON object"),
        ({"name": 5}, "'name' as 5"),
        ({"inputs": {}}, "gives 0 inputs"),
        ({"inputs": {"a": "audio", "b": "audio"}}, "gives 2 inputs"),
        ({"outputs": {"out": "video"}}, "'video'"),
        ({"params": {"gain": 1}}, "parameter 'gain'"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(tmp_path, description, text):
    """Each mistake in ps_describe is named."""
    assert text in refusal(guest_file(tmp_path, description=description))


def test_a_description_out_of_bounds_is_refused(tmp_path):
    """ps_describe is not believed about where its text lies."""
    wild = "(result i64) (i64.const -4294967200)"
    assert "out of bounds" in refusal(guest_file(tmp_path, ps_describe=wild))


def test_more_memory_than_the_limit_is_refused_at_load(tmp_path):
    """A module whose memory starts above the limit says both numbers."""
    path = guest_file(tmp_path, pages=100)
    assert "needs 6553600 bytes" in refusal(path, WasmLimits(memory_bytes=2**20))


def test_a_trap_in_the_start_function_is_a_refusal(tmp_path):
    """A guest that traps before it is open is no node."""
    path = guest_file(tmp_path, extra="(func $start unreachable) (start $start)")
    assert "UNREACHABLE" in refusal(path)


def test_an_endless_start_function_ends(tmp_path):
    """The deadline holds before ps_open too."""
    path = guest_file(tmp_path, extra="(func $start (loop br 0)) (start $start)")
    assert "deadline of 20 ms" in refusal(path, WasmLimits(deadline_ms=20))


def test_threads_memory64_and_gc_do_not_compile(tmp_path):
    """Proposals that a node does not need are off."""
    for number, text in enumerate(["(memory i64 1)", "(memory 1 2 shared)", "(type (struct))"]):
        path = tmp_path / f"{number}.wasm"
        path.write_bytes(bytes(wasmtime.wat2wasm(f"(module {text})")))
        assert "does not compile" in refusal(path)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"cutof_hz": 80}, "unknown parameter 'cutof_hz': clean has cutoff_hz, gain_db"),
        ({"cutoff_hz": "80"}, "not a number"),
        ({"gain_db": True}, "not a number"),
        ({"cutoff_hz": -1}, "cutoff_hz is above 0"),
        ({"gain_db": 61}, "gain_db is from -120 to 60"),
    ],
)
def test_wrong_parameters_are_a_validation(params, text):
    """Names and types are checked against the description, ranges by the guest: all are the user's mistake."""
    with pytest.raises(Validation, match="node 'n'") as caught, opened(CLEAN, params):
        pass
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory_bytes": 10},
        {"memory_bytes": "64"},
        {"stack_bytes": 2**30},
        {"deadline_ms": 0},
        {"fuel": 0},
        {"instances": True},
        {"table_elements": -1},
    ],
)
def test_limits_that_make_no_sense_are_refused(wrong):
    """A limit that wasmtime would ignore, or die of, is a Validation that names it."""
    with pytest.raises(Validation, match=next(iter(wrong))):
        WasmLimits(**wrong)
