"""The host of a node: its parameters, its ports, and whatever it returns."""

import functools
from pathlib import Path
from typing import Optional

import pytest
from nodes import contract, small

from penstock.executors.contract import Node, NodeContext, RuntimeData
from penstock.executors.host import NodeHost, outputs, signature_of

DATA = RuntimeData.text("x")


def host(factory, **params):
    made = NodeHost(factory, NodeContext("n", "t", params))
    made.initialize()
    return made


def test_parameters_are_those_of_the_constructor():
    """Positional and keyword-only ones, in order, with their defaults; self is not among them."""

    class Here:
        def __init__(self, one, *rest, two=2, **others):
            del one, rest, two, others

    signature = signature_of(Here)
    assert list(signature.parameters) == ["one", "two"]
    assert signature.takes_any
    assert not signature.is_function
    assert signature.parameters["two"].default == 2


def test_the_first_argument_of_a_function_is_the_datum():
    """The parameters of a function are all the others."""
    signature = signature_of(small.double)
    assert list(signature.parameters) == ["factor"]
    assert signature.is_function


def test_a_partial_is_a_function():
    """Its bound arguments can still be given."""
    signature = signature_of(functools.partial(small.double, factor=3.0))
    assert signature.is_function
    assert list(signature.parameters) == ["factor"]


def test_ports_are_those_of_the_class():
    """Read without an instance; a class that says nothing has one input and one output."""
    merge, counter, numbers = (signature_of(kind) for kind in (small.Merge, small.Counter, small.Numbers))
    assert merge.inputs == {"left": "json", "right": "json"}
    assert (counter.inputs, counter.outputs) == ({"in": "any"}, {"out": "any"})
    assert (numbers.is_source, counter.is_source) == (True, False)
    assert numbers.inputs == {}


def test_only_the_parameters_that_are_named_are_passed():
    """The others are for `ctx.params` alone."""
    assert signature_of(small.Counter).accepted({"start": 3, "other": 1}) == {"start": 3}


def test_whoever_takes_any_parameter_gets_them_all():
    """`**kwargs` means what it says."""

    class Anything:
        def __init__(self, **params):
            self.params = params

    assert signature_of(Anything).accepted({"a": 1, "b": 2}) == {"a": 1, "b": 2}


OLD_STYLE = Optional[Path]  # noqa: UP045 - as many people still write it


@pytest.mark.parametrize("annotation", [Path, Path | None, OLD_STYLE, str | Path, "Path", "Path | None"])
def test_a_text_for_a_path_becomes_a_path(annotation):
    """However the annotation is written; another value, and another parameter, stay as they are."""

    def node(data, where=None, plain=""):
        return data

    node.__annotations__ = {"where": annotation, "plain": str}
    accepted = signature_of(node).accepted({"where": "a/b", "plain": "c/d"})
    assert accepted == {"where": Path("a/b"), "plain": "c/d"}
    assert type(accepted["plain"]) is str
    assert signature_of(node).accepted({"where": None}) == {"where": None}


def test_postponed_annotations_are_understood():
    """`from __future__ import annotations` changes nothing."""
    reasons = host(contract.Reasons, path="a", maybe="b", plain="c", number=1.0)
    assert reasons.process(DATA, "in").as_json()[1:] == [type(Path()).__name__, "str", "float"]


def test_an_annotation_for_type_checkers_alone_hides_no_parameter():
    """A name imported under TYPE_CHECKING does not exist at run time; the parameters still reach the node."""
    assert host(contract.Unresolvable, size=3).process(DATA, "in").as_json() == 3


def test_a_function_gets_its_parameters_and_those_of_the_call_win():
    """The node sees {**initialize_params, **call_params} for that call alone."""
    doubler = host(small.double, factor=3.0)
    one = RuntimeData.tensor([1.0])
    assert doubler.process(one, "in").as_tensor().tolist() == [3]
    assert doubler.process(one, "in", {"factor": 5.0}).as_tensor().tolist() == [5]
    assert doubler.process(one, "in").as_tensor().tolist() == [3]


def test_a_node_with_several_inputs_is_told_the_port():
    """One with a single input is not."""
    assert host(small.Merge).process(RuntimeData.json(1), "right").as_json() == ["right", 1]
    assert host(small.Counter).process(DATA, "in").as_json() == 1


def test_only_process_is_needed():
    """A class without the other methods is a node."""
    made = host(small.Counter)
    assert made.cleanup() is None
    assert NodeHost(small.echo, NodeContext("n", "t")).flush() is None


def test_a_class_without_process_says_so():
    """The error names the node and what it lacks."""
    with pytest.raises(Exception, match=r"node 'n' has no process\(\)"):
        host(contract.NoProcess).process(DATA, "in")


def test_the_base_class_is_a_convenience():
    """Its hooks do nothing; its process says whose is missing."""
    made = host(Node)
    assert made.flush() is made.cleanup() is None
    with pytest.raises(NotImplementedError, match=r"Node has no process\(\)"):
        made.process(DATA, "in")


@pytest.mark.parametrize(
    ("result", "count"),
    [
        (None, 0),
        (DATA, 1),
        ([], 0),
        ([DATA, DATA], 2),
        ((DATA,), 1),
        ([None, DATA, None], 1),
        (iter([DATA, DATA, DATA]), 3),
        ((DATA for _ in range(4)), 4),
    ],
)
def test_outputs_of_every_kind_are_one_stream(result, count):
    """A datum, nothing, a list, a generator; None among them is nothing."""
    assert list(outputs(result)) == [DATA] * count


@pytest.mark.parametrize("result", [42, "text", b"bytes", {"a": 1}, object()])
def test_anything_else_is_a_type_error_with_the_remedy(result):
    """Alone, and as one of several."""
    for given in (result, [result], iter([DATA, result])):
        with pytest.raises(TypeError, match=rf"not {type(result).__name__}: wrap it with RuntimeData\.audio"):
            list(outputs(given))


@pytest.mark.parametrize("inner", [[DATA], iter([DATA])], ids=["list", "iterator"])
def test_a_list_in_a_list_is_never_passed_on_as_a_datum(inner):
    """It is either flattened or refused."""
    try:
        given = list(outputs([inner]))
    except TypeError:
        return
    assert given == [DATA]
