"""Processes that read some rings and write others, and wait for both at one bell."""

from __future__ import annotations

from model.behaviour import Body
from model.operations import load
from model.ring_model import Ring, acknowledge, end, receive, send, take


def stage(source: Ring, sink: Ring) -> Body:
    """The middle of a chain: reads one ring and writes the next, waiting for both at one bell."""
    position = yield load(source.ACK)
    while (yield from receive((source,), (position,))) == (0, "record"):
        yield from take(source, position)
        if not (yield from send(sink, position, (source,))):
            return False
        position += 1
        yield from acknowledge(source, position)
    yield from end(sink)
    return True


def source(wide: Ring, narrow: Ring) -> Body:
    """Sends each record along two rings, one after the other."""
    for record in range(wide.messages):
        for at in (wide, narrow):
            if not (yield from send(at, record)):
                return False
    yield from end(wide)
    yield from end(narrow)
    return True


def multiplier(source: Ring, sink: Ring, outputs: tuple[int, ...]) -> Body:
    """Sends `outputs[n]` records for record n."""
    sent = 0
    for record, times in enumerate(outputs):
        yield from receive((source,), (record,))
        yield from take(source, record)
        for _ in range(times):
            if not (yield from send(sink, sent, (source,))):
                return False
            sent += 1
        yield from acknowledge(source, record + 1)
    yield from end(sink)
    return True


def zipper(left: Ring, right: Ring) -> Body:
    """Takes from both rings in turn, and then what the right one has left."""
    both = (left, right)
    for record in range(left.messages):
        for at in both:
            yield from receive((at,), (record,), both)
            yield from take(at, record)
        for at in both:
            yield from acknowledge(at, record + 1)
    position = left.messages
    while (yield from receive((right,), (position,), both)) == (0, "record"):
        yield from take(right, position)
        position += 1
        yield from acknowledge(right, position)
    return True
