"""Commands and /dev/shm: what `clean` removes and what it leaves alone, and what a small /dev/shm does."""

import os
import re
import signal

import pytest
from support import MORE, PrivateShm, Started, drained, manifest, penstock, segments, token_of, until
from test_cli import WORKER, refused

ENDLESS = f"""
    nodes:
      in: {{type: "{MORE}:Ticks", params: {{folder: %s}}, executor: multiprocess}}
      mark: {{type: "{MORE}:Pass", params: {{folder: %s}}, executor: multiprocess}}
    edges: [in -> mark]
    """


def endless(folder):
    folder.mkdir()
    return manifest(folder, ENDLESS % (folder, folder))


def test_clean_removes_what_is_dead_and_nothing_else(tmp_path):
    """--dry-run only says what it found; clean removes it; a run that lives, and foreign files, are never touched."""
    with PrivateShm("64m") as shm, Started("run", "--json", endless(tmp_path / "live"), before=shm.before) as live:
        until((tmp_path / "live" / "reached").exists, "the first run flows")
        mine = segments(token_of(live.pid, shm.folder), shm.folder)
        with Started("run", endless(tmp_path / "dead"), before=shm.before) as dead:
            until((tmp_path / "dead" / "reached").exists, "the second run flows")
            token = token_of(dead.pid, shm.folder)
            dead.send(signal.SIGKILL)
            dead.finish()
            until(lambda: not dead.relatives(), "its workers are gone")
        with open(os.path.join(shm.folder, "pstk-of-somebody"), "w") as foreign:
            foreign.write("x")
        before = set(os.listdir(shm.folder))
        said = penstock("clean", "--dry-run", before=shm.before).check()
        assert set(os.listdir(shm.folder)) == before
        assert said.out.count("would remove") == said.out.count("\n") == 1
        assert f"pid {dead.pid}" in said.out
        assert "penstock run graph" in said.out
        assert penstock("clean", before=shm.before).check().out == said.out.replace("would remove", "removed")
        assert set(os.listdir(shm.folder)) == {name for name in before if token not in name}
        assert penstock("clean", before=shm.before).check().out == "nothing to clean\n"
        assert penstock("run", manifest(tmp_path, WORKER), before=shm.before).check().code == 0
        assert mine <= set(os.listdir(shm.folder))
        live.send(signal.SIGINT)
        done = live.finish().check()
        assert (done.code, done.json()["outcome"]) == (130, "stopped")
        drained(done.json())
        assert os.listdir(shm.folder) == ["pstk-of-somebody"]


def test_a_dev_shm_that_is_too_small_is_a_clear_error(tmp_path):
    """256 KiB: AllocationFailed with what is needed, what there is, and the remedy; no SIGBUS, nothing left."""
    with PrivateShm("256k") as shm:
        said = refused("run", "--json", manifest(tmp_path, WORKER), before=shm.before, code=1)
        assert "Shared memory allocation failed" in said
        assert "2 edges between processes" in said
        assert re.search(r"needs 1\.\d+ MiB of shared memory, 2\d\d\.\d KiB is free in /dev/shm", said)
        assert "--shm-size" in said
        assert os.listdir(shm.folder) == []
        assert penstock("run", "--executor=native", manifest(tmp_path, WORKER), before=shm.before).check().code == 0


@pytest.mark.parametrize("source", ["native", "multiprocess"])
def test_a_dev_shm_that_fills_up_in_mid_run_is_an_error_of_its_edge(tmp_path, source):
    """When arrays are kept until /dev/shm is full, the run fails and names the node and the edge; nobody crashes."""
    text = f"""
        nodes:
          in: {{type: "{MORE}:Frames", params: {{nbytes: 900000}}, executor: {source}}}
          hoard: {{type: "{MORE}:Hoard", executor: multiprocess}}
        edges: [{{from: in, to: hoard, capacity: 4}}]
        """
    with PrivateShm("8m") as shm:
        done = penstock("run", "--json", manifest(tmp_path, text), before=shm.before).check()
        assert (done.code, done.json()["outcome"]) == (1, "failed")
        assert "error: node 'in': " in done.err
        assert "in.out -> hoard.in" in done.err
        assert "free in /dev/shm" in done.err
        assert "SIGBUS" not in done.err
        assert os.listdir(shm.folder) == []
