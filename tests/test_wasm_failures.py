"""What a guest does wrong while it runs: always a NodeExecution, never the host's end, and the next call works."""

import pytest
from guests.wat import CLEAN, ERROR, HERE, guest_file, opened, private_cache  # noqa: F401

from penstock.executors.contract import NodeContext, NodeExecution, RuntimeData
from penstock.executors.wasm.limits import WasmLimits
from penstock.executors.wasm.node import WasmNode

BAD, GOOD = RuntimeData.text("bad"), RuntimeData.text("ok")

# Runs `body` for payloads of 3 bytes ("bad") and passes every other one on.
MISBEHAVE = """(param $handle i32) (param $frame i32) (result i32)
    (if (i32.eq (i32.load offset=44 (local.get $frame)) (i32.const 3)) (then BODY))
    i32.const 1"""


def failure(node, data=BAD):
    with pytest.raises(NodeExecution) as caught:
        node.process(data)
    assert caught.value.node_id == "n"
    return str(caught.value)


def misbehaving(tmp_path, body, **changes):
    return guest_file(tmp_path, ps_process=MISBEHAVE.replace("BODY", body), **changes)


TRAPS = {
    "UNREACHABLE": "unreachable",
    "MEMORY_OUT_OF_BOUNDS": "(drop (i32.load (i32.const -16)))",
    "INTEGER_DIVISION_BY_ZERO": "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
    "INTERRUPT": "(loop br 0)",
    "STACK_OVERFLOW": "(drop (call $ps_process (local.get $handle) (local.get $frame)))",
}


@pytest.mark.parametrize("code", TRAPS)
def test_a_trap_drops_the_instance_and_the_next_call_works(tmp_path, code):
    """Every trap is told with its code and the guest's backtrace, and says that the state is lost."""
    with opened(misbehaving(tmp_path, TRAPS[code]), limits=WasmLimits(deadline_ms=30)) as node:
        text = failure(node)
        assert f"ps_process trapped: {code}" in text
        assert "guest backtrace: ps_process" in text
        assert "state lost" in text
        assert node.process(GOOD)[0].as_text() == "ok"


def test_many_traps_in_a_row(tmp_path):
    """Traps leak nothing that a later call would trip over."""
    with opened(misbehaving(tmp_path, "unreachable")) as node:
        for _ in range(300):
            failure(node)
        assert node.process(GOOD)[0].as_text() == "ok"


def test_fuel_ends_a_call(tmp_path):
    """With fuel a loop ends by count, and the next call has its fuel again."""
    limits = WasmLimits(deadline_ms=None, fuel=100_000)
    with opened(misbehaving(tmp_path, TRAPS["INTERRUPT"]), limits=limits) as node:
        for _ in range(3):
            assert "OUT_OF_FUEL: it used up its fuel of 100000" in failure(node)
            assert len(node.process(GOOD)) == 1


def test_state_is_lost_with_the_instance(tmp_path):
    """After a trap the guest starts from its initial state."""
    count = """(global.set $count (i32.add (global.get $count) (i32.const 1)))
        (if (i32.eq (i32.load offset=44 (local.get 1)) (i32.const 3)) (then unreachable))
        (i32.store8 (i32.load offset=40 (local.get 1)) (i32.add (i32.const 48) (global.get $count))) i32.const 1"""
    with opened(guest_file(tmp_path, ps_process=f"(param i32 i32) (result i32) {count}")) as node:
        assert [node.process(GOOD)[0].as_text() for _ in range(2)] == ["1k", "2k"]
        failure(node)
        assert node.process(GOOD)[0].as_text() == "1k"


def test_a_memory_bomb_stops_at_its_limit(tmp_path):
    """memory.grow fails at the limit; the guest that goes on regardless traps, within its memory."""
    bomb = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable"
    with opened(misbehaving(tmp_path, bomb), limits=WasmLimits(memory_bytes=8 * 2**20)) as node:
        assert "UNREACHABLE" in failure(node)
        assert len(node.process(GOOD)) == 1


def test_a_guest_that_grows_stays_within_its_limit(tmp_path):
    """The view follows a memory that grew during a call, and the limit bounds it."""
    grow = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))"
    with opened(misbehaving(tmp_path, grow), limits=WasmLimits(memory_bytes=2**20)) as node:
        assert node.process(BAD)[0].as_text() == "bad"
        assert len(node._guest._instance.view) == 2**20


def test_a_payload_above_the_limit_is_out_of_memory(tmp_path):
    """A datum that the guest has no room for is refused with the limit's name, and the state is kept."""
    with opened(guest_file(tmp_path), limits=WasmLimits(memory_bytes=2**20)) as node:
        for size in (2**20 - 4096, 2**20 + 1):
            text = failure(node, RuntimeData.text("x" * size))
            assert "out of memory" in text
            assert "memory_bytes" in text
            assert "state lost" not in text
        assert node.process(GOOD)[0].as_text() == "ok"


def test_a_table_bomb_stops_at_its_limit(tmp_path):
    """table.grow fails at table_elements."""
    body = """(if (i32.ne (table.grow $t (ref.null func) (i32.const 100)) (i32.const -1)) (then unreachable))"""
    path = misbehaving(tmp_path, body, extra="(table $t 10 funcref)")
    with opened(path, limits=WasmLimits(table_elements=50)) as node:
        assert len(node.process(BAD)) == 1


def test_an_overflow_of_the_c_stack_traps():
    """Linked with --stack-first, arrays that do not fit on the C stack trap instead of overwriting statics."""
    with opened(HERE / "deep.wasm") as node:
        assert "MEMORY_OUT_OF_BOUNDS" in failure(node)
        assert "recurse" in failure(node)


def test_an_errno_carries_the_guests_text(tmp_path):
    """A negative result is an errno with ps_error's text, and the instance is kept."""
    with opened(misbehaving(tmp_path, "(return (i32.const -22))")) as node:
        text = failure(node)
        assert f"ps_process gives EINVAL: {ERROR}" in text
        assert "state lost" not in text


def test_a_wild_error_text_is_a_failure_too(tmp_path):
    """ps_error is not believed about where its text lies."""
    path = misbehaving(tmp_path, "(return (i32.const -22))", ps_error="(result i64) (i64.const 0xfffffff0fffffff0)")
    with opened(path) as node:
        assert "ps_error: a text of" in failure(node)


def test_a_refused_open_is_an_error(tmp_path):
    """ps_open with another errno than EINVAL, or with handle 0, is a NodeExecution."""
    for number, text in ((-12, f"ENOMEM: {ERROR}"), (0, "handle 0")):
        path = guest_file(tmp_path, ps_open=f"(param i32 i32) (result i32) i32.const {number}")
        with pytest.raises(NodeExecution, match=text), opened(path):
            pass


MALFORMED = {
    "magic": ("(i32.store (local.get 1) (i32.const 7))", "not with the magic"),
    "data pointer": ("(i32.store offset=40 (local.get 1) (i32.const -8))", "data_ptr 0xfffffff8"),
    "data length": ("(i32.store offset=44 (local.get 1) (i32.const -1))", "data_len 4294967295"),
    "meta pointer": (
        "(i32.store offset=48 (local.get 1) (i32.const -8)) (i32.store offset=52 (local.get 1) (i32.const 9))",
        "meta_ptr 0xfffffff8",
    ),
    "meta not JSON": (
        "(i32.store offset=48 (local.get 1) (i32.const 4096)) (i32.store offset=52 (local.get 1) (i32.const 9))",
        "meta is not JSON",
    ),
    "kind": ("(i32.store8 offset=4 (local.get 1) (i32.const 9))", "kind 9"),
    "audio without rate": ("(i32.store8 offset=4 (local.get 1) (i32.const 1))", "0 channels at 0 Hz"),
    "dtype": ("(i32.store16 offset=4 (local.get 1) (i32.const 0x0903))", "dtype 9"),
    "dimensions": (
        "(i32.store8 offset=4 (local.get 1) (i32.const 3)) (i32.store8 offset=6 (local.get 1) (i32.const 5))",
        "5 dimensions",
    ),
    "shape": (
        "(i32.store8 offset=4 (local.get 1) (i32.const 3)) (i32.store offset=24 (local.get 1) (i32.const -1))",
        "has 4294967295",
    ),
    "JSON": ("(i32.store8 offset=4 (local.get 1) (i32.const 4))", "JSON frame is none"),
    "text": ("(i32.store8 (i32.load offset=40 (local.get 1)) (i32.const 255))", "text frame is none"),
    "outputs": ("(return (i32.const 2000000000))", "announced 2000000000 outputs"),
    "no ps_next": ("(return (i32.const 2))", "does not export ps_next"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_frame_is_a_failure(tmp_path, what):
    """Nothing that a guest writes into a frame is believed; each lie is named, and the next call works."""
    body, text = MALFORMED[what]
    with opened(misbehaving(tmp_path, body)) as node:
        assert text in failure(node)
        assert node.process(GOOD)[0].as_text() == "ok"


@pytest.mark.parametrize(
    ("pointer", "text"), [("0", "gave 0 after 0 outputs"), ("-32", "out of bounds"), ("8", "not with the magic")]
)
def test_a_wild_next_output_is_a_failure(tmp_path, pointer, text):
    """ps_next is not believed about where its frame lies, and must give what ps_process announced."""
    path = misbehaving(tmp_path, "(return (i32.const 2))", ps_next=f"(param i32) (result i32) i32.const {pointer}")
    with opened(path) as node:
        assert text in failure(node)


def test_one_buffer_can_not_be_multiplied_without_end(tmp_path):
    """The outputs of one call are bounded by the memory limit, whatever the guest announces."""
    body = "(global.set $count (local.get $frame)) (return (i32.const 60000))"
    path = misbehaving(tmp_path, body, ps_next="(param i32) (result i32) (global.get $count)")
    with opened(path, limits=WasmLimits(memory_bytes=2**17)) as node:
        assert "more than 131072 bytes" in failure(node)


@pytest.mark.parametrize("pointer", ["-4096", "4097"])
def test_a_wild_allocation_is_a_failure(tmp_path, pointer):
    """ps_alloc must give an aligned area inside the memory."""
    path = guest_file(tmp_path, ps_alloc=f"(param i32 i32) (result i32) i32.const {pointer}")
    with pytest.raises(NodeExecution, match="misaligned or out of bounds"), opened(path):
        pass


def test_a_call_after_cleanup_is_refused(tmp_path):
    """A node that was cleaned up says so; cleanup is idempotent, and initialize revives the node."""
    with opened(guest_file(tmp_path)) as node:
        node.cleanup()
        node.cleanup()
        assert "cleaned up" in failure(node)
        node.initialize(NodeContext("n", "wasm"))
        assert len(node.process(GOOD)) == 1


def test_a_trap_in_close_does_not_reach_the_owner(tmp_path, caplog):
    """cleanup gives the memory back even when ps_close traps, and logs it."""
    with opened(guest_file(tmp_path, ps_close="(param i32) unreachable")) as node:
        node.cleanup()
    assert "ps_close trapped: UNREACHABLE" in caplog.text


def test_a_forgotten_node_warns():
    """A node that is dropped without cleanup is a ResourceWarning."""
    node = WasmNode(CLEAN)
    node.initialize(NodeContext("n", "wasm"))
    guest = node._guest
    with pytest.warns(ResourceWarning, match="cleanup"):
        del node
    guest.close()
