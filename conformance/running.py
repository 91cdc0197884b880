"""Runs one check in its lab, and says how it ended."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import trio

from penstock.conformance.adapter import Adapter
from penstock.conformance.checking import Check, marking_of
from penstock.conformance.expect import (
    Failure,
    Hang,
    Inconclusive,
    NotApplicable,
    NotExercised,
    failure_in,
    message,
)
from penstock.conformance.lab import Lab, Settings
from penstock.conformance.results import Outcome, Result
from penstock.executors.contract import EndOfStream, ExecutorType, ServiceError

__all__ = ["run_check"]

_SUITE = Path(__file__).parent
_TESTED = ("reference", "mutants")
_REASONS = {
    NotApplicable: Outcome.NOT_APPLICABLE,
    NotExercised: Outcome.NOT_EXERCISED,
    Inconclusive: Outcome.INCONCLUSIVE,
}


def run_check(
    function: Check,
    adapter: Adapter,
    settings: Settings,
    kind: ExecutorType | None,
    turn: int = 0,
    beat: Callable[[], None] = lambda: None,
) -> tuple[Result, BaseException | None]:
    """The result, and the exception behind it; `beat` is called for as long as the loop turns."""
    marking = marking_of(function)
    lab = Lab(adapter, settings, marking.requirement.id, kind)
    start = time.perf_counter()
    error: BaseException | None = None
    try:
        trio.run(_within, function, lab, marking.budget_s * settings.scale, beat)
    except BaseException as raised:  # a KeyboardInterrupt, too: nobody types here, so the bridge has raised it
        error = failure_in(raised)
    finally:
        lab.close()
    outcome, expected, actual = _judged(error)
    if outcome is Outcome.ERROR and error is not None:
        lab.events.extend(traceback.format_exception(error))
    failed = outcome.failed or outcome is Outcome.ERROR
    result = Result(
        requirement=marking.requirement.id,
        check=getattr(function, "__name__", "check"),
        outcome=outcome,
        kind=str(kind or ""),
        expected=expected,
        actual=actual,
        ms=round((time.perf_counter() - start) * 1000, 2),
        turn=turn,
        witness=list(lab.events) if failed else [],
        measured=lab.measured,
    )
    return result, error


async def _within(function: Check, lab: Lab, budget_s: float, beat: Callable[[], None]) -> None:
    with trio.move_on_after(budget_s) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_beating, beat)
            await function(lab)
            nursery.cancel_scope.cancel()
    if scope.cancelled_caught:
        raise Hang(f"the check comes to its end within {budget_s:g} s", _last(lab))


async def _beating(beat: Callable[[], None]) -> None:
    while True:
        beat()
        await trio.sleep(0.5)


def _last(lab: Lab) -> str:
    with contextlib.suppress(IndexError):
        return f"it did not; the last that happened: {lab.events[-1].strip()}"
    return "it did not"


def _judged(error: BaseException | None) -> tuple[Outcome, str, str]:
    if error is None:
        return Outcome.PASS, "", ""
    for kind, outcome in _REASONS.items():
        if isinstance(error, kind):
            return outcome, "", str(error)
    if isinstance(error, Hang):
        return Outcome.HANG, error.expected, error.actual
    if isinstance(error, Failure):
        return Outcome.FAIL, error.expected, error.actual
    if isinstance(error, ServiceError | EndOfStream):
        where = "; ".join(getattr(error, "__notes__", []))
        text = f"{type(error).__name__}({message(error)!r})" + (f" {where}" if where else "")
        return Outcome.FAIL, "no error", f"it raised {text}"
    if isinstance(error, trio.TrioInternalError):
        cause = failure_in(error.__cause__ or error)
        return Outcome.FAIL, "no task of the bridge fails in the background", f"one raised {cause!r}"
    return _foreign(error)


def _foreign(error: BaseException) -> tuple[Outcome, str, str]:
    """An exception that nobody caught: the suite's fault where the suite's own line raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    text = f"{type(error).__name__}: {error}"
    deepest = Path(frames[-1].filename) if frames else _SUITE
    ours = deepest.is_relative_to(_SUITE) and deepest.relative_to(_SUITE).parts[0] not in _TESTED
    if ours or not any(Path(frame.filename).is_relative_to(_SUITE) for frame in frames):
        where = f" ({deepest.name}:{frames[-1].lineno})" if frames else ""
        return Outcome.ERROR, "the suite's own code works", f"{text}{where}"
    return Outcome.FAIL, "a result, or an error of the contract", f"it raised {text}"
