"""What tests of whole programs share: the command, waiting, manifests, WAV files, a /dev/shm of one's own."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import struct
import subprocess
import sysconfig
import tempfile
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import psutil
import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
SPEECH = ROOT / "examples" / "speech"
NODES = "nodes.small"
MORE = "nodes.more"

_MARK = "PENSTOCK_TEST_MARK"
_DEADLINE_S = 30.0
_T = TypeVar("_T")


# Waiting


def until(ask: Callable[[], _T], what: str, *, deadline_s: float = _DEADLINE_S) -> _T:
    """Ask until the answer is true, and return it; a test that waits in vain says for what."""
    end = time.monotonic() + deadline_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            pytest.fail(f"waited {deadline_s:g} s in vain: {what}")
        time.sleep(0.005)


# The command


@functools.cache
def _cache() -> str:
    """Compiled wasm modules stay out of the user's cache; one cache for all commands of a session."""
    folder = tempfile.mkdtemp(prefix="penstock-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def environment(**more: str) -> dict[str, str]:
    """What a command is started with: it finds `nodes`, and a forgotten resource is said on stderr."""
    return {
        **os.environ,
        "PYTHONPATH": str(TESTS),
        "PYTHONWARNINGS": "default::ResourceWarning",
        "XDG_CACHE_HOME": _cache(),
        "COLUMNS": "200",
        **more,
    }


def command() -> str:
    """The installed `penstock`."""
    return os.path.join(sysconfig.get_path("scripts"), "penstock")


@dataclass(slots=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Its standard output, which is exactly one JSON document."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    def check(self) -> Self:
        """No command shows a Python traceback or a forgotten resource to its user."""
        assert "Traceback" not in self.err, self.err
        assert "Traceback" not in self.out, self.out
        assert "ResourceWarning" not in self.err, self.err
        assert "Exception ignored" not in self.err, self.err
        return self


def penstock(*args: object, cwd: Path | None = None, before: Sequence[str] = (), timeout_s: float = 60.0) -> Done:
    """Run a command to its end."""
    with Started(*args, cwd=cwd, before=before) as started:
        return started.finish(timeout_s)


class Started:
    """A command that runs. Leaving the block ends it with everything that it started."""

    def __init__(self, *args: object, cwd: Path | None = None, before: Sequence[str] = ()) -> None:
        self.mark = uuid.uuid4().hex
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # no pipe to fill up
        self.process = subprocess.Popen(
            [*before, command(), *map(str, args)],
            cwd=cwd,
            env=environment(**{_MARK: self.mark}),
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            start_new_session=True,
        )
        self.pid = self.process.pid

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def finish(self, timeout_s: float = 60.0) -> Done:
        """Wait for its end."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the command did not end within {timeout_s:g} s; it had said:\n{self.text(self._err)}")
        return Done(code, self.text(self._out), self.text(self._err))

    def said(self) -> str:
        """Its standard error so far."""
        return self.text(self._err)

    def relatives(self) -> list[psutil.Process]:
        """Every process that descends from the command, also when that is gone; without the command itself."""
        return [process for process in psutil.process_iter() if process.pid != self.pid and self._is_ours(process)]

    def workers(self) -> dict[int, psutil.Process]:
        """Its worker processes by pid."""
        return {process.pid: process for process in self.relatives() if "multiprocess.worker" in _line(process)}

    def token(self) -> str:
        """What all segments of this run have in their names."""
        return until(lambda: token_of(self.pid), "the run owns shared memory")

    @staticmethod
    def text(file: Any) -> str:
        file.seek(0)
        return bytes(file.read()).decode()

    def _is_ours(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error, OSError):
            return bool(process.status() != psutil.STATUS_ZOMBIE and process.environ().get(_MARK) == self.mark)
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for process in self.relatives():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._out.close()
        self._err.close()


def _line(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


# Shared memory


def token_of(pid: int, folder: str = "/dev/shm") -> str:
    """The token of the run of a process, or nothing while it has none."""
    for name in _listing(folder):
        if name.endswith("-owner"):
            with contextlib.suppress(OSError, ValueError):
                if json.loads(Path(folder, name).read_bytes()).get("pid") == pid:
                    return name.split("-")[1]
    return ""


def segments(token: str, folder: str = "/dev/shm") -> set[str]:
    """The names of what a run has in shared memory."""
    return {name for name in _listing(folder) if token in name}


def _listing(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.startswith("pstk-")]
    except FileNotFoundError:  # another system, which keeps segments elsewhere
        return []


class PrivateShm:
    """A mount namespace with a small /dev/shm of its own; needs the right to mount."""

    def __init__(self, size: str) -> None:
        if os.geteuid() or not shutil.which("unshare"):
            pytest.skip("a /dev/shm of one's own needs root on Linux")
        script = f"mount -t tmpfs -o size={size} tmpfs /dev/shm && echo mounted && exec cat"
        self._holder = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"mounted\n":
            self.close()
            pytest.skip("this root may not mount")
        self.before = ["nsenter", "-m", f"-t{self._holder.pid}"]

    @property
    def folder(self) -> str:
        """Where this process sees it."""
        return f"/proc/{self._holder.pid}/root/dev/shm"

    def close(self) -> None:
        self._holder.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# Manifests and reports


def manifest(folder: Path, text: str, name: str = "graph.yaml") -> Path:
    """A manifest with this text, in this folder."""
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return path


def ledgers(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The edges of a report by name, after a look at their sums."""
    edges = {edge["name"]: edge for edge in report["edges"]}
    for edge in edges.values():
        assert edge["sent"] == edge["received"] + edge["dropped"] + edge["in_flight"], edge
        assert edge["in_flight"] >= 0, edge
        assert edge["dropped"] == 0, edge
    return edges


def drained(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The edges of a report, after a look that nothing is in flight on them."""
    edges = ledgers(report)
    assert all(edge["in_flight"] == 0 for edge in edges.values()), edges
    return edges


# WAV files


@dataclass(frozen=True, slots=True)
class Wav:
    """A WAV file as it stands on the disk."""

    tag: int
    rate: int
    bits: int
    frames: np.ndarray[Any, Any]
    """Shape (frames, channels); 24 bits as bytes, shape (frames, channels * 3)."""


def read_wav(path: Path) -> Wav:
    """Read a WAV file, strictly: the sizes of its chunks must be those of the file."""
    raw = path.read_bytes()
    assert raw[:4] == b"RIFF", raw[:4]
    assert raw[8:12] == b"WAVE", raw[8:12]
    assert struct.unpack("<I", raw[4:8])[0] == len(raw) - 8
    chunks = dict(_chunks(raw))
    tag, channels, rate, _, block, bits = struct.unpack("<HHIIHH", chunks[b"fmt "][:16])
    tag = struct.unpack("<H", chunks[b"fmt "][24:26])[0] if tag == 0xFFFE else tag
    assert block == channels * bits // 8
    kind = {(1, 8): "u1", (1, 16): "<i2", (1, 24): "u1", (1, 32): "<i4", (3, 32): "<f4"}[tag, bits]
    data = np.frombuffer(chunks[b"data"], kind)
    return Wav(tag, rate, bits, data.reshape(-1, block // data.itemsize))


def _chunks(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at < len(raw):
        name, size = raw[at : at + 4], struct.unpack("<I", raw[at + 4 : at + 8])[0]
        assert at + 8 + size <= len(raw), f"chunk {name!r} is cut off"
        yield name, raw[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def write_wav(path: Path, rate: int, frames: np.ndarray[Any, Any], *, bits: int, is_float: bool = False) -> Path:
    """Write frames of shape (frames, channels) in [-1, 1)."""
    channels = frames.shape[1]
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 3 if is_float else 1, channels, rate, rate * block, block, bits)
    data = _encoded(frames, bits, is_float=is_float)
    body = (
        b"WAVEfmt "
        + struct.pack("<I", 16)
        + fmt
        + b"data"
        + struct.pack("<I", len(data))
        + data
        + b"\0" * (len(data) % 2)
    )
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _encoded(frames: np.ndarray[Any, Any], bits: int, *, is_float: bool) -> bytes:
    if is_float:
        return frames.astype("<f4").tobytes()
    steps = np.clip(np.round(frames * 2.0 ** (bits - 1)), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1).astype("<i4")
    if bits == 8:
        return (steps + 128).astype("u1").tobytes()
    if bits == 16:
        return steps.astype("<i2").tobytes()
    return steps.reshape(-1, 1).view("u1").reshape(-1, 4)[:, : bits // 8].tobytes()
