"""Any edge can be recorded, and what was recorded comes again bit by bit."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import trio
import trio.testing
from support import NODES as SMALL
from support import Started, manifest, penstock, until

from penstock.engine.options import RunOptions
from penstock.engine.pipeline import Pipeline
from penstock.engine.problems import PipelineInvalid
from penstock.engine.recording import RecordingReader, RecordingWriter
from penstock.executors.contract import IPCError, NodeExecution, RuntimeData, Validation

STRUCTURED = np.dtype([("x", "<f4"), ("y", "u1", (2,)), ("z", [("q", ">i2")])])
RNG = np.random.default_rng(5)

EVERYTHING = [
    RuntimeData.text(""),
    RuntimeData.text("täxt \U0001f40c\ud800", session_id="a", timestamp_ns=-1),
    RuntimeData.json(
        {"a": [1, 2.5, None, "ü"]}, session_id="", timestamp_ns=(1 << 63) - 1, meta={"k": {"n": [1, None]}}
    ),
    *(
        RuntimeData.tensor(RNG.integers(0, 100, (2, 3)).astype(dtype), timestamp_ns=1)
        for dtype in "? u1 i1 <u2 <i2 <u4 <i4 <u8 <i8 <f2 <f4 <f8 <c8 <c16 >i2 >i4 >f4 >f8 >c16 S5 <U3 <M8[ns]".split()
    ),
    RuntimeData.tensor(np.array([np.nan, -0.0, np.inf, -np.inf]), timestamp_ns=2, meta={"scale": 0.1}),
    RuntimeData.tensor(np.zeros((3, 0, 2), np.float32)),
    RuntimeData.tensor(np.float64(3.25)),
    RuntimeData.tensor(np.arange(64, dtype=np.int8).reshape(2, 2, 2, 2, 2, 2)),
    RuntimeData.tensor(np.zeros(4, STRUCTURED), session_id="s" * 300),
    RuntimeData.tensor(RNG.standard_normal((300, 400)), meta={"text": "ä" * 9_000}),
    *(
        RuntimeData.audio(RNG.integers(0, 100, (40, 2)).astype(dtype), sample_rate=44_100, timestamp_ns=7)
        for dtype in ("u1", "<i2", "<i4", "<f4", "<f8")
    ),
]


def written(path, data):
    writer = RecordingWriter(path, "a.out -> b.in")
    for datum in data:
        writer.write(datum)
    writer.close()
    return path


def read(path):
    with RecordingReader(path) as recording:
        data = [datum for _, datum in recording]
    return data, recording.is_cut_off


# The file


def test_every_datum_comes_back_bit_by_bit(tmp_path):
    """Each type, dtype, shape, session, time stamp and meta."""
    data, is_cut_off = read(written(tmp_path / "f", EVERYTHING))
    assert data == EVERYTHING
    assert not is_cut_off
    for before, after in zip(EVERYTHING, data, strict=True):
        assert bytes(before.payload) == after.payload
        assert (before.dtype, before.shape, before.meta) == (after.dtype, after.shape, after.meta)


def test_wherever_a_file_is_cut_off_what_stands_before_is_read(tmp_path):
    """A file without its last bytes has the records that are whole, and says that it is cut off."""
    data = EVERYTHING[:4]
    whole = written(tmp_path / "f", data).read_bytes()
    ends = [len(written(tmp_path / "g", data[:count]).read_bytes()) for count in range(len(data) + 1)]
    cut = tmp_path / "cut"
    for size in range(ends[0], len(whole) + 1):
        cut.write_bytes(whole[:size])
        complete = sum(size >= end for end in ends[1:])
        assert read(cut) == (data[:complete], size not in ends)
    for size in range(ends[0]):
        cut.write_bytes(whole[:size])
        with pytest.raises(Validation, match="is no recording|cut off in its head|of version"):
            RecordingReader(cut)


def test_what_is_no_recording_is_refused(tmp_path):
    """Another file, another version, a damaged record: each is said, and nothing is made of it."""
    path = tmp_path / "f"
    path.write_bytes(b"RIFF" + bytes(100))
    with pytest.raises(Validation, match="is no recording"):
        RecordingReader(path)
    whole = written(path, EVERYTHING[:2]).read_bytes()
    path.write_bytes(b"PSTKREC7" + whole[8:])
    with pytest.raises(Validation, match="version 7"):
        RecordingReader(path)
    at = whole.index(b"PSR1")
    for where, what in ((at, b"X"), (at + 8, b"\5"), (at + 40, b"\xff" * 8), (at + 80, b"\xff")):
        path.write_bytes(whole[:where] + what + whole[where + len(what) :])
        with pytest.raises((Validation, IPCError), match="makes no sense|says that it has"):
            read(path)


def test_what_can_not_be_recorded_is_said(tmp_path):
    """A time stamp that is too large, or meta that JSON can not say; the file stays whole."""
    writer = RecordingWriter(tmp_path / "f")
    writer.write(RuntimeData.text("a", timestamp_ns=0))
    with pytest.raises(ValueError, match="time stamp"):
        writer.write(RuntimeData.text("a", timestamp_ns=1 << 64))
    with pytest.raises(Validation, match="meta"):
        writer.write(RuntimeData.text("a", meta={"a": {1}}))
    writer.write(RuntimeData.text("b", timestamp_ns=0))
    writer.close()
    data, is_cut_off = read(tmp_path / "f")
    assert [datum.as_text() for datum in data] == ["a", "b"]
    assert not is_cut_off


# In a run


async def replayed(path, executor, speed="max"):
    pipeline = Pipeline().add("again", "replay", {"path": str(path), "speed": speed}, executor=executor)
    async with pipeline.output("out", "again").open() as run:
        return [data async for data in run.outputs("out")]


@pytest.mark.parametrize("speed", ["max", "original"])
@pytest.mark.parametrize("executor", ["native", "multiprocess"])
async def test_an_edge_is_recorded_and_given_again(tmp_path, executor, speed):
    """From a native node or a worker, into this process, and out of it again: the same bits."""
    pipeline = (
        Pipeline().add("echo", f"{SMALL}:echo", executor=executor).add("sink", f"{SMALL}:none", executor=executor)
    )
    pipeline.input("in", "echo").connect("echo -> sink", policy="drop_oldest", capacity=1)
    path = tmp_path / "folder" / "f"
    async with pipeline.open(RunOptions(record={"echo -> sink": path})) as run:
        for data in EVERYTHING:
            await run.send("in", data)
    (edge,) = (edge for edge in run.report().edges if edge.name.startswith("echo.out -> record/"))
    assert (edge.sent, edge.received, edge.dropped) == (len(EVERYTHING), len(EVERYTHING), 0)
    assert await replayed(path, executor, speed) == EVERYTHING


async def test_what_a_program_sends_and_receives_is_recorded(tmp_path):
    """The edges of external inputs and outputs are edges like others; several are recorded at once."""
    pipeline = Pipeline().add("upper", f"{SMALL}:upper", executor="multiprocess").input("in", "upper")
    record = {"in -> upper": "in", "upper.out -> out": "out", "upper.out -> more": "more"}
    options = RunOptions(record={edge: tmp_path / name for edge, name in record.items()})
    async with pipeline.output("out", "upper").output("more", "upper").open(options) as run:
        await run.send("in", "a")
        await run.receive("out")
    nodes = {node.node_id for node in run.report().nodes}
    assert nodes == {"upper", "record/in", "record/upper.out", "record/upper.out2"}
    assert [data.as_text() for data in read(tmp_path / "more")[0]] == ["A"]
    assert [data.as_text() for data in read(tmp_path / "in")[0]] == ["a"]
    assert [data.as_text() for data in read(tmp_path / "out")[0]] == ["A"]


def test_original_speed_keeps_the_times(tmp_path):
    """Between two data there is the time that was between them when they were recorded."""
    times = [0, 5_000_000_000, 5_000_000_000, 3_600_000_000_000]
    path = written(tmp_path / "f", [RuntimeData.text(str(ns)) for ns in times])
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PSR1")
    for ns in times:
        raw[at + 56 : at + 64] = (ns + 7_000_000_000).to_bytes(8, "little")
        at = raw.find(b"PSR1", at + 1)
    path.write_bytes(raw)

    async def main():
        pipeline = Pipeline().add("again", "replay", {"path": str(path)}).output("out", "again")
        async with pipeline.open() as run:
            start = trio.current_time()
            return [(round(trio.current_time() - start, 1), data.as_text()) async for data in run.outputs("out")]

    came = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert came == [(0, "0"), (5, "5000000000"), (5, "5000000000"), (3600, "3600000000000")]


async def test_a_recording_that_can_not_be_made_is_a_problem_before_the_start(tmp_path):
    """No such edge, or a folder in the place of the file."""
    pipeline = Pipeline().add("a", f"{SMALL}:echo").add("b", f"{SMALL}:none").input("in", "a").connect("a -> b")
    for record, text in (
        (
            {"a -> c": tmp_path / "f"},
            r"--record a -> c=.*: there is no edge 'a -> c': there is a.out -> b.in, in -> a.in",
        ),
        ({"nonsense": tmp_path / "f"}, "there is no edge 'nonsense'"),
        ({"a -> b": tmp_path}, "is a directory"),
    ):
        with pytest.raises(PipelineInvalid, match=text):
            async with pipeline.open(RunOptions(record=record)):
                pass


async def test_a_disk_that_is_full_fails_the_run_by_name():
    """Nothing is recorded any more: that is not to be overlooked."""
    pipeline = Pipeline().add("a", f"{SMALL}:echo").add("b", f"{SMALL}:none").input("in", "a").connect("a -> b")
    with pytest.raises((NodeExecution, Validation), match="/dev/full can not be written: No space left"):
        async with pipeline.open(RunOptions(record={"a -> b": "/dev/full"})) as run:
            await run.send("in", "x")
            await run.wait()


# The commands


def graph(folder):
    return manifest(
        folder,
        """
        nodes:
          in: {type: counter, params: {count: null, period_s: 0.001}, executor: multiprocess}
          out: {type: json_lines, params: {path: out.jsonl}}
        edges: [in -> out]
        """,
    )


def test_a_run_that_was_killed_leaves_a_recording(tmp_path):
    """SIGKILL in the middle: all that was recorded can be read, shown, and given again."""
    path = tmp_path / "f"
    with Started("run", "--record", f"in -> out={path}", graph(tmp_path)) as started:
        until(lambda: path.exists() and path.stat().st_size > 20_000, "something is recorded")
        started.send(signal.SIGKILL)
    data, _ = read(path)
    assert [datum.as_json()["n"] for datum in data] == list(range(len(data)))
    with path.open("ab") as file:
        file.write(b"PSR1")
    shown = penstock("show", "--lines", 3, path).check()
    assert shown.code == 0
    assert "in.out -> out.in, recorded" in shown.out
    assert '{"n":2}' in shown.out
    assert '{"n":3}' not in shown.out
    assert f"{len(data):,} json" in shown.out
    assert "cut off" in shown.out
    again = manifest(
        tmp_path,
        f"""
        nodes:
          in: {{type: replay, params: {{path: {path}, speed: max}}, executor: multiprocess}}
          out: {{type: json_lines, params: {{path: again.jsonl}}}}
        edges: [in -> out]
        """,
        "again.yaml",
    )
    done = penstock("run", again).check()
    assert done.code == 0
    assert "cut off" in done.err
    assert (tmp_path / "again.jsonl").read_text().splitlines() == [f'{{"n": {n}}}' for n in range(len(data))]


def test_the_commands_say_what_is_wrong(tmp_path):
    """A record option without a file, an edge that is not there, a file that is no recording or is not there."""
    assert "EDGE=FILE" in penstock("run", "--record", "in -> out", graph(tmp_path)).check().err
    twice = ("--record", "in -> out=f", "--record", "in -> out=g")
    assert "is recorded already" in penstock("run", *twice, graph(tmp_path)).check().err
    refused = penstock("run", "--record", f"in -> aut={tmp_path}/f", graph(tmp_path)).check()
    assert refused.code == 2
    assert "did you mean 'in.out -> out.in'" in refused.err
    assert "is no recording" in penstock("show", tmp_path / "graph.yaml").check().err
    assert "does not exist" in penstock("show", tmp_path / "none").check().err
    bad = manifest(
        tmp_path,
        f"""
        nodes:
          in: {{type: replay, params: {{path: {tmp_path}/graph.yaml}}}}
          out: {{type: log}}
        edges: [in -> out]
        """,
        "bad.yaml",
    )
    assert "is no recording" in penstock("validate", bad).check().err
