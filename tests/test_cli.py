"""The command line, as a user meets it: commands, options, exit codes, and one clear message for whatever is wrong."""

import os
import pty
import struct
import subprocess
import sys

import pytest
from guests.wat import guest_file
from support import (
    MORE,
    NODES,
    SPEECH,
    Started,
    drained,
    environment,
    manifest,
    penstock,
)

COUNT = f"""
    nodes:
      in: {{type: "{NODES}:Numbers", params: {{count: 3}}}}
      out: {{type: json_lines}}
    edges: [in -> out]
    """
WORKER = f"""
    nodes:
      in: {{type: "{NODES}:Numbers", params: {{count: 2}}}}
      pid: {{type: "{NODES}:pid", executor: multiprocess}}
      out: {{type: json_lines}}
    edges: [in -> pid -> out]
    """


def refused(*args, code=2, **more):
    """The error lines of a command that says what is wrong and nothing else."""
    done = penstock(*args, **more).check()
    assert done.code == code, done
    assert done.err.startswith("error: "), done.err
    return done.err


# run


def test_results_on_stdout_and_the_report_on_stderr(tmp_path):
    """What nodes write goes to standard output, the table to standard error, and the exit code is 0."""
    done = penstock("run", manifest(tmp_path, COUNT)).check()
    assert (done.code, done.out) == (0, "0\n1\n2\n")
    assert "graph: completed" in done.err
    assert "received" in done.err


def test_quiet_says_nothing(tmp_path):
    """With --quiet there is no table; errors are still said."""
    path = manifest(tmp_path, COUNT)
    done = penstock("run", "-q", path).check()
    assert (done.code, done.out, done.err) == (0, "0\n1\n2\n", "")
    assert "cuont" in refused("run", "--quiet", path, "--set=in.cuont=1")


def test_json_is_one_document_whatever_nodes_print(tmp_path):
    """Native nodes print from Python, C and past both, workers too, json_lines to -: one document all the same."""
    text = f"""
        nodes:
          in: {{type: "{NODES}:Numbers", params: {{count: 2}}}}
          loud: {{type: "{MORE}:loud"}}
          chat: {{type: "{NODES}:chatty", executor: multiprocess}}
          out: {{type: json_lines, params: {{path: "-"}}}}
        edges: [in -> loud -> chat -> out]
        """
    done = penstock("run", "--json", manifest(tmp_path, text)).check()
    report = done.json()
    assert (done.code, report["outcome"], report["name"]) == (0, "completed", "graph")
    assert [node["processed"] for node in report["nodes"]] == [2, 2, 2, 2]
    assert {edge["sent"] for edge in drained(report).values()} == {2}
    for said in ("a print of a node", "a puts of a node", "a write of a node", "[chat] a print of a node", "\n1\n"):
        assert said in done.err


def test_json_is_one_document_when_c_keeps_its_output_back(tmp_path):
    """What a C library has printed and not flushed comes out at exit: not on standard output, either."""
    text = COUNT.replace("in -> out", "in -> c -> out").replace(
        "    edges", f'      c: {{type: "{MORE}:late"}}\n    edges'
    )
    done = penstock("run", "--json", manifest(tmp_path, text)).check()
    assert done.json()["outcome"] == "completed"


def test_worker_output_has_the_nodes_name(tmp_path):
    """Without --json a line that a worker prints appears with its node in front."""
    text = WORKER.replace(":pid", ":chatty")
    done = penstock("run", manifest(tmp_path, text)).check()
    assert done.out.count("[pid] a print of a node\n") == 2


def test_executor_native_runs_in_one_process(tmp_path):
    """--executor native makes no worker: the node tells the number of the command's own process."""
    with Started("run", "--executor", "native", manifest(tmp_path, WORKER)) as process:
        done = process.finish().check()
    assert (done.code, done.out) == (0, f'{{"pid": {process.pid}}}\n' * 2)
    assert "multiprocess" not in done.err


def test_a_pipeline_runs_from_anywhere(tmp_path):
    """Modules and paths beside a manifest are found from any folder, by workers, too."""
    (tmp_path / "nodes_of_mine.py").write_text("def same(data):\n    return data\n")
    text = WORKER.replace(f"{NODES}:pid", "nodes_of_mine:same").replace(
        "json_lines", "json_lines, params: {path: o/x.jl}"
    )
    for folder in ("/", tmp_path):
        assert penstock("run", manifest(tmp_path, text), cwd=folder).check().code == 0
        assert (tmp_path / "o" / "x.jl").read_text() == "0\n1\n"


@pytest.mark.parametrize(
    ("options", "out"),
    [
        (["--set=in.count=1"], "0\n"),
        (["--set", "in.count=5", "--set", "in.count=2"], "0\n1\n"),
        (["--set=out.mode=append"], "0\n1\n2\n"),
        (["--set=in.count=0"], ""),
    ],
)
def test_set_gives_a_parameter_another_value(tmp_path, options, out):
    """JSON where it is JSON, text otherwise; the last one counts."""
    assert penstock("run", manifest(tmp_path, COUNT), *options).check().out == out


def test_a_path_that_is_set_starts_where_the_user_is(tmp_path):
    """A relative path after --set is a path of the shell's folder, = and all."""
    folder = tmp_path / "here"
    folder.mkdir()
    assert penstock("run", manifest(tmp_path, COUNT), "--set=out.path=a=b.jl", cwd=folder).check().code == 0
    assert (folder / "a=b.jl").read_text() == "0\n1\n2\n"


@pytest.mark.parametrize(
    ("option", "fragments"),
    [
        ("inn.count=1", ["no node 'inn'", "did you mean 'in'?"]),
        ("count=1", ["NODE.PARAM=VALUE"]),
        ("in.count", ["NODE.PARAM=VALUE"]),
        ("in.=3", ["NODE.PARAM=VALUE"]),
        ("", ["NODE.PARAM=VALUE"]),
        ("in.cuont=1", ["no parameter 'cuont'", "did you mean 'count'?"]),
        ("in.count=many", ["--set in.count", "expected int, got str"]),
    ],
)
def test_a_wrong_set_is_explained(tmp_path, option, fragments):
    """The message shows the option, and the remedy."""
    said = refused("validate", manifest(tmp_path, COUNT), "--set", option)
    assert all(fragment in said for fragment in ["--set", *fragments]), said


def test_a_failing_node_is_one_message(tmp_path):
    """Node, class, text, file and line, exit code 1; the traceback is shown when it is asked for."""
    text = f"""
        nodes: {{in: {{type: "{MORE}:Empty"}}, bad: {{type: "{NODES}:FailInit", executor: %s}}}}
        edges: [in -> bad]
        """
    for executor in ("native", "multiprocess"):
        path = manifest(tmp_path, text % executor)
        said = refused("run", path, code=1)
        assert said.startswith("error: node 'bad': RuntimeError: no model here (small.py:")
        assert "--traceback" in said
    shown = penstock("run", path, "--traceback", "--json")
    assert "Traceback (most recent call last)" in shown.err
    assert 'raise RuntimeError("no model here")' in shown.err
    assert (shown.code, shown.json()["outcome"]) == (1, "failed")
    assert "no model here" in shown.json()["error"]


def test_a_reader_that_goes_away(tmp_path):
    """`penstock run ... | head -1` ends, and without a word of Python's own."""
    path = manifest(tmp_path, COUNT)
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "run", "-q", path, "--set=in.count=-1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout.readline() == b"0\n"
    process.stdout.close()
    said = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(30) != 0
    assert "Traceback" not in said
    assert "Exception ignored" not in said


def test_the_live_table_of_a_terminal(tmp_path):
    """On a terminal the table lives while the run does, and the final one says how it ended."""
    ours, theirs = pty.openpty()
    path = manifest(tmp_path, COUNT.replace("json_lines", "json_lines, params: {path: x.jl}"))
    with os.fdopen(theirs, "wb") as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "run", path],
            stdout=terminal,
            stderr=terminal,
            env=environment(TERM="xterm"),
        )
        said = b""
        while b"completed" not in said:
            said += os.read(ours, 65536)
        assert process.wait(30) == 0
    os.close(ours)
    assert b"Traceback" not in said


# What files can be wrong with


def test_every_wrong_wav_file_is_named(tmp_path):
    """Truncated, empty, no WAV, absent, a folder: all at once, each with its line and its reason, before the start."""
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 1036, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", 1000
    )
    (tmp_path / "cut.wav").write_bytes(head + bytes(10))
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "song.wav").write_bytes(b"ID3\x04 this is an MP3" * 9)
    (tmp_path / "folder.wav").mkdir()
    names = ["cut", "empty", "song", "gone", "folder"]
    lines = [f"  {name}: {{type: wav_source, params: {{path: {name}.wav}}}}" for name in names]
    path = manifest(tmp_path, "\n".join(["nodes:", *lines, ""]))
    for command in (["validate"], ["run"]):
        said = refused(*command, path).splitlines()
        assert len(said) == len(names)
        for line, (name, text) in enumerate(zip(names, said, strict=True), 2):
            assert text.startswith(f"error: {path}:{line}: node '{name}': "), text
            assert f"{name}.wav" in text
    wanted = ["truncated", "empty", "WAV", "does not exist", "is a directory"]
    assert all(word in text for word, text in zip(wanted, said, strict=True)), said


def test_every_wrong_wasm_file_is_named(tmp_path):
    """Garbage, empty, absent, and a module that wants more than it may: one line each, found by the check."""
    (tmp_path / "garbage.wasm").write_bytes(b"\x00asm" + os.urandom(64))
    (tmp_path / "empty.wasm").write_bytes(b"")
    wasi = '(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))'
    guest_file(tmp_path, "greedy", imports=wasi)
    names = ["garbage", "empty", "gone", "greedy"]
    lines = [f"  {name}: {{type: {name}.wasm}}" for name in names]
    path = manifest(tmp_path, "\n".join(["nodes:", *lines, ""]))
    said = refused("validate", path).splitlines()
    assert len(said) == len(names), said
    for line, (name, text) in enumerate(zip(names, said, strict=True), 2):
        assert text.startswith(f"error: {path}:{line}: node '{name}': "), text
        assert f"{name}.wasm" in text
    assert "fd_write" in said[3]


LOOP = "(param i32 i32) (result i32) (loop br 0) i32.const 1"
BOMB = """(param i32 i32) (result i32)
    (loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable"""


@pytest.mark.parametrize("executor", ["wasm", "multiprocess"])
@pytest.mark.parametrize(("body", "fragment"), [(LOOP, "INTERRUPT"), (BOMB, "UNREACHABLE")], ids=["loop", "bomb"])
def test_a_guest_that_runs_wild_is_one_message(tmp_path, executor, body, fragment):
    """An endless loop and a memory bomb end as the error of that node, exit code 1, in a worker as well."""
    guest_file(tmp_path, ps_process=body)
    text = f"""
        nodes:
          in: {{type: "{NODES}:Numbers"}}
          wild: {{type: guest.wasm, executor: {executor}{", limits: {deadline_ms: 50}" * (executor == "wasm")}}}
        edges: [in -> wild]
        """
    said = refused("run", "-q", manifest(tmp_path, text), code=1)
    assert said.startswith("error: node 'wild': ")
    assert fragment in said


# The other commands


def test_validate(tmp_path):
    """A valid manifest: exit code 0 and a line, or one JSON document; nothing is started."""
    path = manifest(tmp_path, WORKER)
    done = penstock("validate", path).check()
    assert (done.code, done.out, done.err) == (0, f"{path}: valid, 3 nodes, 2 edges\n", "")
    assert penstock("validate", "--json", path).json() == {"outcome": "valid", "nodes": 3, "edges": 2}


@pytest.mark.parametrize("command", ["run", "validate"])
def test_problems_as_json(tmp_path, command):
    """With --json every problem is in one document, with file and line; exit code 2."""
    path = manifest(tmp_path, COUNT.replace("count", "cuont").replace("in -> out", "in -> uot"))
    done = penstock(command, "--json", path).check()
    said = done.json()
    assert (done.code, said["outcome"]) == (2, "invalid")
    assert [(problem["file"], problem["line"]) for problem in said["problems"]] == [(str(path), 3), (str(path), 5)]
    assert "did you mean 'count'?" in said["problems"][0]["text"]
    gone = penstock(command, "--json", tmp_path / "gone.yaml").check()
    assert (gone.code, len(gone.json()["problems"])) == (2, 1)


def test_graph(tmp_path):
    """A Mermaid flowchart with every node and edge; what crosses a process border is thick."""
    done = penstock("graph", manifest(tmp_path, WORKER)).check()
    assert done.code == 0
    assert done.out.splitlines()[0] == "flowchart LR"
    assert [line.split() for line in done.out.splitlines()[4:]] == [["n_in", "==>", "n_pid"], ["n_pid", "==>", "n_out"]]
    assert "no node" in refused("graph", manifest(tmp_path, COUNT.replace("-> out", "-> uot")))


def test_nodes():
    """All types with a sentence each; one with ports and parameters, of whatever kind it is."""
    listed = penstock("nodes").check()
    for name in ("wav_source", "wav_sink", "mono", "resample", "chunk", "json_lines", "tone", "counter"):
        assert name in listed.out
    one = penstock("nodes", "wav_source").check()
    assert all(word in one.out for word in ("path: path (required)", "chunk_ms: float = 20", "outputs: out (audio)"))
    assert "path: str" in penstock("nodes", f"{NODES}:Hold").check().out
    guest = penstock("nodes", SPEECH / "clean.wasm").check()
    assert "cutoff_hz" in guest.out
    assert "did you mean 'wav_source'?" in refused("nodes", "wav_sorce")


@pytest.mark.parametrize("command", ["", "run", "validate", "graph", "nodes", "clean"])
def test_help(command):
    """Each command explains itself and its options."""
    done = penstock(*command.split(), "--help").check()
    assert done.code == 0
    assert f"Usage: penstock{' ' * bool(command)}{command}" in done.out
    options = [line for line in done.out.splitlines() if line.startswith("  -")]
    assert options
    if command == "run":
        for option in ("--set", "--executor", "--json", "--quiet", "--grace", "--traceback"):
            assert option in done.out


@pytest.mark.parametrize("args", [[], ["run"], ["rnu"], ["run", "--nosuch", "x"], ["run", "--grace=-1", "x"]], ids=str)
def test_a_wrong_command_is_exit_code_2(args):
    """Usage errors are 2, with a usage line."""
    done = penstock(*args).check()
    assert done.code == 2
    assert "Usage: penstock" in done.out + done.err


def test_python_dash_m():
    """`python -m penstock` is the command."""
    done = subprocess.run([sys.executable, "-m", "penstock", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("penstock, version ")
