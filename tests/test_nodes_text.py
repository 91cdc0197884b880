"""`json_lines`, `json_source`, `text_source`, `log`, `rate_limit`, `counter`, and the table of names."""

import importlib
import io
import json
import logging
import subprocess
import sys
from contextlib import aclosing

import numpy as np
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine.nodes import BUILTIN
from penstock.engine.nodes.counter import Counter
from penstock.engine.nodes.json_lines import JsonLines
from penstock.engine.nodes.lines import JsonSource, TextSource
from penstock.engine.nodes.log import Log
from penstock.engine.nodes.rate_limit import RateLimit
from penstock.executors.contract import NodeContext, RuntimeData, Validation

CONTEXT = NodeContext("n", "t")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def write(sink, *data):
    sink.check()
    sink.initialize(CONTEXT)
    for datum in data:
        sink.process(datum)
    sink.cleanup()
    sink.cleanup()


def read(source):
    source.check()
    return list(source.produce())


@given(st.lists(JSON, max_size=5))
@settings(max_examples=60, deadline=None)
def test_json_lines_read_back_as_written(tmp_path_factory, values):
    """Any JSON goes through a file and back, one line each."""
    path = tmp_path_factory.mktemp("json") / "x.jsonl"
    write(JsonLines(path=path), *map(RuntimeData.json, values))
    assert path.read_bytes().count(b"\n") == len(values)
    assert [d.as_json() for d in read(JsonSource(path=path))] == values


def test_text_is_a_json_string(tmp_path):
    """Each line is JSON that any program reads."""
    path = tmp_path / "new" / "x.jsonl"
    write(JsonLines(path=path), RuntimeData.text('süß "\n'), RuntimeData.json({"a": [None, 1.5]}))
    assert path.read_text() == '"süß \\"\\n"\n{"a": [null, 1.5]}\n'


def test_write_begins_anew_and_append_goes_on(tmp_path):
    """The mode decides about what is there already."""
    path = tmp_path / "x.jsonl"
    for mode, expected in [("write", "1\n"), ("append", "1\n1\n"), ("write", "1\n")]:
        write(JsonLines(path=path, mode=mode), RuntimeData.json(1))
        assert path.read_text() == expected


def test_a_line_is_there_as_soon_as_it_is_written(tmp_path):
    """Who follows the file sees each datum at once."""
    sink = JsonLines(path=tmp_path / "x.jsonl")
    sink.initialize(CONTEXT)
    sink.process(RuntimeData.json({"n": 1}))
    assert (tmp_path / "x.jsonl").read_text() == '{"n": 1}\n'
    sink.cleanup()


@pytest.mark.parametrize("folder", ["", "some/manifest/folder"])
def test_a_dash_is_the_standard_output_of_the_moment(monkeypatch, tmp_path, folder):
    """Also when the engine made the path relative to the manifest's folder; characters it lacks are escaped."""
    sink = JsonLines(path=tmp_path / folder / "-" if folder else "-")
    sink.initialize(CONTEXT)
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    sink.process(RuntimeData.text("süß"))
    sink.cleanup()
    assert json.loads(raw.getvalue()) == "süß"
    assert not sys.stdout.closed


@pytest.mark.parametrize(
    ("datum", "message"),
    [
        (RuntimeData.audio(np.zeros(2, np.float32), sample_rate=8000), "not audio: wav_sink writes audio"),
        (RuntimeData.tensor(np.zeros(2)), "not tensor: put a node before it"),
    ],
)
def test_json_lines_refuses_arrays(datum, message):
    """Audio and tensors are refused with what to do instead."""
    with pytest.raises(Validation, match=message):
        JsonLines().process(datum)


def test_bad_paths_and_modes_are_refused_before_the_start(tmp_path):
    """A directory and an unknown mode say so."""
    with pytest.raises(Validation, match="is a directory"):
        JsonLines(path=tmp_path).check()
    with pytest.raises(Validation, match="mode must be write or append, not rewind"):
        JsonLines(mode="rewind")
    for source in (JsonSource, TextSource):
        with pytest.raises(Validation, match="does not exist"):
            source(path=tmp_path / "no").check()


def test_text_lines_are_kept_as_they_are(tmp_path):
    """Empty lines stay, line ends and a byte order mark go, a last line without its end counts."""
    path = tmp_path / "x.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\n  two \nthree")
    assert [d.as_text() for d in read(TextSource(path=path))] == ["one", "", "  two ", "three"]


@pytest.mark.parametrize(
    ("source", "content", "message"),
    [
        (JsonSource, b"1\n\n{oops}\n", "line 3 is not JSON: Expecting property name"),
        (TextSource, b"one\n\xff\xfe\n", "line 2 is not UTF-8"),
    ],
)
def test_a_bad_line_is_named(tmp_path, source, content, message):
    """File and line, after the good lines before it."""
    path = tmp_path / "x"
    path.write_bytes(content)
    stream = source(path=path).produce()
    next(stream)
    with pytest.raises(Validation, match=message):
        next(stream)


def test_log_passes_everything_and_tells_about_every_so_many(caplog):
    """The datum is the same object; the line says what it is, in short."""
    node = Log(every=2, max_chars=5)
    node.initialize(NodeContext("tap", "log"))
    data = [
        RuntimeData.text("a long text", timestamp_ns=0),
        RuntimeData.text("never shown"),
        RuntimeData.audio([[0.5, -0.25]], sample_rate=8000, timestamp_ns=1_500_000_000),
        RuntimeData.json(1),
        RuntimeData.tensor(np.zeros((2, 3), np.int16), timestamp_ns=0),
    ]
    with caplog.at_level(logging.INFO, "penstock.node.tap"):
        assert all(node.process(datum) is datum for datum in data)
    assert caplog.messages == [
        "#0 0.000 s text a lon...",
        "#2 1.500 s audio 1 frames 8000 Hz x2 F64 peak -6.0 dBFS",
        "#4 0.000 s tensor int16[2, 3]",
    ]
    with pytest.raises(Validation, match="every must be at least 1, not 0"):
        Log(every=0)


def paced(node, arrivals_s):
    """The moments at which `node` lets data go that arrive then."""

    async def main():
        start = trio.current_time()
        gone = []
        for number, arrival in enumerate(arrivals_s):
            await trio.sleep_until(start + arrival)
            await node.process(RuntimeData.json(number))
            gone.append(round(trio.current_time() - start, 6))
        return gone

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_rate_is_kept_without_drift():
    """One at a time, evenly, from the first on; a pause earns nothing with a burst of one."""
    assert paced(RateLimit(per_s=10), [0] * 4) == [0.0, 0.1, 0.2, 0.3]
    assert paced(RateLimit(per_s=10), [0, 0, 5, 5, 5]) == [0.0, 0.1, 5.0, 5.1, 5.2]


def test_a_pause_earns_a_burst():
    """After a pause `burst` go at once, then the rate holds again."""
    assert paced(RateLimit(per_s=10, burst=3), [0] * 5 + [9] * 4) == [0, 0, 0, 0.1, 0.2, 9.0, 9.0, 9.0, 9.1]


def test_a_late_wake_up_delays_nobody_else():
    """What the machine lets go late does not move those behind it."""
    node = RateLimit(per_s=10)
    clock = trio.testing.MockClock(autojump_threshold=0)
    late_s = iter([0.0, 0.03, 0.0, 0.0])

    async def main():
        start, gone, sleep_until = trio.current_time(), [], trio.sleep_until

        async def wakes_late(deadline):
            await sleep_until(deadline + next(late_s) if deadline > float("-inf") else deadline)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trio, "sleep_until", wakes_late)
            for _ in range(4):
                await node.process(RuntimeData.json(0))
                gone.append(round(trio.current_time() - start, 6))
        return gone

    assert trio.run(main, clock=clock) == [0.0, 0.13, 0.2, 0.3]


def test_rates_that_can_not_be_are_refused():
    """Each parameter is named."""
    with pytest.raises(Validation, match="per_s must be above 0, not 0"):
        RateLimit(per_s=0)
    with pytest.raises(Validation, match="burst must be at least 1, not 0"):
        RateLimit(per_s=1, burst=0)
    with pytest.raises(Validation, match="count must be at least 0, not -1"):
        Counter(count=-1)
    with pytest.raises(Validation, match="period_s must be at least 0, not nan"):
        Counter(count=1, period_s=float("nan"))


def counted(node, limit=100):
    async def main():
        start, seen = trio.current_time(), []
        async with aclosing(node.produce()) as data:
            async for datum in data:
                seen.append((datum.as_json(), round(trio.current_time() - start, 6)))
                if len(seen) == limit:
                    break
        return seen

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_counter_counts_at_its_pace():
    """From 0 on, one each period, so many or without end."""
    assert counted(Counter(count=3, period_s=0.5)) == [({"n": 0}, 0.0), ({"n": 1}, 0.5), ({"n": 2}, 1.0)]
    assert counted(Counter(count=0)) == []
    assert [value["n"] for value, _ in counted(Counter(count=None))] == list(range(100))


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_every_short_name_leads_to_a_node(name):
    """Each entry is a class with ports, a docstring and a way to run."""
    module, _, cls = BUILTIN[name].partition(":")
    node = getattr(importlib.import_module(module), cls)
    assert node.__doc__
    assert set(node.inputs.values()) | set(node.outputs.values()) <= {"any", "audio", "json", "text", "json|text"}
    assert hasattr(node, "produce") == (not node.inputs)


def test_the_nodes_load_without_the_engine_and_without_trio():
    """A worker that runs any of them stays light: what a node needs beyond numpy it imports when it runs."""
    code = (
        "import sys, importlib\n"
        "from penstock.engine.nodes import BUILTIN\n"
        "for target in BUILTIN.values(): importlib.import_module(target.partition(':')[0])\n"
        "print(*{'trio', 'soxr', 'wasmtime', 'click', 'rich', 'msgspec', 'ruamel'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
