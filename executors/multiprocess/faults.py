"""What a worker does with a datum that its node fails on, where the run is to go on: skip it, or send it to the engine.

A dead letter goes over an edge of its own to the engine, as outputs go: so it is published once, also across a crash.
Its error travels in its `meta`, under a key of ours.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from penstock.executors.contract import NodeExecution, RuntimeData
from penstock.executors.multiprocess.outlets import Outlets
from penstock.executors.multiprocess.page import PageWord

__all__ = ["DEAD_LETTERS", "Faults", "open_letter"]

DEAD_LETTERS: Final = "!dead letters"
"""Where the port of an output edge stands, of the edge for dead letters."""
_ERROR: Final = "!penstock.error"


class Faults:
    """The failed calls of a node that may fail."""

    def __init__(self, outlets: Outlets, words: memoryview) -> None:
        self._outlets = outlets
        self._words = words
        self._letters = [(outlet, 0) for outlet in outlets.all if outlet.spec.port == DEAD_LETTERS]

    def take(self, error: NodeExecution, data: RuntimeData, port: str) -> None:
        """Count a datum that the node failed on, and set it aside if that is asked for."""
        self._words[PageWord.SET_ASIDE] += 1
        if self._words[PageWord.SET_ASIDE] == 1:
            logging.getLogger("penstock").warning("%s; it goes on without such data (told once)", error)
        if self._letters:
            said = {
                "port": port,
                "message": error.message,
                "kind": error.kind,
                "location": error.location,
                "details": error.details,
            }
            self._outlets.publish(self._letters, replace(data, meta={**data.meta, _ERROR: said}))


def open_letter(node_id: str, letter: RuntimeData) -> tuple[str, RuntimeData, NodeExecution]:
    """The port, the datum and the error of a dead letter."""
    meta = dict(letter.meta)
    said = meta.pop(_ERROR, {})
    assert isinstance(said, dict)
    error = NodeExecution(
        node_id,
        str(said.get("message", "")),
        kind=str(said.get("kind", "")),
        location=str(said.get("location", "")),
        details=str(said.get("details", "")),
    )
    return str(said.get("port", "")), replace(letter, meta=meta), error
