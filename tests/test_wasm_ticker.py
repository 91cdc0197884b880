"""The clock of the deadlines is there while guests run, and gone afterwards."""

import os
import threading
import warnings

import pytest
import wasmtime
from guests.wat import guest_file, opened, private_cache  # noqa: F401

from penstock.executors.contract import NodeExecution, RuntimeData
from penstock.executors.wasm.limits import WasmLimits
from penstock.executors.wasm.node import describe
from penstock.executors.wasm.ticker import TICKER, Ticker

DATA = RuntimeData.text("x")
ENDLESS = RuntimeData.text("bad")
SPIN = """(param i32 i32) (result i32)
    (if (i32.eq (i32.load offset=44 (local.get 1)) (i32.const 3)) (then (loop br 0))) i32.const 1"""


def clocks():
    return [thread for thread in threading.enumerate() if thread.name == "penstock-wasm-ticker"]


def test_one_thread_for_all_calls_and_none_after_the_last_node(tmp_path):
    """Many calls of many nodes share one thread; cleanup of the last node has ended it when it returns."""
    path = guest_file(tmp_path)
    with opened(path) as one, opened(path, limits=WasmLimits(stack_bytes=2**18)) as two:
        one.process(DATA)
        (thread,) = clocks()
        for _ in range(50):
            one.process(DATA)
            two.process(DATA)
        assert clocks() == [thread]
        one.cleanup()
        assert clocks() == [thread]
    assert clocks() == []


def test_an_idle_node_has_no_thread(tmp_path):
    """The thread of a node that gets no calls ends by itself, and the next call starts one that works."""
    with opened(guest_file(tmp_path, ps_process=SPIN), limits=WasmLimits(deadline_ms=10)) as node:
        for _ in range(2):
            node.process(DATA)
            (thread,) = clocks()
            thread.join(30)
            assert clocks() == []
        with pytest.raises(NodeExecution, match="INTERRUPT"):
            node.process(ENDLESS)


def test_describe_leaves_no_thread(tmp_path):
    """A check before the start leaves nothing behind, also when it refuses."""
    describe(guest_file(tmp_path))
    assert clocks() == []


def test_without_a_deadline_there_is_no_thread(tmp_path):
    """A trusted guest costs no clock."""
    with opened(guest_file(tmp_path), limits=WasmLimits(deadline_ms=None)) as node:
        node.process(DATA)
        assert clocks() == []


def test_guests_in_two_threads_each_have_their_deadline(tmp_path):
    """Two endless loops in two threads both end, on one clock."""
    path = guest_file(tmp_path, ps_process=SPIN)
    failures = []

    def run(node):
        try:
            node.process(ENDLESS)
        except NodeExecution as error:
            failures.append(str(error))

    with opened(path, limits=WasmLimits(deadline_ms=20)) as one, opened(path, limits=WasmLimits(deadline_ms=30)) as two:
        threads = [threading.Thread(target=run, args=(node,)) for node in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted("20 ms" in text for text in failures) == [False, True]


def test_calls_of_one_node_wait_for_each_other(tmp_path):
    """From two threads the calls of one node run one after the other, and cleanup waits for them."""
    with opened(guest_file(tmp_path)) as node:
        results = []
        threads = [threading.Thread(target=lambda: results.append(node.process(DATA))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [[DATA]] * 8


def test_a_share_taken_while_the_last_thread_ends_gets_a_clock_of_its_own():
    """After the last release a new begin never relies on the thread that is about to end."""
    ticker = Ticker()
    engine = wasmtime.Engine()
    for _ in range(200):
        ticker.retain(engine)
        ticker.begin()
        assert ticker.ticking
        ticker.end()
        ticker.release(engine)
        assert not ticker.ticking
    assert clocks() == []


def test_a_forked_child_starts_its_own_clock(tmp_path):
    """A child forked while the clock ran has no thread, and its guests end at their deadline all the same."""
    with opened(guest_file(tmp_path, ps_process=SPIN), limits=WasmLimits(deadline_ms=10)) as node:
        node.process(DATA)
        assert TICKER.ticking
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: a fork with threads; that is the case in hand
            child = os.fork()
        if not child:
            try:
                node.process(ENDLESS)
            except NodeExecution as error:
                os._exit(42 if "INTERRUPT" in str(error) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
