"""Manifests: what they may say, and for everything that is wrong one clear line with file, line and remedy."""

import os
import re
import wave

import pytest
from support import MORE, NODES, manifest

import penstock
from penstock.engine.problems import PipelineInvalid
from penstock.executors.contract import ExecutorType, Validation

GOOD = f"""\
penstock: 1
name: demo
nodes:
  one: {{type: "{NODES}:Numbers", params: {{count: 3}}}}
  two: {{type: "{NODES}:echo"}}
edges:
  - one -> two
"""


def problems(path):
    with pytest.raises(PipelineInvalid) as caught:
        penstock.load(path).check()
    assert isinstance(caught.value, Validation)
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


def problem(folder, text):
    """The only problem of a manifest, without its place, and its line."""
    path = manifest(folder, text)
    (said,) = problems(path)
    match = re.fullmatch(rf"{re.escape(str(path))}(?::(\d+))?: (.*)", said, re.DOTALL)
    assert match is not None, said
    return match[2], int(match[1] or 0)


def test_a_manifest_is_a_plan(tmp_path):
    """A valid manifest gives its name, its nodes in the order of the stream, and its edges with their options."""
    text = GOOD.replace("- one -> two", "- {from: one.out, to: two, capacity: 3, max_bytes: 9, timeout: 2.5}")
    plan = penstock.load(manifest(tmp_path, text)).check()
    assert (plan.name, [node.node_id for node in plan.nodes]) == ("demo", ["one", "two"])
    (edge,) = plan.edges
    assert edge.name == "one.out -> two.in"
    assert (edge.decl.capacity, edge.decl.max_bytes, edge.decl.timeout_s) == (3, 9, 2.5)


def test_the_order_of_a_file_is_not_the_order_of_the_stream(tmp_path):
    """Nodes may be written in any order; the plan begins with the sources."""
    text = f"""
        nodes:
          sink: {{type: "{NODES}:echo"}}
          middle: {{type: "{NODES}:echo"}}
          source: {{type: "{NODES}:Numbers"}}
        edges: [source -> middle, middle -> sink]
        """
    plan = penstock.load(manifest(tmp_path, text)).check()
    assert [node.node_id for node in plan.nodes] == ["source", "middle", "sink"]


def test_a_chain_is_one_edge_after_the_other(tmp_path):
    """`a -> b -> c` is two edges; without a name the pipeline is called as its file."""
    text = f"""
        nodes:
          a: {{type: "{NODES}:Numbers"}}
          b: {{type: "{NODES}:echo"}}
          c: {{type: "{NODES}:echo"}}
        edges: [a -> b -> c]
        """
    plan = penstock.load(manifest(tmp_path, text, "wheel.yaml")).check()
    assert plan.name == "wheel"
    assert [edge.name for edge in plan.edges] == ["a.out -> b.in", "b.out -> c.in"]


def test_a_chain_passes_through_a_port(tmp_path):
    """`a -> b.in -> c`, as the documentation of `connect` has it: the port is that of the edge into b."""
    text = GOOD.replace("one -> two", "one -> two.in -> six") + "\n"
    text = text.replace("edges:", f'  six: {{type: "{NODES}:echo"}}\nedges:')
    plan = penstock.load(manifest(tmp_path, text)).check()
    assert [edge.name for edge in plan.edges] == ["one.out -> two.in", "two.out -> six.in"]


def test_routes_place_nodes_that_do_not_say_so(tmp_path):
    """`executors:` places types by name and by pattern; a node's own executor stands above it."""
    text = f"""
        nodes:
          a: {{type: "{NODES}:Numbers", executor: native}}
          b: {{type: "{NODES}:echo"}}
          c: {{type: "{MORE}:Pass", params: {{folder: x}}}}
        edges: [a -> b -> c]
        executors: {{"nodes.sm*": multiprocess}}
        """
    plan = penstock.load(manifest(tmp_path, text)).check()
    placed = {node.node_id: node.executor for node in plan.nodes}
    native, worker = ExecutorType.NATIVE, ExecutorType.MULTIPROCESS
    assert placed == {"a": native, "b": worker, "c": native}
    alone = penstock.load(manifest(tmp_path, text)).check(only_native=True)
    assert {node.executor for node in alone.nodes} == {native}


def test_an_absent_manifest(tmp_path):
    """The path stands before the reason."""
    path = tmp_path / "gone.yaml"
    assert problems(path) == [f"{path}: the manifest can not be read: No such file or directory"]


def test_a_folder_is_no_manifest(tmp_path):
    """A directory is refused by name."""
    assert problems(tmp_path) == [f"{tmp_path}: the manifest can not be read: Is a directory"]


@pytest.mark.parametrize("raw", [b"\xff\xfe\x00x", b"\x00\x01\x02", os.urandom(16) + b"\xff\x00"])
def test_bytes_that_are_no_yaml(tmp_path, raw):
    """Binary files are one problem of that file."""
    path = tmp_path / "graph.yaml"
    path.write_bytes(raw)
    (said,) = problems(path)
    assert said.startswith(f"{path}")
    assert "YAML" in said


@pytest.mark.parametrize(
    ("text", "line"), [("nodes: {a: {type: x}\n", 2), ("nodes:\n  a: [1\n  b: 2\n", 3), ("a: b: c\n", 1)]
)
def test_a_mistake_in_the_yaml_is_shown_with_its_line(tmp_path, text, line):
    """What the YAML parser says comes with the line that it means."""
    said, where = problem(tmp_path, text)
    assert where == line
    assert said


@pytest.mark.parametrize("text", ["", "just text\n", "- a\n- b\n", "null\n", "3\n"])
def test_a_document_that_is_no_mapping(tmp_path, text):
    """An empty file, a list or a word is no manifest."""
    said, _ = problem(tmp_path, text)
    assert said == "a manifest is a mapping with the keys `nodes` and `edges`"


@pytest.mark.parametrize("text", ["nodes: {}\n", "name: x\n", "edges: []\n"])
def test_a_pipeline_without_nodes(tmp_path, text):
    """There is nothing to run."""
    assert problem(tmp_path, text)[0] == "the pipeline has no nodes"


REPLACED = {
    "duplicate node name": ("  two:", f'  one: {{type: "{NODES}:echo"}}\n  two:', 5, ['two of the name "one"']),
    "top-level key": ("name: demo", "nmae: demo", 2, ["'nmae'", "did you mean 'name'?"]),
    "version": ("penstock: 1", "penstock: 2", 1, ["version 1, not 2"]),
    "edges are a mapping": ("  - one -> two", "  one: two", 6, ["`edges` is a list"]),
    "node key": ("params:", "parms:", 4, ["node 'one'", "'parms'", "did you mean 'params'?"]),
    "params that are a list": ("{count: 3}", "[3]", 4, ["`params` is a mapping"]),
    "executor": ('echo"', 'echo", executor: multiproces', 5, ["'multiproces'", "did you mean 'multiprocess'?"]),
    "executor that is a number": ('echo"', 'echo", executor: 3', 5, ["no executor 3"]),
    "thread": ('echo"', 'echo", thread: maybe', 5, ["`thread`", "true or false", "'maybe'"]),
    "init_timeout": ('echo"', 'echo", init_timeout: soon', 5, ["`init_timeout`", "number of seconds", "'soon'"]),
    "short name of a type": (f'"{NODES}:echo"', "wav_sorce", 5, ["wav_sorce", "did you mean 'wav_source'?"]),
    "module of a type": (f"{NODES}:echo", "no.such:echo", 5, ["Unknown node type", "no module", "'no'"]),
    "name in a module": (f"{NODES}:echo", f"{NODES}:ecco", 5, ["Unknown node type", NODES, "'ecco'"]),
    "parameter": ("count: 3", "cuont: 3", 4, ["no parameter 'cuont'", "did you mean 'count'?"]),
    "type of a parameter": ("count: 3", "count: many", 4, ["node 'one'", "'count'", "expected int, got str"]),
    "missing parameter": (f"{NODES}:echo", f"{NODES}:Hold", 5, ["node 'two'", "needs the parameter 'path'"]),
    "edge that is no chain": ("one -> two", "one", 7, ["an edge is `node -> node`"]),
    "edge without an end": ("one -> two", "one -> ", 7, ["an edge is `node -> node`"]),
    "edge that is a number": ("one -> two", "7", 7, ["an edge is `node -> node`"]),
    "edge key": ("one -> two", "{from: one, to: two, capcity: 2}", 7, ["'capcity'", "did you mean 'capacity'?"]),
    "edge without to": ("one -> two", "{from: one}", 7, ["an edge is `node -> node`"]),
    "capacity 0": (
        "one -> two",
        "{from: one, to: two, capacity: 0}",
        7,
        ["capacity is a whole number of at least 1, not 0"],
    ),
    "capacity of a kind": ("one -> two", "{from: one, to: two, capacity: big}", 7, ["`capacity`", "'big'"]),
    "capacity true": ("one -> two", "{from: one, to: two, capacity: true}", 7, ["`capacity`", "True"]),
    "timeout 0": (
        "one -> two",
        "{from: one, to: two, timeout: 0}",
        7,
        ["timeout is a number of seconds above 0, not 0"],
    ),
    "unknown source": ("one -> two", "onee -> two", 7, ["no node 'onee'", "did you mean 'one'?"]),
    "unknown target": ("one -> two", "one -> tow", 7, ["no node 'tow'", "did you mean 'two'?"]),
    "output port": ("one -> two", "one.uot -> two", 7, ["no output 'uot'", "did you mean 'out'?"]),
    "input port": ("one -> two", "one -> two.inn", 7, ["no input 'inn'", "did you mean 'in'?"]),
    "edge twice": ("- one -> two", "- one -> two\n  - one.out -> two.in", 8, ["there already"]),
    "edge into a source": ("- one -> two", "- one -> two -> one", 7, ["node 'one' has no inputs"]),
    "limits of a Python node": ('echo"', 'echo", limits: {fuel: 3}', 5, ["`limits`", "wasm"]),
    "wasm executor for Python": ('echo"', 'echo", executor: wasm', 5, ["no .wasm file"]),
}


@pytest.mark.parametrize("what", REPLACED)
def test_one_mistake_is_one_problem_at_its_line(tmp_path, what):
    """Each mistake gives one problem, with the line it stands in, what is wrong, and the remedy."""
    old, new, line, fragments = REPLACED[what]
    assert old in GOOD
    said, where = problem(tmp_path, GOOD.replace(old, new, 1))
    assert all(fragment in said for fragment in fragments), said
    assert where == line, said


BROKEN = {
    "without type": f'{{executor: native, params: {{type: "{NODES}"}}}}',
    "that is a word": "echo",
    "that is nothing": "",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_node_is_not_reported_again_by_its_edges(tmp_path, what):
    """A node without a type is one problem; an edge to it is none."""
    text = GOOD.replace(f'{{type: "{NODES}:echo"}}', BROKEN[what])
    said, line = problem(tmp_path, text)
    assert "node 'two': needs a `type`" in said
    assert line == 5


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_node_is_reported_with_its_line(tmp_path, what):
    """A node without a type is told how to say it."""
    path = manifest(tmp_path, GOOD.replace(f'{{type: "{NODES}:echo"}}', BROKEN[what]))
    assert f"{path}:5: node 'two': needs a `type`, as in {{type: wav_source}}" in problems(path)


@pytest.mark.parametrize("name", ["2wo", "t.wo", "'t wo'", "'a\"b'", "ö"])
def test_a_name_that_is_none(tmp_path, name):
    """Names of nodes are words; anything else is refused with the rule."""
    said, line = problem(tmp_path, f'nodes:\n  {name}: {{type: "{NODES}:Numbers"}}\n')
    assert "is no name: letters, digits, _ and -, beginning with a letter" in said
    assert line == 2


@pytest.mark.parametrize("nodes", ["[a]", "a", "3"])
def test_nodes_that_are_no_mapping(tmp_path, nodes):
    """`nodes` is a mapping from name to node."""
    said, line = problem(tmp_path, f"name: x\nnodes: {nodes}\n")
    assert "`nodes` is a mapping" in said
    assert line == 2


GRAPHS = {
    "unconnected input": ("s: Numbers, a: echo", "", ["node 'a'", "nothing is connected to its input 'in'"]),
    "one of two inputs": ("s: Numbers, m: Merge", "s -> m.left", ["node 'm'", "'right'"]),
    "self-loop": ("a: echo", "a -> a", ["cycle: a -> a"]),
    "cycle": ("s: Numbers, a: echo, b: echo", "s -> a, a -> b, b -> a", ["cycle", "a -> b", "b -> a"]),
    "type mismatch": ("s: Numbers, w: wav", "s -> w", ["s.out gives json", "w.in takes audio"]),
    "port not said": ("s: Numbers, x: Split, a: echo", "s -> x, x -> a", ["outputs even, odd", "x.PORT"]),
    "input not said": ("s: Numbers, m: Merge", "s -> m", ["inputs left, right", "m.PORT"]),
    "out of a sink": ("s: Numbers, c: Collect, a: echo", "s -> c, c -> a", ["node 'c' has no outputs"]),
}
_TYPES = {"wav": "{type: wav_sink, params: {path: x.wav}}"}
_PARAMS = {"Collect": ", params: {path: x}"}


@pytest.mark.parametrize("what", GRAPHS)
def test_a_graph_that_can_not_flow(tmp_path, what):
    """Cycles, open inputs and streams of the wrong type are found before anything starts."""
    nodes, edges, fragments = GRAPHS[what]
    lines = ["nodes:"]
    for pair in nodes.split(", "):
        name, kind = pair.split(": ")
        lines.append(f"  {name}: " + _TYPES.get(kind, f'{{type: "{NODES}:{kind}"{_PARAMS.get(kind, "")}}}'))
    said, line = problem(tmp_path, "\n".join([*lines, f"edges: [{edges}]"]) + "\n")
    assert all(fragment in said for fragment in fragments), said
    assert line > 1


def test_all_problems_are_reported_at_once(tmp_path):
    """Five mistakes in one file are five problems, each with its own line."""
    text = f"""\
        nodes:
          one: {{type: "{NODES}:Numbers", params: {{cuont: 3}}, exekutor: native}}
          two: {{type: "{NODES}:ecco"}}
          six: {{type: "{NODES}:echo"}}
        edges:
          - one -> two
          - six -> fuor
        edgse: []
        """
    path = manifest(tmp_path, text)
    lines = sorted(int(said.removeprefix(f"{path}:").split(":")[0]) for said in problems(path))
    assert lines == [2, 2, 3, 7, 8]


def test_a_module_that_fails_at_import_says_why(tmp_path):
    """A node's module beside the manifest is found, and what it raises at import is told with its class."""
    (tmp_path / "brokenmodule_of_a_test.py").write_text("raise RuntimeError('no licence')\n")
    text = GOOD.replace(f"{NODES}:echo", "brokenmodule_of_a_test:echo")
    said, line = problem(tmp_path, text)
    assert "RuntimeError: no licence" in said
    assert line == 5


def test_paths_of_built_in_nodes_start_at_the_manifest(tmp_path, monkeypatch):
    """A relative path is looked up beside the manifest; one that is set by hand where the program runs."""
    monkeypatch.chdir("/")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16))
    text = "nodes: {wav: {type: wav_source, params: {path: a.wav}}}\n"
    penstock.load(manifest(tmp_path, text)).check()
    moved = penstock.load(manifest(tmp_path, text)).set("wav", "path", "a.wav")
    with pytest.raises(PipelineInvalid, match=r"a\.wav does not exist"):
        moved.check()


def test_a_value_that_was_set_is_not_blamed_on_the_manifest(tmp_path):
    """What the node finds wrong with a value from `set` is shown as that, and not as a line of the file."""
    text = "nodes: {wav: {type: wav_source, params: {path: a.wav}}}\n"
    pipeline = penstock.load(manifest(tmp_path, text)).set("wav", "path", "gone.wav")
    with pytest.raises(PipelineInvalid, match=r"^--set wav\.path: .*gone\.wav does not exist"):
        pipeline.check()


def test_the_type_of_a_value_that_was_set_is_checked(tmp_path):
    """A value from `set` of the wrong type is shown with the option it came from."""
    pipeline = penstock.load(manifest(tmp_path, GOOD)).set("one", "count", "many")
    with pytest.raises(PipelineInvalid, match=r"^--set one\.count: node 'one': parameter 'count': expected int"):
        pipeline.check()


def test_setting_a_parameter_of_no_node_is_a_key_error(tmp_path):
    """`set` knows the nodes of the manifest."""
    with pytest.raises(KeyError, match="three"):
        penstock.load(manifest(tmp_path, GOOD)).set("three", "count", 1)


def test_decimals_are_numbers(tmp_path):
    """However YAML writes a number, a node gets Python's own."""
    for text, value in (("-0.5", -0.5), ("1e-1", 0.1), (".5", 0.5), ("1.0", 1.0), ("1_000.5", 1000.5), ("3", 3)):
        graph = f"nodes: {{t: {{type: tone, params: {{frequency_hz: 440, duration_s: 1, level_db: {text}}}}}}}\n"
        (node,) = penstock.load(manifest(tmp_path, graph)).check().nodes
        assert node.params["level_db"] == value
        assert type(node.params["level_db"]) in {float, int}


def test_a_class_that_does_nothing_is_no_node(tmp_path):
    """Neither `process` nor `produce`: found before the start, and not by a run that gives nothing."""
    text = f'nodes: {{n: {{type: "{MORE}:Idle"}}}}\n'
    with pytest.raises(PipelineInvalid, match=r"neither process\(\) nor produce\(\)"):
        penstock.load(manifest(tmp_path, text)).check()
