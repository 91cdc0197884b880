"""Small guests in WAT: a well-behaved pass-through node, any of whose functions a test replaces."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest
import wasmtime

from penstock.executors.contract import NodeContext
from penstock.executors.wasm.limits import WasmLimits
from penstock.executors.wasm.node import WasmNode

HERE = Path(__file__).parent
CLEAN = HERE.parents[1] / "examples" / "speech" / "clean.wasm"

DESCRIPTION = {"name": "echo", "abi": 1, "inputs": {"in": "any"}, "outputs": {"out": "any"}, "params": {}}
ERROR = "the guest's own words"

FUNCTIONS = {
    "ps_abi": "(result i32) i32.const 1",
    "ps_alloc": """(param $size i32) (param $align i32) (result i32) (local $at i32)
        (local.set $at (i32.and (i32.sub (i32.add (global.get $top) (local.get $align)) (i32.const 1))
                                (i32.sub (i32.const 0) (local.get $align))))
        (global.set $top (i32.add (local.get $at) (local.get $size)))
        (block $enough
            (br_if $enough (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
            (br_if $enough (i32.ne (i32.const -1) (memory.grow (i32.add (i32.const 1)
                (i32.shr_u (i32.sub (global.get $top) (i32.mul (memory.size) (i32.const 65536))) (i32.const 16))))))
            (global.set $top (local.get $at))
            (return (i32.const 0)))
        (local.get $at)""",
    "ps_free": "(param i32 i32 i32)",
    "ps_describe": "(result i64) (i64.const {describe})",
    "ps_open": "(param i32 i32) (result i32) i32.const 1",
    "ps_process": "(param $handle i32) (param $frame i32) (result i32) i32.const 1",
    "ps_flush": "(param i32) (result i32) i32.const 0",
    "ps_close": "(param i32)",
    "ps_error": "(result i64) (i64.const {error})",
}


def _escaped(text):
    return "".join(f"\\{byte:02x}" for byte in text)


def wat(*, imports="", extra="", pages=2, description=None, leave_out=(), **functions):
    """The text of a guest; a function given by name replaces the template's, or adds to it."""
    said = (
        json.dumps({**DESCRIPTION, **(description or {})}).encode()
        if not isinstance(description, bytes)
        else description
    )
    numbers = {"{describe}": (1024 << 32) | len(said), "{error}": (4096 << 32) | len(ERROR)}
    parts = [
        f'(func ${name} (export "{name}") {body})'
        for name, body in {**FUNCTIONS, **functions}.items()
        if name not in leave_out
    ]
    memory = "hidden" if "memory" in leave_out else "memory"
    text = f"""(module {imports} (memory (export "{memory}") {pages})
        (global $top (mut i32) (i32.const 65536)) (global $count (mut i32) (i32.const 0))
        (data (i32.const 1024) "{_escaped(said)}") (data (i32.const 4096) "{_escaped(ERROR.encode())}")
        {" ".join(parts)} {extra})"""
    for name, number in numbers.items():
        text = text.replace(name, str(number))
    return text


def guest_file(directory, name="guest", **changes):
    """A .wasm file with such a guest."""
    path = directory / f"{name}.wasm"
    path.write_bytes(bytes(wasmtime.wat2wasm(wat(**changes))))
    return path


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    """Compiled modules of tests stay out of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "penstock"


@contextmanager
def opened(path, params=None, limits=None, node_id="n"):
    """A node, initialized, and cleaned up in the end."""
    node = WasmNode(path, params or {}, limits or WasmLimits(), node_id=node_id)
    try:
        node.initialize(NodeContext(node_id, "wasm"))
        yield node
    finally:
        node.cleanup()
