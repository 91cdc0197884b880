"""The schema for editors says what the reader takes: nothing else, and nothing less."""

import copy
import json
from pathlib import Path

import pytest
from support import NODES, ROOT, manifest
from support import penstock as command
from test_manifest import GOOD

import penstock
from penstock.engine.manifest import _parse, _plain
from penstock.engine.nodes import BUILTIN
from penstock.engine.problems import PipelineInvalid
from penstock.engine.schema import EDGE, INPUT, MANIFEST, NODE, OUTPUT, PARAMETER, manifest_schema

jsonschema = pytest.importorskip("jsonschema", reason="it is in the group `tests`")
VALUES = [None, True, False, 0, 1, -1, 2.5, 10**9, "x", "", "unlimited", "block", [], ["one"], [1], {}, {"x": 1}]


@pytest.fixture(scope="module")
def schema():
    made = manifest_schema()
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


def document():
    """A manifest that uses everything."""
    return {
        "nodes": {"one": {"type": f"{NODES}:Numbers"}, "two": {"type": f"{NODES}:echo"}, "three": {"type": "log"}},
        "edges": [{"from": "one", "to": "two"}],
        "inputs": {"in": {"to": "three"}},
        "outputs": {"out": {"from": "two"}},
        "parameters": {"p": {}},
    }


PLACES = {
    "manifest": (MANIFEST, lambda doc: doc),
    "node": (NODE, lambda doc: doc["nodes"]["two"]),
    "edge": (EDGE, lambda doc: doc["edges"][0]),
    "input": (INPUT, lambda doc: doc["inputs"]["in"]),
    "output": (OUTPUT, lambda doc: doc["outputs"]["out"]),
    "parameter": (PARAMETER, lambda doc: doc["parameters"]["p"]),
}


def refused(folder, doc):
    """Whether the reader, or the check, has anything against a manifest."""
    path = manifest(folder, json.dumps(doc))
    try:
        penstock.load(path).check()
    except PipelineInvalid:
        return True
    return False


@pytest.mark.parametrize("place", PLACES)
def test_the_schema_is_never_stricter_than_the_reader(tmp_path, schema, place):
    """Every key with values of every type: what the schema refuses, the reader refuses, too, without a traceback."""
    keys, at = PLACES[place]
    agreed = 0
    for key in keys:
        for value in VALUES:
            doc = document()
            at(doc)[key] = copy.deepcopy(value)
            if not schema.is_valid(doc):
                assert refused(tmp_path, doc), (key, value)
                agreed += 1
            else:
                refused(tmp_path, doc)
    assert agreed > len(keys) or place == "parameter"


EDGES = {"capacity": 3, "max_bytes": 9, "max_age": 0.5, "timeout": 2.5, "policy": "drop_oldest"}
FITTING = {
    "manifest": {"penstock": 1, "name": "x", "nodes": {}, "edges": ["one -> two"], "inputs": {"in": ["one", "two"]}}
    | {"outputs": {"out": "two"}, "parameters": {"p": None}, "executors": {"x:*": "native"}, "wait": "spin"}
    | {"max_growth": 3},
    "node": {"type": "log", "params": {"every": 2}, "executor": "multiprocess", "thread": True, "init_timeout": 1.5}
    | {"limits": {}, "delivery": "replay", "restart": {"max": "unlimited", "window": 1, "backoff": 0, "max_backoff": 2}}
    | {"max_redeliveries": "unlimited", "snapshot_every": 2, "on_error": "skip", "timeout": 0.5, "python": "python3"}
    | {"env": {"A": 1, "B": "x", "inherit": False}, "cwd": "."},
    "edge": {"from": "one", "to": "two", "feedback": True, **EDGES},
    "input": {"to": ["one", "two"], **EDGES},
    "output": {"from": "two", **EDGES},
    "parameter": {"default": [1, {"x": None}]},
}


@pytest.mark.parametrize("place", PLACES)
def test_every_key_takes_what_fits(tmp_path, schema, place):
    """Schema and reader both take a value that fits, of every key there is."""
    keys, at = PLACES[place]
    assert FITTING[place].keys() == keys.keys()
    for key, value in FITTING[place].items():
        doc = document()
        at(doc)[key] = value
        schema.validate(doc)
        assert penstock.load(manifest(tmp_path, json.dumps(doc))).problems == [], key


@pytest.mark.parametrize("place", PLACES)
def test_a_key_that_is_none_is_refused_by_both(tmp_path, schema, place):
    """A word that is misspelt."""
    _, at = PLACES[place]
    doc = document()
    at(doc)["exekutor"] = 1
    assert not schema.is_valid(doc)
    assert refused(tmp_path, doc)


def manifests():
    """Those of examples, and what the documentation shows whole."""
    found = [path for path in ROOT.glob("examples/**/*.yaml") if "nodes:" in path.read_text()]
    assert found
    return sorted(found)


@pytest.mark.parametrize("path", manifests(), ids=lambda path: str(Path(path).relative_to(ROOT)))
def test_examples_are_valid(schema, path):
    """Every manifest that we ship."""
    schema.validate(_plain(_parse(str(path))))


def test_what_uses_everything_is_valid(tmp_path, schema):
    """The document of this test, and that of the reader's."""
    schema.validate(document())
    schema.validate(_plain(_parse(str(manifest(tmp_path, GOOD)))))
    assert not refused(tmp_path, document() | {"parameters": {"p": {"default": 1}}})


@pytest.mark.parametrize(
    ("node", "is_valid"),
    [
        ({"type": "tone", "params": {"frequency_hz": 440, "duration_s": 1}}, True),
        ({"type": "tone", "params": {"frequency_hz": "${f}", "duration_s": 1}}, True),
        ({"type": "tone", "params": {"frequency_hz": "high", "duration_s": 1}}, False),
        ({"type": "tone", "params": {"frequenzy_hz": 440}}, False),
        ({"type": "zip", "params": {"inputs": ["a", "b"], "by": "time"}}, False),
        ({"type": "zip", "params": {"inputs": {"a": "json", "b": "any"}, "by": "timestamp"}}, True),
        ({"type": "wav_sink", "params": {"path": "x.wav", "format": "i16"}}, True),
        ({"type": "mine:Node", "params": {"anything": [1]}}, True),
    ],
)
def test_parameters_of_nodes_that_come_with_penstock(schema, node, is_valid):
    """From their annotations, as the check takes them."""
    assert schema.is_valid({"nodes": {"n": node}}) is is_valid


def test_the_command_prints_it():
    """One JSON document, with every built-in type."""
    said = json.loads(command("schema").check().out)
    assert said == manifest_schema()
    assert len(said["$defs"]["node"]["allOf"]) == len(BUILTIN)
