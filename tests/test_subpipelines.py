"""Pipelines within pipelines: flattened before they are checked, with the parameters that they are given."""

import pytest
from nodes.typed import Typed
from support import NODES, drained, manifest
from support import penstock as command

import penstock
from penstock.engine.problems import PipelineInvalid
from penstock.executors.contract import ExecutorType, Validation

SCALE = f"""
    name: scale
    parameters:
      factor: {{default: 2}}
    inputs: {{in: first}}
    outputs: {{out: second}}
    nodes:
      first: {{type: "{NODES}:scale", params: {{factor: "${{factor}}"}}}}
      second: {{type: "{NODES}:echo"}}
    edges: [first -> second]"""


def outer(extra="", *, edges="s -> part -> keep"):
    return f"""
    nodes:
      s: {{type: "{NODES}:Numbers", params: {{count: 4}}}}
      part: {{type: ./scale.yaml{extra}}}
      keep: {{type: json_lines, params: {{path: kept}}}}
    edges: [{edges}]
    """


def problems(path):
    with pytest.raises(PipelineInvalid) as caught:
        penstock.load(path).check()
    return [str(problem) for problem in caught.value.problems]


def kept(folder):
    return [float(line) for line in (folder / "kept").read_text().split()]


def scaled(factor=2):
    """The same in Python."""
    inner = penstock.Pipeline("scale").parameter("factor", factor)
    inner.add("first", f"{NODES}:scale", {"factor": "${factor}"}).add("second", f"{NODES}:echo")
    return inner.connect("first -> second").input("in", "first").output("out", "second")


# What it does


@pytest.mark.parametrize(("extra", "factor"), [("", 2), (", params: {factor: 5}", 5), (", params: {factor: 0.5}", 0.5)])
def test_a_manifest_in_a_manifest(tmp_path, extra, factor):
    """Its nodes are those of the graph, under its name; its parameter is the default, or what is given."""
    manifest(tmp_path, SCALE, "scale.yaml")
    path = manifest(tmp_path, outer(extra))
    plan = penstock.load(path).check()
    assert [node.node_id for node in plan.nodes] == ["s", "part/first", "part/second", "keep"]
    report = penstock.run(path)
    assert set(drained(report.to_json())) == {
        "s.out -> part/first.in",
        "part/first.out -> part/second.in",
        "part/second.out -> keep.in",
    }
    assert kept(tmp_path) == [n * factor for n in range(4)]


@pytest.mark.parametrize("executor", [None, "multiprocess"])
def test_a_pipeline_in_a_pipeline(executor):
    """The same in Python; `executor` is for those of its nodes that say none."""
    said = []
    inner = scaled()
    pipeline = penstock.Pipeline().add("s", f"{NODES}:Numbers", {"count": 3})
    pipeline.add("one", inner, executor=executor).add("two", inner, {"factor": 10})
    pipeline.add("keep", lambda data: said.append(data.as_json())).connect("s -> one -> two -> keep")
    where = {node.node_id: node.executor for node in pipeline.check().nodes}
    expected = ExecutorType.MULTIPROCESS if executor else ExecutorType.NATIVE
    assert where["one/first"] is where["one/second"] is expected
    assert where["two/first"] is ExecutorType.NATIVE
    penstock.run(pipeline)
    assert said == [0, 20, 40]


def test_pipelines_nest(tmp_path):
    """A pipeline in a pipeline in a pipeline, each with parameters from the one around it."""
    manifest(tmp_path, SCALE, "scale.yaml")
    manifest(
        tmp_path,
        """
        parameters: {by: {}}
        inputs: {in: a}
        outputs: {out: b}
        nodes:
          a: {type: scale.yaml, params: {factor: "${by}"}}
          b: {type: scale.yaml, params: {factor: "${by}"}}
        edges: [a -> b]
        """,
        "twice.yaml",
    )
    path = manifest(tmp_path, outer(", params: {by: 3}").replace("scale.yaml", "twice.yaml"))
    nodes = {node.node_id: node for node in penstock.load(path).check().nodes}
    assert nodes["part/a/first"].params["factor"] == 3
    assert "part/b/second" in nodes


def test_a_text_may_have_parameters_in_it():
    """Alone, a parameter keeps its type; in a text it becomes text; `$${` is what it looks like."""
    inner = penstock.Pipeline().parameter("n", 3).parameter("s", "x")
    inner.add("a", anything, {"whole": "${n}", "text": "${n}-${s}", "plain": "$${n}", "deep": {"list": ["${n}", 1]}})
    (node,) = penstock.Pipeline().add("p", inner.input("in", "a")).input("x", "p").check().nodes
    assert node.params == {"whole": 3, "text": "3-x", "plain": "${n}", "deep": {"list": [3, 1]}}


def test_without_parameters_a_text_is_left_alone():
    """Who declares none may write what he likes."""
    pipeline = penstock.Pipeline().add("a", anything, {"text": "${n}"}).input("x", "a")
    (node,) = pipeline.check().nodes
    assert node.params == {"text": "${n}"}


def anything(data, **params):
    return data


def test_ports_of_several_inputs_and_outputs():
    """Named as those of any node; an input may lead to several nodes, an output need not be used."""
    inner = penstock.Pipeline().add("split", f"{NODES}:Split").add("merge", f"{NODES}:Merge")
    inner.input("n", "split", "merge.left").input("m", "merge.right")
    inner.output("even", "split.even").output("odd", "split.odd").output("all", "merge")
    said = []
    pipeline = penstock.Pipeline().add("s", f"{NODES}:Numbers", {"count": 3}).add("p", inner)
    pipeline.add("keep", lambda data: said.append(data.as_json()))
    pipeline.connect("s -> p.n").connect("s -> p.m").connect("p.odd -> keep")
    names = {edge.name for edge in pipeline.check().edges}
    assert names == {
        "s.out -> p/split.in",
        "s.out -> p/merge.left",
        "s.out -> p/merge.right",
        "p/split.odd -> keep.in",
    }
    penstock.run(pipeline)
    assert said == [1]


def test_what_an_edge_does_not_say_the_input_says():
    """Bounds and policy of the inner pipeline's own inputs and outputs hold, unless the edge has some."""
    inner = penstock.Pipeline().add("a", f"{NODES}:echo")
    inner.input("in", "a", policy="latest").output("out", "a", capacity=5)
    pipeline = penstock.Pipeline().add("s", f"{NODES}:Numbers").add("p", inner).add("q", inner)
    pipeline.connect("s -> p").connect("p -> q", capacity=7).add("end", "log").connect("q -> end")
    said = {edge.name: (edge.decl.policy, edge.decl.capacity) for edge in pipeline.check().edges}
    assert said == {
        "s.out -> p/a.in": ("latest", 1),
        "p/a.out -> q/a.in": ("block", 7),
        "q/a.out -> end.in": ("block", 5),
    }


async def test_external_ends_of_an_inner_pipeline():
    """What the outer pipeline gives to a program may lie in the inner one."""
    pipeline = penstock.Pipeline().add("p", scaled()).input("x", "p").output("y", "p")
    async with pipeline.open() as run:
        await run.send("x", 21)
        assert (await run.receive("y")).as_json() == 42


def test_paths_begin_where_they_are_given(tmp_path, monkeypatch):
    """A relative path of the inner manifest begins there, one that is given to it at the giver's, one by hand here."""
    monkeypatch.chdir("/")
    for folder in ("lib", "app"):
        (tmp_path / folder).mkdir()
    manifest(
        tmp_path / "lib",
        """
        parameters: {path: {default: mine}}
        inputs: {in: sink}
        nodes: {sink: {type: json_lines, params: {path: "${path}/x.jsonl"}}}
        """,
        "sink.yaml",
    )
    path = manifest(
        tmp_path / "app",
        f"""
        nodes:
          s: {{type: "{NODES}:Numbers"}}
          one: {{type: ../lib/sink.yaml}}
          two: {{type: ../lib/sink.yaml, params: {{path: yours}}}}
          three: {{type: ../lib/sink.yaml}}
        edges: [s -> one, s -> two, s -> three]
        """,
    )
    plan = penstock.load(path).set("three", "path", "here").check()
    paths = {node.node_id: node.params["path"] for node in plan.nodes if node.edges_in}
    assert paths["one/sink"].endswith("/lib/mine/x.jsonl")
    assert paths["two/sink"].endswith("/app/yours/x.jsonl")
    assert paths["three/sink"] == "here/x.jsonl"


def test_modules_beside_an_inner_manifest_are_found(tmp_path):
    """As those beside the outer one."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "module_of_an_inner_test.py").write_text("def node(data):\n    return data\n")
    manifest(tmp_path / "lib", 'inputs: {in: n}\nnodes: {n: {type: "module_of_an_inner_test:node"}}', "inner.yaml")
    path = manifest(
        tmp_path,
        f'nodes: {{s: {{type: "{NODES}:Numbers"}}, p: {{type: lib/inner.yaml}}}}\nedges: [s -> p]',
    )
    assert [node.node_id for node in penstock.load(path).check().nodes] == ["s", "p/n"]


def test_rules_of_an_inner_pipeline(tmp_path):
    """Its own `executors:` place its nodes, before those of the outer one."""
    text = SCALE + f'\n    executors: {{"{NODES}:scale": multiprocess}}\n'
    manifest(tmp_path, text, "scale.yaml")
    nodes = {node.node_id: node.executor for node in penstock.load(manifest(tmp_path, outer())).check().nodes}
    assert nodes["part/first"] is ExecutorType.MULTIPROCESS
    assert nodes["part/second"] is ExecutorType.NATIVE


def test_the_command_gives_parameters(tmp_path):
    """`--set NAME=VALUE` for one of the pipeline; `graph` draws the flat graph."""
    manifest(tmp_path, SCALE, "scale.yaml")
    path = manifest(tmp_path, "parameters: {by: {}}\n" + outer(', params: {factor: "${by}"}').replace("\n    ", "\n"))
    done = command("run", path, "--json", "--set", "by=7").check()
    assert done.json()["outcome"] == "completed"
    assert kept(tmp_path) == [0, 7, 14, 21]
    assert "n_part__first --> n_part__second" in command("graph", path, "--set", "by=1").check().out
    without = command("validate", path).check()
    assert without.code == 2
    assert "parameter 'by' has no default: give it a value, as in --set by=VALUE" in without.err
    wrong = command("validate", path, "--set", "bi=1").check()
    assert (wrong.code, "there is by" in wrong.err) == (2, True)
    by_hand = command("run", path, "--json", "--set", "by=7", "--set", "part.factor=1").check()
    assert by_hand.json()["outcome"] == "completed"
    assert kept(tmp_path) == [0, 1, 2, 3]


# What is wrong with it

WRONG = {
    "no such file": (outer().replace("./scale.yaml", "scal.yaml"), "4: node 'part': there is no manifest 'scal.yaml'"),
    "unknown parameter": (outer(", params: {fcator: 3}"), "has no parameter 'fcator': did you mean 'factor'?"),
    "wrong type": (outer(", params: {factor: many}"), "4: node 'part/first': parameter 'factor': expected"),
    "thread": (outer(", thread: true"), "4: node 'part': is a pipeline: it has `params` and `executor`;"),
    "on_error": (outer(", on_error: skip"), "4: node 'part': is a pipeline: it has `params` and `executor`;"),
    "no such input": (outer(edges="s -> part.input, part -> keep"), "6: edge s -> part.input: pipeline 'part' has no"),
    "inside": (outer(edges="s -> part/first, part -> keep"), "'part/first' is inside another pipeline"),
    "unfed": (outer(edges="part -> keep"), "4: node 'part': nothing is connected to its input 'in'"),
    "name": (outer().replace("part:", "pa/rt:"), "4: node 'pa/rt': is no name"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_in_the_outer_manifest_is_blamed_on_it(tmp_path, what):
    """With its line."""
    manifest(tmp_path, SCALE, "scale.yaml")
    text, expected = WRONG[what]
    path = manifest(tmp_path, text)
    said = problems(path)
    assert any(one.startswith(f"{path}:") and expected in one for one in said), said
    assert not any("scale.yaml:" in one for one in said), said


INNER = {
    "parameter": (SCALE.replace('"${factor}"', '"${fcator}"'), "8: node 'first': there is no parameter 'fcator'"),
    "type": (SCALE.replace(":echo", ":ecco"), "9: node 'part/second': Unknown node type"),
    "value": (SCALE.replace('"${factor}"', "many"), "8: node 'part/first': parameter 'factor': expected"),
    "edge": (SCALE.replace("first -> second", "first -> third"), "10: edge part/first -> part/third: there is no node"),
    "key": (SCALE + "\n    egdes: []\n", "11: a manifest has no key 'egdes'"),
    "yaml": (SCALE + "\n  - x: [\n", ""),
    "declaration": (SCALE.replace("{default: 2}", "2"), "4: parameter 'factor': a name with {default: VALUE}"),
    "declared": (SCALE.replace("default: 2", "defalt: 2"), "4: parameter 'factor' has no key 'defalt'"),
}


@pytest.mark.parametrize("what", INNER)
def test_a_mistake_in_the_inner_manifest_is_blamed_on_it(tmp_path, what):
    """With its own line."""
    text, expected = INNER[what]
    inner = manifest(tmp_path, text, "scale.yaml")
    said = problems(manifest(tmp_path, outer()))
    assert any(one.startswith(f"{inner}:{expected}") for one in said), said


def test_a_pipeline_that_contains_itself(tmp_path):
    """Directly or over others: refused, with the way round."""
    for name, inner in (("a", "b"), ("b", "a")):
        manifest(tmp_path, f"inputs: {{in: n}}\nnodes: {{n: {{type: {inner}.yaml}}}}\n", f"{name}.yaml")
    (said,) = problems(tmp_path / "a.yaml")
    assert said.startswith(f"{tmp_path}/b.yaml:2: node 'n/n': a pipeline can not contain itself: a.yaml -> b.yaml -> a")
    pipeline = penstock.Pipeline("loop")
    with pytest.raises(PipelineInvalid, match="can not contain itself: loop"):
        pipeline.add("again", pipeline).check()


def test_two_of_one_name():
    """A pipeline's name is that of a node."""
    pipeline = penstock.Pipeline().add("p", scaled()).add("p", f"{NODES}:echo").input("x", "p")
    with pytest.raises(PipelineInvalid, match="'p': there is a node of this name already"):
        pipeline.check()


def test_a_needed_parameter():
    """One without a default has to be given."""
    inner = penstock.Pipeline("inner").parameter("n").add("a", anything, {"n": "${n}"}).input("in", "a")
    with pytest.raises(PipelineInvalid, match="node 'p': inner needs the parameter 'n'") as caught:
        penstock.Pipeline().add("p", inner).input("x", "p").check()
    assert len(caught.value.problems) == 1  # and not one more for each node that uses it


@pytest.mark.parametrize("name", ["", "a b", "a-b", 3])
def test_a_parameter_has_a_name(name):
    """A word."""
    with pytest.raises(Validation, match="a parameter has a name"):
        penstock.Pipeline().parameter(name)


def test_a_manifest_used_twice_has_its_problems_once(tmp_path):
    """Its own, that is: those of its nodes are two nodes' problems."""
    manifest(tmp_path, SCALE + "\n    egdes: []\n", "scale.yaml")
    text = outer(edges="s -> part -> more -> keep").replace("keep: {", "more: {type: scale.yaml}\n      keep: {")
    assert len(problems(manifest(tmp_path, text))) == 1


# Routing rules


def test_rules_in_python_are_those_of_manifests(tmp_path):
    """An exact name, then the first pattern; for the type as it is said, or its module and name; else native."""
    rules = {"log": "multiprocess", f"{NODES}:*": "multiprocess", f"{NODES}:echo": "native", "*:Typ?d": "multiprocess"}
    types = {"a": "log", "b": f"{NODES}:echo", "c": f"{NODES}:upper", "d": "mono"}
    pipeline = penstock.Pipeline()
    for pattern, executor in rules.items():
        pipeline.route(pattern, executor)
    for name, node_type in types.items():
        pipeline.add(name, node_type).input(f"to_{name}", name)
    text = "executors: {" + ", ".join(f'"{rule}": {executor}' for rule, executor in rules.items()) + "}\nnodes:\n"
    text += "".join(f'  {name}: {{type: "{kind}"}}\n' for name, kind in types.items())
    text += "inputs: {" + ", ".join(f"to_{name}: {name}" for name in types) + "}\n"
    said = [
        {node.node_id: node.executor.value for node in one.check().nodes}
        for one in (pipeline, penstock.load(manifest(tmp_path, text)))
    ]
    assert said[0] == said[1] == {"a": "Multiprocess", "b": "Native", "c": "Multiprocess", "d": "Native"}


def test_a_rule_for_a_class():
    """A class that is given as such has its module and name."""
    pipeline = penstock.Pipeline().route("nodes.typed:*", "multiprocess").add("t", Typed).input("i", "t")
    (node,) = pipeline.check().nodes
    assert node.executor is ExecutorType.MULTIPROCESS


def test_a_rule_for_no_executor():
    """Refused where it is said."""
    with pytest.raises(Validation, match="there is no executor 'multiproces': did you mean 'multiprocess'"):
        penstock.Pipeline().route("log", "multiproces")
