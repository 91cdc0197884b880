"""The raw call and its fallback agree, in results and in failures."""

import numpy as np
import pytest
import wasmtime
from guests.wat import CLEAN, guest_file, opened, private_cache  # noqa: F401
from hypothesis import given
from hypothesis import strategies as st

from penstock.executors.contract import NodeExecution, RuntimeData
from penstock.executors.wasm import call
from penstock.executors.wasm.call import PublicCall, RawCall, bind_deadline, bind_length, signed

WAT = """(module (memory (export "memory") 1 4)
    (func (export "sum") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "wide") (param i32) (result i64)
        (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.const 0xfffffff0)))
    (func (export "nothing") (param i32 i32 i32))
    (func (export "grow") (result i32) (memory.grow (i32.const 1)))
    (func $inner unreachable) (func (export "boom") (call $inner))
    (func (export "spin") (loop br 0)))"""


@pytest.fixture(scope="module")
def instance():
    config = wasmtime.Config()
    config.epoch_interruption = True
    store = wasmtime.Store(wasmtime.Engine(config))
    store.set_epoch_deadline(10**6)
    module = wasmtime.Module(store.engine, WAT)
    exports = wasmtime.Instance(store, module, []).exports(store)
    return store, {name: exports[name] for name in ("memory", "sum", "wide", "nothing", "grow", "boom", "spin")}


def both(instance, name, signature):
    store, exports = instance
    return [kind(store, exports[name], signature) for kind in (RawCall, PublicCall)]


def test_the_raw_call_is_in_use():
    """With the pinned wasmtime the fast call is what nodes get."""
    assert call.HAS_RAW


U32 = st.integers(0, 2**32 - 1)


def test_both_calls_give_the_same_unsigned_results(instance):
    """i32 and i64 results are unsigned, whatever their top bit."""
    sums, wides = both(instance, "sum", ("ii", "i")), both(instance, "wide", ("i", "l"))

    @given(U32, U32)
    def check(a, b):
        assert {one(a, b) for one in sums} == {(a + b) % 2**32}
        assert {one(a) for one in wides} == {(a << 32) | 0xFFFFFFF0}

    check()


def test_a_call_without_result_gives_zero(instance):
    """Nothing of the arguments is left in the result."""
    assert [one(1, 2, 3) for one in both(instance, "nothing", ("iii", ""))] == [0, 0]


def test_both_calls_raise_the_same_trap(instance):
    """A trap has its code and its frames; the next call is not troubled by it."""
    for one in both(instance, "boom", ("", "")):
        for _ in range(100):
            with pytest.raises(wasmtime.Trap) as caught:
                one()
        assert caught.value.trap_code is wasmtime.TrapCode.UNREACHABLE
        assert [frame.func_name for frame in caught.value.frames][0] == "inner"
    assert [one(1, 2) for one in both(instance, "sum", ("ii", "i"))] == [3, 3]


def test_an_interrupt_in_a_host_function_reaches_the_caller(tmp_path):
    """What a host function raises, Ctrl-C say, comes out of the raw call, and does not linger in wasmtime."""
    store = wasmtime.Store()

    def interrupted():
        raise KeyboardInterrupt

    inner = wasmtime.Func(store, wasmtime.FuncType([], []), interrupted)
    module = wasmtime.Module(store.engine, '(module (import "" "f" (func $f)) (func (export "run") (call $f)))')
    run = RawCall(store, wasmtime.Instance(store, module, [inner]).exports(store)["run"], ("", ""))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run()


def test_the_bound_deadline_counts(instance):
    """A deadline in the past ends the call at once."""
    store, exports = instance
    bind_deadline(store)(1)
    store.engine.increment_epoch()
    with pytest.raises(wasmtime.Trap) as caught:
        RawCall(store, exports["spin"], ("", ""))()
    assert caught.value.trap_code is wasmtime.TrapCode.INTERRUPT
    bind_deadline(store)(10**6)


def test_the_bound_length_follows_the_memory(instance):
    """The length is the memory's own, also after it grew."""
    store, exports = instance
    length = bind_length(store, exports["memory"])
    before = length()
    RawCall(store, exports["grow"], ("", "i"))()
    assert length() == before + 65536 == exports["memory"].data_len(store)


@given(st.integers(-(2**31), 2**31 - 1))
def test_signed_undoes_unsigned(value):
    """A 32-bit pattern has one signed reading."""
    assert signed(value & 0xFFFFFFFF) == value


def test_a_whole_node_runs_on_the_public_interface(tmp_path, monkeypatch):
    """Without wasmtime's private names a node does the same, failures included."""
    data = RuntimeData.audio(np.sin(np.arange(999, dtype="f4")), sample_rate=16000, timestamp_ns=1)
    with opened(CLEAN) as fast:
        expected = [fast.process(data), fast.process(data), fast.flush()]
    monkeypatch.setattr(call, "HAS_RAW", False)
    with opened(CLEAN) as slow:
        assert [slow.process(data), slow.process(data), slow.flush()] == expected
        assert isinstance(slow._guest._ps_process, PublicCall)
    with opened(guest_file(tmp_path, ps_process="(param i32 i32) (result i32) unreachable")) as node:
        for _ in range(2):
            with pytest.raises(NodeExecution, match="UNREACHABLE"):
                node.process(data)
