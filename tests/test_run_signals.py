"""Signals, and a killed engine: a run ends in good order or at once, and nothing stays."""

import signal
from pathlib import Path

import pytest
from support import MORE, NODES, Started, drained, ledgers, manifest, penstock, read_wav, segments, until
from test_run_faults import gone, graph, pid_of, slow_to_start, started


def test_kill_9_of_the_engine(tmp_path):
    """Every process that it started is gone soon; the next command removes the segments, also those of workers."""
    text = graph(tmp_path, sink="Child").replace(f"{MORE}:Ticks", f"{MORE}:Frames").replace("folder", "nbytes", 1)
    text = text.replace(f"nbytes: {tmp_path}", "nbytes: 100000")
    with started(tmp_path, text) as process:
        until((tmp_path / "reached").exists, "data flow")
        token = process.token()
        families = until(lambda: {name.split(".")[0] for name in segments(token) if "." in name}, "arenas of workers")
        assert families
        assert len(process.relatives()) >= 4
        process.send(signal.SIGKILL)
        process.finish()
        gone(process)
    penstock("nodes").check()
    assert not segments(token)


def test_kill_9_of_the_engine_while_a_node_is_stuck(tmp_path):
    """A worker that heeds no signal and hangs in its node ends with the engine, too."""
    with started(tmp_path, graph(tmp_path, sink="Stubborn")) as process:
        until((tmp_path / "stuck").exists, "the node is stuck")
        token = process.token()
        process.send(signal.SIGKILL)
        process.finish()
        gone(process)
    penstock("validate", manifest(tmp_path, graph(tmp_path))).check()
    assert not segments(token)


# Signals


@pytest.mark.parametrize(
    ("number", "code", "source"),
    [(signal.SIGINT, 130, "native"), (signal.SIGINT, 130, "multiprocess"), (signal.SIGTERM, 143, "multiprocess")],
)
def test_a_signal_stops_and_drains(tmp_path, number, code, source):
    """Ctrl-C and SIGTERM: outcome `stopped`, nothing in flight, the exit code of the signal, nothing left."""
    with started(tmp_path, graph(tmp_path, source=source), 60) as process:
        until((tmp_path / "reached").exists, "data flow")
        token = process.token()
        process.send(number)
        done = process.finish().check()
        gone(process)
    report = done.json()
    assert (done.code, report["outcome"], report["error"]) == (code, "stopped", None)
    edges = drained(report)
    assert edges["in.out -> mark.in"]["sent"] == edges["mark.out -> out.in"]["sent"] > 0
    assert f"{number.name}: stopping" in done.err
    assert not segments(token)


@pytest.mark.parametrize("kind", ["Stuck", "Stubborn"])
def test_a_stuck_worker_ends_after_the_grace_period(tmp_path, kind):
    """A node that never comes back does not hold up the end: outcome `aborted`, and the ledger is exact."""
    with started(tmp_path, graph(tmp_path, source="native", sink=kind)) as process:
        until((tmp_path / "stuck").exists, "the node is stuck")
        process.send(signal.SIGINT)
        done = process.finish().check()
        gone(process)
    report = done.json()
    assert (done.code, report["outcome"]) == (130, "aborted")
    edge = ledgers(report)["mark.out -> out.in"]
    assert (edge["received"], edge["in_flight"]) == (0, edge["sent"])
    assert 1 <= edge["in_flight"] <= 4


def test_a_second_signal_aborts_at_once(tmp_path):
    """With a grace period of an hour the second Ctrl-C ends a stuck run, whatever its node does with SIGTERM."""
    path = manifest(tmp_path, graph(tmp_path, source="native", sink="Stubborn"))
    with Started("run", "--json", "--grace=3600", path) as process:
        until((tmp_path / "stuck").exists, "the node is stuck")
        process.send(signal.SIGINT)
        until(lambda: "stopping" in process.said(), "the first signal is heard")
        process.send(signal.SIGINT)
        done = process.finish(20).check()
        gone(process)
    report = done.json()
    assert (done.code, report["outcome"]) == (130, "aborted")
    ledgers(report)


@pytest.mark.parametrize("ending", ["second signal", "failure"])
def test_an_end_at_once_does_not_wait_for_a_source_that_waits_for_room(tmp_path, ending):
    """A worker's source that sleeps on a full edge is ended at once, whatever the grace period, with its run."""
    text = graph(tmp_path).replace(
        "edges:",
        f"""  hold: {{type: "{MORE}:later_than", params: {{path: {tmp_path / "never"}}}}}
          gate: {{type: "{MORE}:later_than", params: {{path: {tmp_path / "open"}}}}}
          fail: {{type: "{NODES}:fail"}}
        edges:
          - in -> hold
          - mark -> gate -> fail""",
    )
    text = text.replace("- in -> hold", "- {from: in, to: hold, capacity: 2}")
    with Started("run", "--json", "--grace=3600", manifest(tmp_path, text)) as process:
        until((tmp_path / "reached").exists, "data flow")
        pid = pid_of(tmp_path, "in")
        until(lambda: "poll" in Path(f"/proc/{pid}/wchan").read_text(), "the source waits in the kernel")
        if ending == "failure":
            (tmp_path / "open").touch()
        else:
            process.send(signal.SIGINT)
            until(lambda: "stopping" in process.said(), "the first signal is heard")
            process.send(signal.SIGINT)
        done = process.finish(5).check()
        gone(process)
    expected = (1, "failed") if ending == "failure" else (130, "aborted")
    assert (done.code, done.json()["outcome"]) == expected
    ledgers(done.json())


def test_a_stuck_native_thread_does_not_hold_up_the_end(tmp_path):
    """A native node with `thread: true` that never comes back ends with the grace period as well."""
    text = graph(tmp_path, source="native", sink="Stuck").replace("multiprocess", "native, thread: true")
    with started(tmp_path, text) as process:
        until((tmp_path / "stuck").exists, "the node is stuck")
        process.send(signal.SIGINT)
        done = process.finish(10).check()
    assert (done.code, done.json()["outcome"]) == (130, "aborted")
    ledgers(done.json())


def test_a_signal_while_workers_start(tmp_path):
    """Ctrl-C before anything flows ends it as well, with the exit code and one JSON document."""
    with started(tmp_path, slow_to_start(tmp_path)) as process:
        until((tmp_path / "begun").exists, "the node initializes")
        process.send(signal.SIGINT)
        done = process.finish().check()
        gone(process)
    assert (done.code, done.json()["outcome"]) == (130, "aborted")


def test_a_recording_that_is_stopped_is_a_whole_file(tmp_path):
    """After Ctrl-C the file of a wav_sink is valid, and as long as what the ledger says it got."""
    text = f"""
        nodes:
          tone: {{type: tone, params: {{frequency_hz: 440, duration_s: 36000}}}}
          mark: {{type: "{MORE}:Pass", params: {{folder: {tmp_path}}}}}
          file: {{type: wav_sink, params: {{path: tone.wav}}}}
        edges: [tone -> mark -> file]
        """
    with started(tmp_path, text, 60) as process:
        until((tmp_path / "reached").exists, "data flow")
        process.send(signal.SIGINT)
        done = process.finish().check()
    wav = read_wav(tmp_path / "tone.wav")
    edges = drained(done.json())
    assert done.json()["outcome"] == "stopped"
    assert len(wav.frames) == 320 * edges["mark.out -> file.in"]["sent"] > 0
    assert not list(tmp_path.glob("*.part"))


def test_a_busy_native_node_is_ended_with_the_code_of_the_signal(tmp_path):
    """A node that never lets the loop run ends with Ctrl-C and the grace period, and nobody takes it for success."""
    text = f"""
        nodes:
          in: {{type: "{NODES}:Numbers", params: {{count: 3}}}}
          busy: {{type: "{MORE}:busy"}}
        edges: [in -> busy]
        """
    with Started("run", "--json", "--grace=0.2", manifest(tmp_path, text)) as process:
        until(lambda: process.process.poll() is None and _catches_int(process.process.pid), "the signal is heeded")
        process.send(signal.SIGINT)
        done = process.finish(20).check()
    assert (done.code, done.json()["outcome"]) == (130, "aborted")


def _catches_int(pid):
    """Whether a process has a handler of its own for SIGINT and SIGALRM (`penstock run` sets both)."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    mask = int(caught.split()[1], 16)
    return all(mask >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGALRM))
