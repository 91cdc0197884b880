"""The runner survives every adapter, and the suite sees what is wrong with each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.conformance.requirements import select
from penstock.conformance.runner import Options, run
from penstock.conformance.verdict import ExitCode, Verdict, judge

HERE = Path(__file__).parent / "conformance"
REFERENCE = "penstock.conformance.reference.adapter:ReferenceAdapter"


def judged(adapter, *prefixes, **options):
    """The verdict of these requirements."""
    ids = [item.id for item in select(prefixes)]
    return judge(run(adapter, Options(require=ids, path=[str(HERE)], time_scale=1.0, **options)))


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        ("harness:FactoryRaises", "no licence found"),
        ("harness:ExitsInInit", "exit code 0"),
        ("harness:ClaimsNothing", "no profile is claimed"),
        ("harness:ClaimsTooLittle", "tensor"),
        ("harness:ClaimsEverything", "make_converter"),
        ("harness:Refuses", "curio"),
        ("harness:Nobody", "Nobody"),
        ("no_such_module:A", "no_such_module"),
    ],
)
def test_an_adapter_that_can_not_be_used_is_one_message(adapter, said):
    """Exit code 3."""
    verdict = judge(run(adapter, Options(path=[str(HERE)], time_scale=1.0)))
    assert verdict.code == ExitCode.ADAPTER
    assert said in verdict.run.problem


@pytest.mark.parametrize(
    ("adapter", "expected"),
    [
        ("harness:ExitsInTheMiddle", Verdict.CRASH),
        ("harness:SegfaultsInTheMiddle", Verdict.CRASH),
        ("harness:StandsStill", Verdict.HANG),
        ("harness:RaisesKeyboardInterrupt", Verdict.FAIL),
    ],
)
def test_the_run_goes_on_after_a_crash(adapter, expected):
    """The requirement that was being checked has crashed, the others are judged."""
    verdict = judged(adapter, "NX")
    assert verdict.by_id("R-NX-05").verdict is expected
    assert verdict.run.complete
    others = {verdict.by_id(f"R-NX-0{number}").verdict for number in (1, 2, 3, 4, 6, 7, 8)}
    assert others == {Verdict.PASS}
    assert verdict.code == ExitCode.VIOLATED


def test_a_left_daemon_is_found_and_ended():
    """R-LK-01 names it; nothing of it outlives the run."""
    verdict = judged("harness:LeavesADaemon", "R-LK-01")
    assert verdict.by_id("R-LK-01").verdict is Verdict.FAIL
    assert "time.sleep(300)" in verdict.by_id("R-LK-01").worst.actual


def test_flaky_bridges_are_not_retried_into_passing():
    """`--repeat` says how often."""
    verdict = judged("harness:IsFlaky", "R-EB-03", repeat=3)
    assert verdict.by_id("R-EB-03").verdict is Verdict.FAIL
    assert {result.turn for result in verdict.by_id("R-EB-03").results} == {0, 1, 2}


def test_the_reference_keeps_the_core():
    """No false accusation."""
    verdict = judged(REFERENCE, "EB", "NX", "DB", "CL")
    assert [item.requirement.id for item in verdict.failures] == []
    assert verdict.code == ExitCode.CONFORMANT


@pytest.mark.parametrize("name", ["EchoesItsInput", "ChecksThenActs", "AddsZero", "ClearsAtClose", "Nanoseconds"])
def test_a_few_mutants_are_caught(name):
    """By the id of what they break; `penstock conformance selftest` runs them all."""
    from penstock.conformance.mutants import MUTANTS
    from penstock.conformance.selftest import execute

    death = execute(MUTANTS[name])
    assert death.caught, death


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run"], 2, "--bridge"),
        (["run", "--bridge", "x"], 2, "package.module:Class"),
        (["run", "--bridge", "a:B", "--require", "R-XX-01"], 2, "R-XX-01"),
        (["run", "--bridge", "a:B", "--known", "/no/such/file"], 2, "/no/such/file"),
        (["list", "--profile", "metrics"], 0, "11 requirements"),
        (["explain", "bp-02"], 0, "ChecksThenActs"),
        (["explain", "R-ZZ-09"], 2, "R-ZZ-09"),
        (["selftest", "--mutant", "Nobody"], 2, "Nobody"),
    ],
)
def test_commands(arguments, code, said):
    """Exit codes and words of the commands that run nothing."""
    command = [sys.executable, "-m", "penstock", "conformance", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr


def test_without_the_extra_it_says_what_to_install():
    """In one line, with exit code 2."""
    code = "import sys; sys.modules['pytest'] = None; from penstock.conformance.cli import main; main(['list'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "penstock conformance needs pytest: pip install 'penstock[conformance]'\n"


def test_options_come_from_the_environment_and_the_project(tmp_path):
    """The command line wins over the environment, the environment over pyproject.toml."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.penstock-conformance]\nbridge = "a:InProject"\nrequire = ["R-EB-02"]\n'
    )
    shell = {"BRIDGE_CONFORMANCE_BRIDGE": "a:InShell"}
    for extra, env, bridge in (
        ([], {}, "InProject"),
        ([], shell, "InShell"),
        (["--bridge", "a:OnLine"], shell, "OnLine"),
    ):
        command = [sys.executable, "-m", "penstock.conformance", "run", "--json", *extra]
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **env}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 3
        assert json.loads(done.stdout)["runs"][0]["implementation"]["adapter"] == f"a:{bridge}"
