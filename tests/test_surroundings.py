"""Other interpreters, environments and working directories of workers."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from support import NODES, ROOT, manifest

import penstock
from penstock.engine.options import RunOptions
from penstock.engine.problems import PipelineInvalid
from penstock.executors.contract import RuntimeData
from penstock.executors.multiprocess import boot

MODULE = """
import enum, os, sys
from pathlib import Path

import numpy as np

from penstock import Node, RuntimeData


class Mode(enum.Enum):
    FAST = "fast"


class Asr(Node):
    inputs = {"in": "text"}
    outputs = {"out": "json"}

    def __init__(self, *, mode: Mode = Mode.FAST, sizes: list[int] = [], path: Path | None = None) -> None:
        self.said = [repr(mode), sizes, repr(path)]

    def check(self) -> None:
        if self.said[1] == [13]:
            raise ValueError("13 is no size")

    def process(self, data: RuntimeData) -> RuntimeData:
        name = data.as_text()
        if name == "importable":
            return RuntimeData.json([module for module in ("trio", "msgspec", "psutil", "click") if find(module)])
        if name == "spawn":
            from multiprocessing import get_context

            with get_context("spawn").Pool(1) as pool:
                return RuntimeData.json(pool.apply(in_child))
        answers = {
            "python": [sys.prefix, list(sys.version_info[:2])],
            "said": self.said,
            "env": dict(os.environ),
            "cwd": os.getcwd(),
            "numpy": np.arange(3).tolist(),
        }
        return RuntimeData.json(answers[name])


def find(module):
    from importlib.util import find_spec

    return find_spec(module) is not None


def in_child():
    import penstock.executors

    return penstock.executors.RuntimeData.text("x").as_text()


def upper(data):
    return RuntimeData.text(data.as_text().upper())
"""


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """A virtual environment of this Python that has nothing, and one that has numpy alone."""
    made = {}
    for name in ("empty", "numpy"):
        folder = tmp_path_factory.mktemp("venv") / name
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
        made[name] = folder / "bin" / "python"
    (site,) = (made["numpy"].parent.parent / "lib").glob("python*/site-packages")
    source = Path(np.__file__).parent
    for package in (source, source.parent / "numpy.libs"):
        if package.exists():
            (site / package.name).symlink_to(package)
    return made


def others():
    """Interpreters of other versions on PATH or in tox's folder: those that can run a worker, and too old ones."""
    places = os.environ["PATH"].split(os.pathsep)
    places += map(str, Path(os.environ.get("TOX_WORK_DIR", ROOT / ".tox")).glob("py3*/bin"))
    fitting, old = {}, {}
    for minor in (8, 9, 10, 11, 12, 13, 14):
        python = shutil.which(f"python3.{minor}", path=os.pathsep.join(places))
        if python is None or (3, minor) == sys.version_info[:2]:
            continue
        works = subprocess.run([python, "-c", "import sys" if minor < 11 else "import numpy"], capture_output=True)
        if works.returncode == 0:
            (old if minor < 11 else fitting)[f"3.{minor}"] = python
    return fitting, old


def module(folder, name="asr_of_a_test"):
    (folder / f"{name}.py").write_text(MODULE)
    return f"{name}:Asr"


async def ask(pipeline, *questions):
    """What the node `n` answers to each question."""
    pipeline.input("ask", "n").output("said", "n")
    async with pipeline.open() as run:
        answers = []
        for question in questions:
            await run.send("ask", question)
            answers.append((await run.receive("said")).as_json())
    return answers


async def in_interpreter(folder, python):
    """A node of a module beside the manifest, in another interpreter."""
    kind = module(folder)
    path = manifest(
        folder,
        f"""
        nodes:
          n: {{type: "{kind}", executor: multiprocess, python: {python},
              params: {{mode: fast, sizes: [1, 2], path: a.txt}}}}
        """,
    )
    return await ask(penstock.load(path), "python", "said", "numpy", "importable", "spawn")


async def test_a_node_in_a_venv_that_has_numpy_alone(tmp_path, bare):
    """It finds the engine's penstock and no other package of the engine; so do children that it spawns."""
    python, said, array, importable, child = await in_interpreter(tmp_path, bare["numpy"])
    assert python == [str(bare["numpy"].parent.parent), list(sys.version_info[:2])]
    assert said == ["<Mode.FAST: 'fast'>", [1, 2], f"PosixPath('{tmp_path}/a.txt')"]
    assert (array, importable, child) == ([0, 1, 2], [], "x")


async def test_a_node_in_another_python(tmp_path):
    """Of every version that is at hand."""
    fitting, _ = others()
    if not fitting:
        pytest.skip("no other Python with numpy is on PATH, or in tox's folder")
    for version, python in fitting.items():
        said, *_ = await in_interpreter(tmp_path, python)
        assert said[1] == [int(part) for part in version.split(".")]


async def test_a_relative_interpreter_starts_at_the_manifest(tmp_path, bare, monkeypatch):
    """As every path does; functions and built-in nodes run there as well."""
    monkeypatch.chdir("/")
    module(tmp_path)
    (tmp_path / "venv").symlink_to(bare["numpy"].parent.parent)
    path = manifest(
        tmp_path,
        """
        nodes:
          n: {type: "asr_of_a_test:upper", executor: multiprocess, python: venv/bin/python, delivery: replay}
          log: {type: log, executor: multiprocess, python: venv/bin/python}
        edges: [n -> log]
        inputs: {in: n}
        outputs: {out: log}
        """,
    )
    async with penstock.load(path).open() as run:
        await run.send("in", RuntimeData.text("ü"))
        assert (await run.receive("out")).as_text() == "Ü"


async def test_in_one_process_there_is_one_interpreter(tmp_path, bare):
    """`--executor native` looks for the type here."""
    kind = module(tmp_path, "asr_of_another_test")
    path = manifest(tmp_path, f'nodes: {{n: {{type: "{kind}", executor: multiprocess, python: {bare["numpy"]}}}}}')
    pipeline = penstock.load(path).input("ask", "n").output("said", "n")
    async with pipeline.open(RunOptions(only_native=True)) as run:
        await run.send("ask", "python")
        assert (await run.receive("said")).as_json()[0] == sys.prefix


async def test_variables(tmp_path, monkeypatch):
    """Beside those of the program, or, if it says so, instead of them."""
    monkeypatch.setenv("FROM_OUTSIDE", "1")
    kind = module(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for inherit in (True, False):
        env = {"MINE": 3, "inherit": inherit}
        pipeline = penstock.Pipeline().add("n", kind, executor="multiprocess", env=env)
        ((said),) = await ask(pipeline, "env")
        assert said["MINE"] == "3"
        assert ("FROM_OUTSIDE" in said) is inherit
        assert ("PATH" in said) is inherit
        assert "inherit" not in said


async def test_a_working_directory(tmp_path, monkeypatch):
    """From the manifest; paths of parameters still start at the manifest, or where the program runs."""
    kind = module(tmp_path)
    (tmp_path / "work").mkdir()
    path = manifest(
        tmp_path, f'nodes: {{n: {{type: "{kind}", executor: multiprocess, cwd: work, params: {{path: a}}}}}}'
    )
    monkeypatch.chdir(tmp_path)
    cwd, said = await ask(penstock.load("graph.yaml"), "cwd", "said")
    assert (cwd, said[2]) == (str(tmp_path / "work"), f"PosixPath('{tmp_path}/a')")
    _, said = await ask(penstock.load(path).set("n", "path", "b"), "cwd", "said")
    assert said[2] == f"PosixPath('{tmp_path}/b')"


# What is wrong


def problem_of(folder, **said):
    pipeline = penstock.Pipeline()
    pipeline.file = str(folder / "graph.yaml")
    pipeline.add("n", said.pop("node_type", module(folder)), executor="multiprocess", **said).input("i", "n")
    with pytest.raises(PipelineInvalid) as caught:
        pipeline.check()
    (problem,) = caught.value.problems
    return problem.text


def test_an_interpreter_without_numpy(tmp_path, bare):
    """Said before anything starts."""
    text = problem_of(tmp_path, python=bare["empty"])
    assert f"interpreter {bare['empty']} (Python" in text
    assert "has no numpy, the one package that a worker needs" in text


def test_an_interpreter_that_is_too_old(tmp_path):
    """With the version that it has, and the one that it needs."""
    _, old = others()
    if not old:
        pytest.skip("no Python before 3.11 is on PATH")
    for version, python in old.items():
        text = problem_of(tmp_path, python=python)
        assert f"is Python {version}" in text
        assert "and penstock needs 3.11 or later" in text


MISTAKES = {
    "gone": ({"python": "no/such/python"}, "there is no interpreter 'no/such/python'"),
    "no name": ({"python": "no-such-python"}, "there is no interpreter 'no-such-python'"),
    "folder": ({"python": "/"}, "there is no interpreter '/'"),
    "no interpreter": ({"python": shutil.which("true")}, "could not say what asr_of_a_test:Asr is: exit code 0"),
    "cwd": ({"cwd": "nowhere"}, "there is no folder 'nowhere' (`cwd`)"),
    "inherit": ({"env": {"inherit": "no"}}, "`inherit` of env is true or false, not 'no'"),
    "variable": ({"env": {"X": True}}, "variable 'X' of env is a text or a number, not True"),
    "list": ({"env": {"X": [1]}}, "variable 'X' of env is a text or a number, not [1]"),
    "equals": ({"env": {"X=": 1}}, "'X=' can be no variable of env"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_surroundings_that_are_not_there(tmp_path, what):
    """Every mistake is a problem of the check."""
    said, text = MISTAKES[what]
    assert text in problem_of(tmp_path, **said)


ELSEWHERE = {
    "module": ({"node_type": "gone_from_here:Asr"}, "Unknown node type: gone_from_here:Asr"),
    "name": ({"node_type": "asr_of_a_test:Arr"}, "has no 'Arr'"),
    "parameter": ({"params": {"mod": "fast"}}, "has no parameter 'mod': did you mean 'mode'?"),
    "choice": ({"params": {"mode": "slow"}}, "parameter 'mode': expected 'fast': 'slow'"),
    "type": ({"params": {"sizes": ["x"]}}, "parameter 'sizes': expected int, got str - at $[0]"),
    "check": ({"params": {"sizes": [13]}}, "13 is no size"),
    "wasm": ({"node_type": "x.wasm"}, "a .wasm file needs no interpreter"),
}


@pytest.mark.parametrize("what", ELSEWHERE)
def test_a_node_elsewhere_is_checked_there(tmp_path, bare, what):
    """Its type, its parameters and its own check, though this interpreter can not import it."""
    said, text = ELSEWHERE[what]
    assert text in problem_of(tmp_path, python=bare["numpy"], **said)


def test_surroundings_are_for_workers(tmp_path):
    """A native node is in this process."""
    pipeline = penstock.Pipeline().add("n", f"{NODES}:echo", cwd=tmp_path).input("i", "n")
    with pytest.raises(PipelineInvalid, match="`python`, `env` and `cwd` are for nodes on the multiprocess executor"):
        pipeline.check()


async def test_a_venv_that_loses_numpy_between_check_and_start(tmp_path, bare):
    """The handshake looks again, and says so."""
    venv = tmp_path / "venv"
    shutil.copytree(bare["numpy"].parent.parent, venv, symlinks=True)
    kind = module(tmp_path)
    pipeline = penstock.Pipeline()
    pipeline.file = str(tmp_path / "graph.yaml")
    pipeline.add("n", kind, executor="multiprocess", python="venv/bin/python").input("i", "n").output("o", "n")
    plan = pipeline.check()
    (site,) = (venv / "lib").glob("python*/site-packages")
    shutil.rmtree(site)
    pipeline.check = lambda **_: plan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("penstock.engine.opening.check", lambda *_, **__: plan)
        with pytest.raises(penstock.ServiceError, match="has no numpy, the one package that a worker needs"):
            async with pipeline.open() as run:
                await run.wait()


def test_what_it_needs_is_what_the_package_needs():
    """The versions in the boot file are those of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">={}.{}".format(*boot.PYTHON)
    assert "numpy>={}.{}".format(*boot.NUMPY) in project["dependencies"]
