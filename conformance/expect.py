"""How a check says what it expected and what it saw."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from penstock.executors.contract import DataType, RuntimeData, ServiceError

__all__ = [
    "Failure",
    "ForeignError",
    "Hang",
    "Inconclusive",
    "NotApplicable",
    "NotExercised",
    "described",
    "equal",
    "expect",
    "failure_in",
    "raised",
    "same",
]

_Error = TypeVar("_Error", bound=BaseException)
_FEW_BYTES = 120


class Failure(AssertionError):
    """The implementation does not do what the requirement says."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"expected {expected}; actual: {actual}")
        self.expected = expected
        self.actual = actual


class Hang(Failure):
    """Something did not come to an end within its bound."""


class ForeignError(Failure):
    """An exception that the contract does not know came out of a public method."""

    def __init__(self, call: str, error: BaseException) -> None:
        text = str(error).strip() or repr(error)
        super().__init__("a result, or an error of the contract", f"{call} raised {type(error).__name__}: {text}")
        self.error = error


class NotExercised(Exception):
    """It could not be tried here; the text says what is missing. Never a pass."""


class Inconclusive(Exception):
    """It was tried, and the machine was too busy to tell."""


class NotApplicable(Exception):
    """It is not asked of this kind of implementation."""


def expect(condition: object, expected: str, actual: str) -> None:
    """Fail unless the condition holds."""
    if not condition:
        raise Failure(expected, actual)


def equal(actual: object, expected: object, what: str) -> None:
    """Fail unless the two are equal."""
    if type(actual) is not type(expected) or actual != expected:
        raise Failure(f"{what} = {_short(expected)}", _short(actual))


def same(actual: object, expected: RuntimeData, what: str, *, timestamps: bool = False) -> None:
    """Fail unless both data are equal in type, bytes, dtype, shape, rate, channels, session and meta."""
    if not isinstance(actual, RuntimeData):
        raise Failure(f"{what} is RuntimeData", _short(actual))
    fields = ["data_type", "dtype", "shape", "sample_rate", "channels", "session_id", "meta"]
    for name in fields + (["timestamp_ns"] if timestamps else []):
        want, got = getattr(expected, name), getattr(actual, name)
        if want != got:
            raise Failure(f"{what} keeps {name} = {_short(want)}", f"{name} = {_short(got)}")
    want_bytes, got_bytes = bytes(expected.payload), _bytes(actual)
    if want_bytes != got_bytes:
        raise Failure(f"{what}: equal payloads, {described(expected)}", _difference(want_bytes, got_bytes))


async def raised(kind: type[_Error], call: Awaitable[object], what: str, *, text: str | None = None) -> _Error:
    """The error that a call raises; fails where it returns, or raises another one.

    Args:
        kind: its class.
        call: the call, not yet awaited.
        what: the call in words.
        text: the exact message, or with a trailing "..." its beginning.
    """
    name = kind.__name__
    wanted = f"{what} raises {name}" + (f"({text!r})" if text is not None else "")
    try:
        result = await call
    except ForeignError as error:
        raise Failure(wanted, error.actual) from error
    except ServiceError as error:
        if not isinstance(error, kind):
            raise Failure(wanted, f"it raised {described(error)}") from error
        expect(text is None or _fits(message(error), text), wanted, f"the message is {message(error)!r}")
        return error
    raise Failure(wanted, f"it returned {described(result)}")


def message(error: BaseException) -> str:
    """The contract's text of an error."""
    text = getattr(error, "message", None)
    return text if isinstance(text, str) else str(error)


def described(value: object) -> str:
    """A datum, an error or anything else, short."""
    if isinstance(value, BaseException):
        return f"{type(value).__name__}({message(value)!r})"
    return _short(value)


def failure_in(error: BaseException) -> BaseException:
    """The first thing that matters in nested exception groups."""
    leaves = _leaves(error)
    for kind in (Failure, NotApplicable, NotExercised, Inconclusive):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return leaves[0] if leaves else error


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for part in error.exceptions for leaf in _leaves(part) if type(leaf).__name__ != "Cancelled"]


def _fits(text: str, wanted: str) -> bool:
    return text.startswith(wanted[:-3]) if wanted.endswith("...") else text == wanted


def _bytes(data: RuntimeData) -> bytes:
    try:
        return bytes(memoryview(data.payload).cast("B"))
    except (TypeError, ValueError) as error:
        raise Failure("a payload of bytes", f"{type(data.payload).__name__} ({error})") from None


def _difference(want: bytes, got: bytes) -> str:
    if len(want) != len(got):
        return f"{len(got)} bytes instead of {len(want)}" + (
            f": {_few(got, 0)} instead of {_few(want, 0)}" if max(len(got), len(want)) <= _FEW_BYTES else ""
        )
    at = next(index for index, (a, b) in enumerate(zip(want, got, strict=True)) if a != b)
    return f"they differ from byte {at} on: {_few(got, at)} instead of {_few(want, at)}"


def _few(data: bytes, at: int) -> str:
    """All of it where it is little and text, or the bytes from there on."""
    if len(data) <= _FEW_BYTES:
        text = data.decode("utf-8", "replace")
        if text.isprintable() and "\ufffd" not in text:
            return repr(text)
    return data[at : at + 8].hex(" ")


def _said(data: RuntimeData) -> str:
    """The words of a small text or JSON value."""
    if data.data_type not in {DataType.TEXT, DataType.JSON} or not 0 < data.nbytes <= _FEW_BYTES:
        return ""
    try:
        return f" {_bytes(data).decode()}"
    except (Failure, UnicodeDecodeError):
        return ""


def _short(value: Any) -> str:
    text = str(value) + _said(value) if isinstance(value, RuntimeData) else repr(value)
    return text if len(text) <= 300 else f"{text[:280]} ... ({len(text)} characters)"
