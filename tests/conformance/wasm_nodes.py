"""The suite's nodes as wasm guests, as far as a sandbox can be such a node."""

from __future__ import annotations

import functools
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from guests.wat import guest_file  # noqa: E402

__all__ = ["guests"]

_HEAD = "(param $handle i32) (param $frame i32) (result i32) (local $at i32) (local $len i32) (local $i i32)"
_LOAD = (
    "(local.set $at (i32.load offset=40 (local.get $frame))) (local.set $len (i32.load offset=44 (local.get $frame)))"
)
_KIND = "(i32.load8_u offset=4 (local.get $frame))"
_OUT, _WORDS = 16384, 8192


def _data(at: int, text: str) -> str:
    escaped = "".join(f"\\{byte:02x}" for byte in text.encode())
    return f'(data (i32.const {at}) "{escaped}")'


def _append(length: int) -> str:
    """The answer is the JSON object of the input with words put before its last brace."""
    return f"""(memory.copy (i32.const {_OUT}) (local.get $at) (i32.sub (local.get $len) (i32.const 1)))
        (memory.copy (i32.add (i32.const {_OUT - 1}) (local.get $len)) (i32.const {_WORDS}) (i32.const {length}))
        (i32.store offset=40 (local.get $frame) (i32.const {_OUT}))
        (i32.store offset=44 (local.get $frame) (i32.add (local.get $len) (i32.const {length - 1})))"""


def _loop(body: str, step: int) -> str:
    """For each element of the input, its address in $i."""
    return f"""(local.set $i (local.get $at))
        (block $end (loop $next
            (br_if $end (i32.ge_u (local.get $i) (i32.add (local.get $at) (local.get $len))))
            {body}
            (local.set $i (i32.add (local.get $i) (i32.const {step}))) (br $next)))"""


_UPPER = """(if (i32.lt_u (i32.sub (i32.load8_u (local.get $i)) (i32.const 97)) (i32.const 26))
    (then (i32.store8 (local.get $i) (i32.sub (i32.load8_u (local.get $i)) (i32.const 32)))))"""
_TWICE = "(f32.store (local.get $i) (f32.add (f32.mul (f32.load (local.get $i)) (f32.const 2)) (f32.const 1)))"
_ADDED, _ABOUT, _COUNT = ',"affine":true}', ',"pid":0}', ',"pid":0,"count":00}'

_AFFINE = f"""{_HEAD} {_LOAD}
    (if (i32.eq {_KIND} (i32.const 4)) (then {_append(len(_ADDED))} (return (i32.const 1))))
    (if (i32.eq {_KIND} (i32.const 2)) (then {_loop(_UPPER, 1)} (return (i32.const 1))))
    (if (i32.ne (i32.load8_u offset=5 (local.get $frame)) (i32.const 4)) (then unreachable))
    {_loop(_TWICE, 4)} (i32.const 1)"""
_ANSWER = f"{_HEAD} {_LOAD} {_append(len(_ABOUT))} (i32.const 1)"
_DIGITS = f"(i32.add (i32.const {_OUT}) (i32.load offset=44 (local.get $frame)))"
_COUNTER = f"""{_HEAD} {_LOAD} (global.set $count (i32.add (global.get $count) (i32.const 1))) {_append(len(_COUNT))}
    (if (i32.lt_u (global.get $count) (i32.const 10))
        (then (i32.store8 (i32.sub {_DIGITS} (i32.const 3)) (i32.const 32)))
        (else (i32.store8 (i32.sub {_DIGITS} (i32.const 3))
            (i32.add (i32.const 48) (i32.div_u (global.get $count) (i32.const 10))))))
    (i32.store8 (i32.sub {_DIGITS} (i32.const 2))
        (i32.add (i32.const 48) (i32.rem_u (global.get $count) (i32.const 10))))
    (i32.const 1)"""
_FAIL = f"""{_HEAD} {_LOAD}
    (global.set $said (i32.sub (local.get $len) (i32.const 7)))
    (memory.copy (i32.const {_WORDS + 5})
        (i32.add (local.get $at) (i32.const 10)) (i32.sub (local.get $len) (i32.const 12)))
    (i32.const -5)"""
_SAID = f"(result i64) (i64.or (i64.shl (i64.const {_WORDS}) (i64.const 32)) (i64.extend_i32_u (global.get $said)))"
_OPEN = """(param $at i32) (param $len i32) (result i32)
    (if (i32.or (i32.eq (i32.load8_u offset=8 (local.get $at)) (i32.const 116))
                (i32.eq (i32.load8_u offset=9 (local.get $at)) (i32.const 116)))
        (then (return (i32.const -22)))) (i32.const 1)"""


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="conformance-wasm-")


@functools.cache
def guests() -> dict[str, Path]:
    """The guests by the names of their nodes, made when they are first asked for."""
    folder = Path(_folder().name)
    wants = {"description": {"params": {"fail": {"type": "boolean", "default": False}}}}
    return {
        "echo": guest_file(folder, "echo"),
        "affine": guest_file(folder, "affine", ps_process=_AFFINE, extra=_data(_WORDS, _ADDED)),
        "slow": guest_file(folder, "slow", ps_process=_ANSWER, extra=_data(_WORDS, _ABOUT)),
        "counter": guest_file(folder, "counter", ps_process=_COUNTER, extra=_data(_WORDS, _COUNT)),
        "fail": guest_file(
            folder, "fail", ps_process=_FAIL, ps_error=_SAID,
            extra=f"(global $said (mut i32) (i32.const 0)) {_data(_WORDS, 'boom-')}",
        ),
        "fail_init": guest_file(
            folder, "fail_init", ps_process=_ANSWER, ps_open=_OPEN, extra=_data(_WORDS, _ABOUT), **wants
        ),
    }  # fmt: skip
