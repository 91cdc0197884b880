"""Node types by name: what is found, and what is said of what is not."""

import importlib.metadata
import sys
from collections import Counter

import pytest
from nodes import small

from penstock.executors import registry
from penstock.executors.contract import Validation
from penstock.executors.registry import NodeRegistry, run_as_main, type_name
from penstock.executors.wasm.type import WasmType


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Makes a module of a text, importable until the test ends."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)

    return make


def test_a_type_is_found_by_module_and_name():
    """Classes, functions, and what stands in a class."""
    find = NodeRegistry().find
    assert find("nodes.small:Counter") is small.Counter
    assert find("nodes.small:echo") is small.echo
    assert find("nodes.small:Counter.process") is small.Counter.process


def test_a_short_name_stands_for_a_class_or_a_string():
    """A later registration replaces an earlier one."""
    types = NodeRegistry({"a": small.echo, "b": "nodes.small:upper"})
    assert types.find("a") is small.echo
    assert types.find("b") is small.upper
    types.register("a", small.double)
    assert types.find("a") is small.double
    assert {"a", "b"} <= set(types.names())


def test_registries_share_nothing():
    """What one knows, another does not."""
    types = {"a": small.echo}
    NodeRegistry(types).register("b", small.echo)
    assert types == {"a": small.echo}
    with pytest.raises(Validation):
        NodeRegistry().find("a")


def test_an_entry_point_is_a_type(monkeypatch):
    """Installed packages bring node types of the group `penstock.nodes`."""
    point = importlib.metadata.EntryPoint("loud", "nodes.small:upper", registry.ENTRY_POINTS)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == point.group else [])
    registry._entry_points.cache_clear()
    try:
        assert NodeRegistry().find("loud") is small.upper
        assert "loud" in NodeRegistry().names()
    finally:
        registry._entry_points.cache_clear()


def test_a_wasm_file_is_a_type():
    """A path that ends in .wasm is not looked for among modules."""
    assert isinstance(NodeRegistry().find("some/where.wasm"), WasmType)


@pytest.mark.parametrize("name", ["Nope", "nodes.small", "", "ünknown", "a/b"])
def test_an_unknown_name_is_told_exactly(name):
    """R-NX-01: the whole text is "Unknown node type: T"."""
    with pytest.raises(Validation) as caught:
        NodeRegistry().find(name)
    assert str(caught.value) == f"Unknown node type: {name}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nodes.nowhere:X", r"Unknown node type: nodes.nowhere:X \(there is no module 'nodes.nowhere'\)"),
        ("nowhere.at.all:X", r"Unknown node type: nowhere.at.all:X \(there is no module 'nowhere'\)"),
        ("nodes.small:Nope", r"Unknown node type: nodes.small:Nope \(module 'nodes.small' has no 'Nope'\)"),
        ("nodes.small:", r"Unknown node type: nodes.small: \(module 'nodes.small' has no ''\)"),
        ("nodes.small:Counter.nope", r"Unknown node type: .* has no 'Counter.nope'\)"),
        ("nodes.small:os.sep", r"Unknown node type: nodes.small:os.sep"),
        (":X", "Node type :X can not be loaded: "),
        ("..up:X", "Node type ..up:X can not be loaded: "),
    ],
)
def test_what_can_not_be_found_is_a_validation_that_says_where(name, text):
    """The text names the type, and how far the search came."""
    with pytest.raises(Validation, match=f"^{text}"):
        NodeRegistry().find(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_like_it", "No module named 'nothing_like_it'"),
        ("def f(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit('no')", "SystemExit"),
    ],
)
def test_a_module_that_fails_is_told_apart_from_one_that_is_missing(module, text, said):
    """A node type whose module breaks is not "unknown": the text has the module's own error."""
    module("broken_nodes", text)
    with pytest.raises(Validation, match=f"^Node type broken_nodes:X can not be loaded: .*{said}"):
        NodeRegistry().find("broken_nodes:X")


def test_the_name_of_a_type_finds_it_again():
    """What `type_name` says, `find` understands."""
    for factory in (small.echo, small.Counter):
        assert NodeRegistry().find(type_name(factory)) is factory


@pytest.mark.parametrize(
    "make", [lambda: lambda data: data, lambda: type("Local", (), {"__qualname__": "f.<locals>.L"})]
)
def test_what_another_process_can_not_find_has_no_name(make):
    """A lambda and a local class are refused, with the remedy."""
    with pytest.raises(Validation, match="can not be found by another process: define it at the top of a module"):
        type_name(make())


def test_an_instance_has_no_name():
    """An object that happens to be callable is no type."""
    with pytest.raises(Validation, match="can not be found"):
        type_name(Counter())


def test_a_script_is_importable_without_running_as_main(tmp_path, monkeypatch):
    """The classes of the main script are found under its own name, and its guard does not fire."""
    script = tmp_path / "script.py"
    script.write_text("class Mine: pass\nif __name__ == '__main__': raise SystemExit\n")
    monkeypatch.setitem(sys.modules, "__mp_main__", None)
    monkeypatch.delitem(sys.modules, "__mp_main__")
    run_as_main(str(script))
    try:
        assert NodeRegistry().find("__main__:Mine").__name__ == "Mine"
    finally:
        del sys.modules["__mp_main__"]
