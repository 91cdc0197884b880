"""Parameters: checked against the annotations of a node, told in words, and given to it as what they are."""

import pathlib
from typing import Any, Literal, Optional

import pytest
from nodes.typed import Level, Mode, Typed
from support import penstock as command

import penstock
from penstock.engine.problems import PipelineInvalid
from penstock.engine.values import words

TYPED = "nodes.typed:Typed"
FITTING = [
    ("whole", 3, "3"),
    ("number", 3, "3.0"),
    ("number", 0.5, "0.5"),
    ("text", "ü", "'ü'"),
    ("flag", True, "True"),
    ("choice", "b", "'b'"),
    ("choice", 3, "3"),
    ("maybe", None, "None"),
    ("maybe", 4, "4"),
    ("several", [1, 2], "[1, 2]"),
    ("pair", [1, "x"], "(1, 'x')"),
    ("some", ["x"], "{'x'}"),
    ("by_name", {"a": 1}, "{'a': 1.0}"),
    ("path", "/a/b", "PosixPath('/a/b')"),
    ("maybe_path", "/a", "PosixPath('/a')"),
    ("maybe_path", None, "None"),
    ("text_or_path", "/a", "PosixPath('/a')"),
    ("text_or_path", ["/a"], "[PosixPath('/a')]"),
    ("paths", ["/a", "/b"], "[PosixPath('/a'), PosixPath('/b')]"),
    ("mode", "good", "<Mode.GOOD: 'good'>"),
    ("maybe_mode", "fast", "<Mode.FAST: 'fast'>"),
    ("modes", ["fast", "good"], "[<Mode.FAST: 'fast'>, <Mode.GOOD: 'good'>]"),
    ("level", 2, "<Level.HIGH: 2>"),
    ("array", [1], "[1]"),
    ("anything", {"x": [None]}, "{'x': [None]}"),
    ("unsaid", [1, {}], "[1, {}]"),
]


@pytest.mark.parametrize("executor", ["native", "multiprocess"])
async def test_a_node_gets_what_its_annotation_says(executor):
    """In this process and in a worker: numbers, paths, enums, tuples and sets, also within lists."""
    pipeline = penstock.Pipeline()
    for number, (name, value, _) in enumerate(FITTING):
        if executor == "native" or number % 9 == 4:  # a worker takes a while to start
            pipeline.add(f"n{number}", TYPED, {name: value}, executor=executor)
            pipeline.input(f"i{number}", f"n{number}").output(f"o{number}", f"n{number}")
    async with pipeline.open() as run:
        for number, (name, _, expected) in enumerate(FITTING):
            if executor == "native" or number % 9 == 4:
                await run.send(f"i{number}", name)
                assert (await run.receive(f"o{number}")).as_text() == expected


async def test_in_a_worker_too():
    """Everything at once."""
    params = {name: value for name, value, _ in FITTING}
    pipeline = penstock.Pipeline().add("n", TYPED, params, executor="multiprocess").input("i", "n").output("o", "n")
    async with pipeline.open() as run:
        for name, value, expected in FITTING:
            if params[name] == value:
                await run.send("i", name)
                assert (await run.receive("o")).as_text() == expected


def test_values_of_python_itself():
    """What a program gives may be an enum, a path or a tuple already."""
    params = {"mode": Mode.GOOD, "path": pathlib.Path("/a"), "pair": (1, "x"), "level": Level.HIGH}
    (node,) = penstock.Pipeline().add("n", Typed, params).input("i", "n").check().nodes
    assert node.params == {"mode": "good", "path": "/a", "pair": [1, "x"], "level": 2} or node.params == {
        "mode": "good",
        "path": "/a",
        "pair": (1, "x"),
        "level": 2,
    }


UNFIT = [
    ("whole", "many", "expected int, got str: 'many'"),
    ("whole", 1.5, "expected int, got float: 1.5"),
    ("whole", True, "expected int, got bool: True"),
    ("number", "x", "expected float, got str: 'x'"),
    ("text", 3, "expected str, got int: 3"),
    ("flag", "yes", "expected bool, got str: 'yes'"),
    ("choice", "c", "expected 'a' or 'b' or 3: 'c'"),
    ("maybe", "x", "expected int | null, got str: 'x'"),
    ("several", [1, "b"], "expected int, got str - at $[1]: [1, 'b']"),
    ("several", 1, "expected array, got int: 1"),
    ("pair", [1], "expected array of length 2, got 1: [1]"),
    ("by_name", {"a": "x"}, "expected float, got str - at $[...]: {'a': 'x'}"),
    ("path", 3, "expected path, got int: 3"),
    ("paths", [3], "expected path, got int - at $[0]: [3]"),
    ("text_or_path", 3, "expected str | array, got int: 3"),
    ("mode", "best", "expected 'fast' or 'good': 'best'"),
    ("modes", ["fast", "x"], "expected list of 'fast' or 'good' - at $[1]: ['fast', 'x']"),
    ("level", 7, "expected 1 or 2: 7"),
]


@pytest.mark.parametrize(("name", "value", "text"), UNFIT)
def test_a_value_that_does_not_fit(name, value, text):
    """The problem names node and parameter, what was expected, and what there is."""
    with pytest.raises(PipelineInvalid) as caught:
        penstock.Pipeline().add("n", TYPED, {name: value}).check()
    said = [problem.text for problem in caught.value.problems if "nothing is connected" not in problem.text]
    assert said == [f"node 'n': parameter {name!r}: {text}"]


WORDS = [
    (int, "int"),
    (Optional[int], "int or null"),  # noqa: UP045
    (list[int], "list of int"),
    (dict[str, float], "dict of str to float"),
    (Literal["a", 3], "'a' or 3"),
    (Mode, "'fast' or 'good'"),
    (pathlib.Path | None, "path or null"),
    (Any, "any"),
    (tuple[int, ...], "tuple[int, ...]"),
]


@pytest.mark.parametrize(("annotation", "said"), WORDS)
def test_annotations_in_words(annotation, said):
    """As the command shows them."""
    assert words(annotation) == said


def test_the_command_shows_parameters():
    """With their types, their defaults, and whether they have to be given."""
    out = command("nodes", TYPED).check().out
    for line in ("mode: 'fast' or 'good' = \"fast\"", "paths: list of path = []", "maybe: int or null = null"):
        assert f"  {line}\n" in out
    assert "  path: path (required)\n" in command("nodes", "wav_sink").check().out
