"""What is installed: every package, every public name, and nothing imported before it is needed."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import penstock

ROOT = Path(__file__).parents[1]
HOMES = {"penstock": "penstock", **{name: f"penstock.{name}" for name in ("engine", "executors", "shm", "conformance")}}
HEAVY = {"trio", "psutil", "click", "rich", "msgspec", "ruamel", "wasmtime"}


def packages_of_the_tree():
    """Every folder of ours with an `__init__.py`, by its import name."""
    return {
        ".".join([HOMES[folder], *init.parent.relative_to(ROOT / folder).parts])
        for folder in HOMES
        for init in (ROOT / folder).rglob("__init__.py")
    }


def modules():
    """Every module of ours, by its import name."""
    return sorted(
        ".".join([HOMES[folder], *path.relative_to(ROOT / folder).with_suffix("").parts]).removesuffix(".__init__")
        for folder in HOMES
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__main__.py"
    )


def imported_by(code):
    """What a fresh interpreter has imported after some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_package_list_is_the_tree():
    """Nothing is forgotten, and nothing is listed that is not there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert sorted(project["packages"]) == sorted(packages_of_the_tree())
    assert project["package-dir"] == {home: folder for folder, home in HOMES.items() if folder != home}


def test_the_version_is_said_twice_and_the_same():
    """In pyproject.toml and in the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert penstock.__version__ == project["version"]


def test_type_checkers_find_types():
    """py.typed stands where they look."""
    assert (ROOT / "penstock" / "py.typed").exists()


@pytest.mark.parametrize("name", modules())
def test_every_name_in_all_is_there(name):
    """Each public module says its names once, and each of them can be had."""
    module = importlib.import_module(name)
    names = getattr(module, "__all__", None)
    if names is None:
        checks = name.startswith("penstock.conformance.checks.")  # tests, which nobody imports by name
        assert checks or name in NO_NAMES, f"{name} has no __all__"
        return
    assert len(set(names)) == len(names)
    for public in names:
        assert getattr(module, public) is not None


NO_NAMES = {"penstock.shm", "penstock.executors.multiprocess.worker"}
"""Packages that only hold modules, and the program of a worker."""


@pytest.mark.parametrize("name", ["penstock", "penstock.executors", "penstock.engine", "penstock.executors.wasm"])
def test_a_name_that_is_not_there_is_an_attribute_error(name):
    """As of any module, with both names."""
    module = importlib.import_module(name)
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'no_such_thing'"):
        _ = module.no_such_thing


@pytest.mark.parametrize("name", ["penstock", "penstock.executors"])
def test_dir_lists_the_lazy_names(name):
    """Completion in a shell finds what is not imported yet."""
    module = importlib.import_module(name)
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize(
    "code",
    [
        "import penstock",
        "import penstock.executors",
        "import penstock.engine",
        "import penstock.shm.channel, penstock.shm.owner",
        "import penstock.executors.contract",
        "from penstock import RuntimeData, Node",
        "from penstock.executors import RuntimeData, NodeExecution",
        "import penstock.executors.multiprocess.worker",
        "import penstock.executors.multiprocess.serve",
    ],
)
def test_importing_is_lazy(code):
    """No trio, no engine's libraries: a worker, and whoever needs the types alone, does not pay for them."""
    roots = {name.partition(".")[0] for name in imported_by(code)}
    assert not roots & HEAVY


def test_importing_does_nothing():
    """No thread, no child, no logging handler, no signal handler; also of the parts that do the work."""
    code = """
import logging, signal, threading
from multiprocessing import resource_tracker
before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
import penstock.executors.multiprocess.bridge, penstock.engine.running, penstock.executors.wasm.bridge
assert threading.active_count() == 1
assert resource_tracker._resource_tracker._fd is None
assert logging.getLogger().handlers == [] and logging.getLogger("penstock").handlers == []
assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
"""
    assert "penstock.engine.running" in imported_by(code)


def test_one_copy_of_every_module():
    """Nothing of ours is imported by the bare name of its folder."""
    loaded = imported_by("from penstock import Pipeline\nimport penstock.executors.router, penstock.engine.cli")
    assert not loaded & {"engine", "executors", "shm", "conformance"}


def test_the_command_is_there():
    """`python -m penstock` and the script of pyproject.toml are one program."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["penstock"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    done = subprocess.run([sys.executable, "-m", "penstock", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "Usage: " in done.stdout
