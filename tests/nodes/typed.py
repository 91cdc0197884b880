"""A node with a parameter of every kind, and the same with annotations that nobody knows."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any, Literal

import numpy as np

from penstock.executors.contract import RuntimeData


class Mode(enum.Enum):
    """How."""

    FAST = "fast"
    GOOD = "good"


class Level(enum.IntEnum):
    """How much."""

    LOW = 1
    HIGH = 2


class Typed:
    """Answers with what it got, in Python's words."""

    def __init__(
        self,
        *,
        whole: int = 0,
        number: float = 0.0,
        text: str = "",
        flag: bool = False,
        choice: Literal["a", "b", 3] = "a",
        maybe: int | None = None,
        several: list[int] = [],  # noqa: B006
        pair: tuple[int, str] = (0, ""),
        some: set[str] = set(),  # noqa: B006
        by_name: dict[str, float] = {},  # noqa: B006
        path: Path = Path("x"),
        maybe_path: Path | None = None,
        text_or_path: str | Path | list[Path] = "",
        paths: list[Path] = [],  # noqa: B006
        mode: Mode = Mode.FAST,
        maybe_mode: Mode | None = None,
        modes: list[Mode] = [],  # noqa: B006
        level: Level = Level.LOW,
        array: np.ndarray[Any, Any] | None = None,
        anything: Any = None,
        unsaid=None,  # noqa: ANN001
    ) -> None:
        self.got = {name: value for name, value in locals().items() if name != "self"}

    def process(self, data: RuntimeData) -> RuntimeData:
        name = data.as_text()
        return RuntimeData.text(repr(self.got[name]))
