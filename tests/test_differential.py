"""The same graph gives the same wherever its nodes run: outputs, ledgers and errors are compared edge by edge."""

from __future__ import annotations

import pytest
from differential import at_home, between, by_chance, by_hand, failing, ledger, observe, placings, placings_of_failing
from guests.wat import private_cache  # noqa: F401
from support import SPEECH

BY_HAND = by_hand()
BY_CHANCE = [by_chance(seed) for seed in range(24)]
DROPPING = [by_chance(seed, policies=("drop_oldest", "drop_newest", "latest", "block")) for seed in range(100, 109)]


@pytest.fixture(autouse=True)
def _speech(monkeypatch):
    """The examples' twin of a guest is found."""
    monkeypatch.syspath_prepend(SPEECH)
    monkeypatch.setenv("PYTHONPATH", str(SPEECH), prepend=":")


def everywhere(graphs, ways=placings):
    """Each graph in each way to place it."""
    cases = [
        pytest.param(graph, places, id=f"{graph}-{way}") for graph in graphs for way, places in ways(graph).items()
    ]
    return pytest.mark.parametrize(("graph", "places"), cases)


@pytest.fixture(scope="session")
def native(tmp_path_factory):
    """The outcome of a graph with all of its nodes in this process; run once."""
    folder, known = tmp_path_factory.mktemp("native"), {}

    def run(graph):
        if graph.name not in known:
            known[graph.name] = observe(graph, folder / graph.name, at_home(graph))
        return known[graph.name]

    return run


@everywhere(BY_HAND + BY_CHANCE)
def test_the_place_of_a_node_changes_nothing(graph, places, native, tmp_path):
    """Every stream that comes to a node, every edge's account and every node's count are those of the native run."""
    there, here = observe(graph, tmp_path / "placed", places), native(graph)
    for outcome in (here, there):
        assert outcome.report.outcome == "completed"
        for edge, (given, taken) in between(outcome).items():
            assert taken == given, edge
        assert all(edge.in_flight == edge.dropped == 0 for edge in outcome.report.edges)
    assert there.streams == here.streams
    assert ledger(there) == ledger(here)
    assert [node.processed for node in there.report.nodes] == [node.processed for node in here.report.nodes]


@everywhere(DROPPING, lambda graph: {"native": at_home(graph), **placings(graph)})
def test_what_is_dropped_is_counted_and_what_is_not_is_in_order(graph, places, tmp_path):
    """On every edge: what came is some of what went, in its order, each once; the account says how many are missing."""
    outcome = observe(graph, tmp_path / "placed", places)
    assert outcome.report.outcome == "completed"
    ledger(outcome)
    policies = {edge.name: edge for edge in outcome.report.edges}
    for name, (given, taken) in between(outcome).items():
        edge = policies[name]
        assert (edge.sent, edge.received, edge.in_flight) == (len(given), len(taken), 0), edge
        serials = [serial for serial, _ in taken]
        assert serials == sorted(set(serials)), edge
        assert taken == [given[serial] for serial in serials], edge
        policy = policy_of(graph, name)
        if policy == "block":
            assert taken == given, edge
        elif given:
            kept = 0 if policy == "drop_newest" else -1
            assert taken[kept] == given[kept], edge


@everywhere(failing(), placings_of_failing)
def test_a_failure_is_the_same_everywhere(graph, places, native, tmp_path):
    """Node, class, text and place of the error; what its node got and gave until then; and an account that holds."""
    there, here = observe(graph, tmp_path / "placed", places), native(graph)
    assert str(there.error) == str(here.error)
    assert (there.error.node_id, there.error.kind) == ("bad", here.error.kind)
    assert of_the_culprit(there.taken) == of_the_culprit(here.taken)
    assert there.given.get("bad.out") == here.given.get("bad.out")
    if graph.name in {"construct", "initialize"}:  # nothing ran
        return
    assert there.report.outcome == here.report.outcome == "failed"
    assert account_of_the_culprit(there) == account_of_the_culprit(here)


def of_the_culprit(taken):
    return {port: streams for (node, port), streams in taken.items() if node == "bad"}


def account_of_the_culprit(outcome):
    """What went out of the node that failed, and what it was done with."""
    return {
        name: sent if name.startswith("bad.") else received
        for name, (sent, received, _, _) in ledger(outcome).items()
        if "bad" in name
    }


def policy_of(graph, edge):
    """The policy of an edge that is named as reports do."""
    source, target = edge.split(" -> ")
    for chain, options in graph.edges:
        begin, end = chain.split(" -> ")
        if source in {begin, f"{begin}.out"} and target in {end, f"{end}.in"}:
            return options["policy"]
    raise KeyError(edge)
