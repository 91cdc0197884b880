"""`penstock show`: what is in a recording."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.engine.recording import RecordingReader
from penstock.executors.contract import DataType, RuntimeData

__all__ = ["show_recording"]

_LONGEST_VALUE = 60


def show_recording(path: str, lines: int) -> None:
    """The first data of a recording, and how many there are of each type.

    Raises:
        Validation: it can not be read, or is none.
    """
    console = Console(highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("#", "at s", "type", "what", "bytes"):
        table.add_column(name, justify="right" if name in {"#", "at s", "bytes"} else "left", overflow="fold")
    kinds: Counter[str] = Counter()
    nbytes = last_ns = 0
    with RecordingReader(Path(path)) as recording:
        for number, (since_ns, data) in enumerate(recording):
            if number < lines:
                table.add_row(str(number), f"{since_ns / 1e9:.3f}", *_described(data), f"{data.nbytes:,}")
            kinds[str(data.data_type).lower()] += 1
            nbytes += data.nbytes
            last_ns = since_ns
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(recording.recorded_at_ns / 1e9))
        console.print(Text(f"{recording.edge or path}, recorded {began}", style="bold"))
        what = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items()) or "no data"
        console.print(Text(f"{what}; {nbytes:,} bytes in {last_ns / 1e9:.3f} s"))
        if lines and kinds:
            console.print(table)
        if kinds.total() > lines > 0:
            console.print(Text(f"... and {kinds.total() - lines:,} more (--lines)"))
        if recording.is_cut_off:
            console.print(Text("the last record is cut off: whoever wrote it was killed, or the disk is full"))


def _described(data: RuntimeData) -> tuple[str, Text]:
    """(type, what it is), in few words."""
    kind = str(data.data_type).lower()
    if data.data_type is DataType.AUDIO:
        return kind, Text(f"{data.dtype} {data.sample_rate} Hz x{data.channels}, {data.shape[0]:,} samples")
    if data.data_type is DataType.TENSOR:
        return kind, Text(f"{data.dtype} {list(data.shape)}")
    value = str(data.payload, "utf-8", "replace")
    return kind, Text(value if len(value) <= _LONGEST_VALUE else value[: _LONGEST_VALUE - 3] + "...")
