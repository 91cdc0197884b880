"""The catalogue is whole: every requirement has a check, every MUST a mutant, every part of the contract is cited."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from penstock.conformance import Profile
from penstock.conformance.adapter import Capabilities
from penstock.conformance.collection import checks
from penstock.conformance.contract_text import FIXTURES, PARTS
from penstock.conformance.mutants import MUTANTS
from penstock.conformance.requirements import CATALOGUE, PROFILE_AREAS, Level, in_profile, select

ROOT = Path(__file__).parents[1]


def test_there_are_140():
    """129 MUST, 9 SHOULD, 2 INFO."""
    assert Counter(item.level for item in CATALOGUE.values()) == {Level.MUST: 129, Level.SHOULD: 9, Level.INFO: 2}


@pytest.mark.parametrize(
    ("profile", "must"),
    [
        ("core", 23),
        ("native", 31),
        ("multiprocess", 48),
        ("converter", 31),
        ("databridge", 41),
        ("metrics", 10),
        ("full", 129),
    ],
)
def test_profiles_have_their_counts(profile, must):
    """As the specification counts them."""
    assert sum(item.level is Level.MUST for item in in_profile(Profile(profile))) == must


def test_every_requirement_has_a_check():
    """And every check has a requirement."""
    assert {function.marking.requirement.id for function in checks()} == set(CATALOGUE)


def test_every_must_has_a_mutant():
    """Or nobody knows whether its check sees anything."""
    shown = {mutant.requirement for mutant in MUTANTS.values()}
    assert [name for name, item in CATALOGUE.items() if item.level is Level.MUST and name not in shown] == []


def test_every_requirement_explains_itself():
    """A sentence, a basis, usual causes; what it stands on exists."""
    for item in CATALOGUE.values():
        assert item.sentence and item.causes, item.id
        assert not item.sentence.endswith("."), item.id
        assert set(item.after) <= set(CATALOGUE), item.id


def test_every_part_of_the_contract_is_cited():
    """But the fixtures, which are the smoke gate."""
    cited = set().union(*(item.lines for item in CATALOGUE.values()))
    uncited = [
        title for first, last, title in PARTS if (first, last) != FIXTURES and not cited & set(range(first, last + 1))
    ]
    assert uncited == []


def test_every_decision_of_the_errata_is_cited():
    """But those that decide names and shapes of the types, which every check uses."""
    cited = {name for item in CATALOGUE.values() for name in item.errata}
    shapes = {"D-26", "D-43", "D-45", "D-47", "D-40"}
    assert {f"D-{number:02}" for number in range(1, 51)} - cited == shapes


def test_needs_are_capabilities():
    """Each is a claim that an adapter can make."""
    claims = Capabilities(profiles={Profile.FULL})
    for item in CATALOGUE.values():
        if item.needs:
            assert claims.has(item.needs) in {True, False}


def test_prefixes_select():
    """By id, by area, with and without the R."""
    assert [item.id for item in select(["R-BP-02"])] == ["R-BP-02"]
    assert len(select(["BP"])) == len(select(["r-bp"])) == 16
    with pytest.raises(ValueError, match="R-XX"):
        select(["R-XX"])
    assert set(PROFILE_AREAS) == set(Profile)


def test_the_suite_stands_alone():
    """Of penstock it imports the contract, and of others neither wasmtime nor msgspec."""
    code = """
import pkgutil, importlib, sys, penstock.conformance
for module in pkgutil.walk_packages(penstock.conformance.__path__, "penstock.conformance."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    ours = {name for name in done.stdout.split() if name.startswith("penstock.")}
    allowed = re.compile(r"penstock\.(conformance|executors)(\.|$)")
    assert {name for name in ours if not allowed.match(name)} == set()
    assert {name for name in ours if name.startswith("penstock.executors.")} == {
        name for name in ours if name.startswith("penstock.executors.contract")
    }
    assert not {"wasmtime", "msgspec", "ruamel.yaml"} & set(done.stdout.split())


def test_what_is_imported_for_an_adapter_is_little():
    """A worker that imports the suite's nodes pays for neither trio nor pytest."""
    code = "import sys, penstock.conformance.nodes, penstock.conformance.adapter; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert not {"trio", "pytest", "psutil", "asyncio", "click"} & set(done.stdout.split())


def test_the_rendered_catalogue_is_current():
    """docs/requirements.md is what `python -m penstock.conformance.catalogue` prints."""
    from penstock.conformance.catalogue import markdown

    assert (ROOT / "docs" / "requirements.md").read_text() == markdown()
