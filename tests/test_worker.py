"""The worker process: what it imports, what it prints, and that nothing of it outlives its host."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest
import trio
from support import until

from penstock.executors import MultiprocessExecutorBridge
from penstock.executors.contract import NodeExecution, RuntimeData
from penstock.executors.multiprocess import WorkerOptions
from penstock.shm.owner import sweep

SMALL, MORE = "nodes.small", "nodes.contract"
TEXT = RuntimeData.text("x")
TESTS = str(Path(__file__).parent)


@pytest.fixture
def printed():
    """What workers print, as (node, stream, line)."""
    return []


@pytest.fixture
def bridge(printed):
    """A bridge that keeps what its workers print, and has little patience."""
    options = WorkerOptions(grace_s=0.5, on_output=lambda *what: printed.append(what))
    return MultiprocessExecutorBridge("s", options=options)


async def execute(bridge, node_type, data=TEXT, node_id="n"):
    await bridge.initialize_node(node_id, node_type, {})
    return await bridge.execute_node(node_id, node_type, data, {})


# Imports


async def test_a_worker_imports_no_more_than_it_needs(bridge):
    """No trio, no engine, no command line, no other bridge (DESIGN.md 3)."""
    async with bridge:
        loaded = set((await execute(bridge, f"{MORE}:modules")).as_json())
    roots = {name.partition(".")[0] for name in loaded}
    assert not roots & {"trio", "psutil", "click", "rich", "msgspec", "ruamel", "wasmtime"}
    assert not {name for name in loaded if name.startswith(("penstock.engine", "penstock.conformance"))}
    assert not loaded & {
        "penstock.executors.multiprocess.bridge",
        "penstock.executors.multiprocess.supervisor",
        "penstock.executors.native",
        "penstock.executors.router",
        "penstock.executors.wasm",
        "penstock.shm.trio_channel",
    }


async def test_a_worker_with_an_async_node_has_trio(bridge):
    """It is imported when it is needed."""
    async with bridge:
        assert (await execute(bridge, f"{SMALL}:later")) == TEXT


# What it says


async def test_lines_of_a_node_reach_on_output(bridge, printed):
    """Line by line with the node's name, and the last one without its newline; in order for each stream."""
    async with bridge:
        await execute(bridge, f"{MORE}:print_all", node_id="loud")
        await bridge.cleanup_node("loud")
        assert [line for line in printed if line[1] == "stdout"] == [
            ("loud", "stdout", "first"),
            ("loud", "stdout", "no newline"),
        ]
        assert [line for line in printed if line[1] == "stderr"] == [("loud", "stderr", "second")]


async def test_by_default_lines_come_with_the_nodes_name(capfd):
    """On the same stream of this process."""
    async with MultiprocessExecutorBridge() as bridge:
        await execute(bridge, f"{MORE}:print_all", node_id="loud")
    said = capfd.readouterr()
    assert said.out.splitlines() == ["[loud] first", "[loud] no newline"]
    assert said.err.splitlines() == ["[loud] second"]


async def test_logging_is_forwarded(bridge, caplog):
    """To the logger of the same name, with its level and the node's name."""
    caplog.set_level(logging.DEBUG)
    async with bridge:
        await execute(bridge, f"{MORE}:log_it", RuntimeData.text("ü"), node_id="ears")
        await bridge.cleanup_node("ears")
    assert ("some.node", logging.WARNING, "[ears] heard ü") in caplog.record_tuples


async def test_a_crash_report_has_the_last_lines(bridge):
    """Exit code or signal, pid, and what was on stderr at the end."""
    async with bridge:
        with pytest.raises(NodeExecution) as caught:
            await execute(bridge, f"{MORE}:last_words")
        assert "exited with code 7" in caught.value.message
        assert caught.value.details.splitlines() == [f"word {number}" for number in range(30, 90)]


async def test_a_segmentation_fault_shows_where(bridge):
    """The node's own line, from faulthandler, is among the last ones."""
    async with bridge:
        with pytest.raises(NodeExecution, match="was killed by SIGSEGV") as caught:
            await execute(bridge, f"{SMALL}:segfault")
    assert "in segfault" in caught.value.details


async def test_a_node_that_quits_python_is_a_failure_that_says_so(bridge):
    """`sys.exit` in a node: the caller gets an error, with the node's words somewhere in it."""
    async with bridge:
        with pytest.raises(NodeExecution) as caught:
            await execute(bridge, f"{MORE}:quit_python")
        assert "enough" in caught.value.message + caught.value.details


# Its end


async def test_a_node_that_is_never_ready_is_ended_in_time():
    """The text says how long, which pid, and what to do; nothing is left."""
    options = WorkerOptions(init_timeout_s=0.4, grace_s=0.1, on_output=lambda *_: None)
    async with MultiprocessExecutorBridge(options=options) as bridge:
        with pytest.raises(NodeExecution) as caught:
            await bridge.initialize_node("n", f"{MORE}:SlowInit", {})
        assert "was not ready within 0.4 s (pid " in caught.value.message
        assert "init_timeout" in caught.value.message
        assert caught.value.message.startswith("Initialization failed: ")


async def test_children_of_a_node_go_with_it(bridge):
    """One in the group, which a signal to the group reaches."""
    async with bridge:
        child = (await execute(bridge, f"{MORE}:forker")).as_json()
        assert psutil.pid_exists(child)
        await bridge.cleanup_node("n")
        until(lambda: not alive(child), f"the child {child} of the node is gone")


async def test_children_that_left_the_group_go_with_a_worker_that_is_cleaned_up(bridge):
    """They keep the worker's pipes open, and do not keep the bridge from closing."""
    async with bridge:
        child = (await execute(bridge, f"{MORE}:escapee")).as_json()
        await bridge.cleanup_node("n")
    try:
        until(lambda: not alive(child), "the child that left the group is gone")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def alive(pid):
    """Whether a process runs: one that nobody has reaped yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def a_host(node_type, text=""):
    """A program with one worker, in a process of its own; what is left of it ends here."""
    code = f"import sys, trio; sys.path.insert(0, {TESTS!r}); from nodes import contract; "
    code += f"trio.run(contract.host, {node_type!r}, {text!r})"
    running = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    try:
        assert running.stdout.readline() == "up\n"
        yield running
    finally:
        running.kill()
        running.communicate()
        sweep()


def relatives(pid, count):
    """The workers of a process and what they forked, when there are enough of them."""

    def look():
        found = [child for child in psutil.Process(pid).children(recursive=True) if is_worker(child)]
        return found if len(found) >= count else []

    return until(look, f"{count} descendants of {pid}")


def is_worker(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return "penstock.executors.multiprocess.worker" in process.cmdline()
    return False


def kill_and_see(host, doomed):
    """SIGKILL for the host: every one of them is gone soon."""
    host.kill()
    host.wait()
    _, left = psutil.wait_procs(doomed, timeout=10)
    try:
        assert [process for process in left if alive(process.pid)] == []
    finally:
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def test_killing_the_host_kills_an_idle_worker():
    """R-MX-16: the kernel sees to it."""
    with a_host(f"{SMALL}:echo", "x") as host:
        kill_and_see(host, relatives(host.pid, 1))


def test_killing_the_host_kills_what_a_node_forked():
    """The group goes as one."""
    with a_host(f"{MORE}:forker", "x") as host:
        kill_and_see(host, relatives(host.pid, 2))


def test_killing_the_host_kills_a_worker_that_holds_the_gil(tmp_path):
    """In one long C call: no Python of the worker could react."""
    reached = tmp_path / "reached"
    with a_host(f"{MORE}:stuck_in_c", str(reached)) as host:
        until(reached.exists, "the node is in its C call")
        kill_and_see(host, relatives(host.pid, 1))


def test_killing_the_host_kills_a_worker_that_still_imports(tmp_path):
    """Before the node is ready."""
    with a_host(f"{MORE}:SlowInit") as host:
        (worker,) = relatives(host.pid, 1)
        until(lambda: armed(worker.pid), "the worker's lifeline")
        kill_and_see(host, [worker])


def armed(pid):
    """Whether the worker's lifeline is in the kernel: one of its descriptors is asynchronous."""
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fdinfo"):
            flags = Path(f"/proc/{pid}/fdinfo/{fd}").read_text().split("flags:")[1].split()[0]
            if int(flags, 8) & os.O_ASYNC:
                return True
    return False


async def test_a_callback_that_raises_does_not_end_the_program(bridge, monkeypatch):
    """`on_output` is the user's own code: its mistake is logged, and the program goes on."""
    logger, told = logging.getLogger("penstock"), []
    monkeypatch.setattr(logger, "propagate", False)  # pytest would keep the traceback, and the rings in its frames
    monkeypatch.setattr(logger, "handle", lambda record: told.append(record.getMessage()))

    def wrong(*_):
        raise ValueError("the user's mistake")

    noisy = MultiprocessExecutorBridge(options=WorkerOptions(grace_s=0.5, on_output=wrong))
    async with bridge, noisy:
        assert await execute(noisy, f"{SMALL}:chatty") == TEXT
        await noisy.cleanup_node("n")
        assert await execute(bridge, f"{SMALL}:echo") == TEXT
    assert told


# The program's own script


SCRIPT = """
import sys
import trio
from penstock.executors import MultiprocessExecutorBridge, RuntimeData
{more}

class Mine:
    def process(self, data):
        return RuntimeData.text(data.as_text() + "!" + __name__)


async def main():
    async with MultiprocessExecutorBridge(nodes={{"mine": Mine}}) as bridge:
        await bridge.initialize_node("n", "mine", {{}})
        print((await bridge.execute_node("n", "mine", RuntimeData.text("hello"), {{}})).as_text())


if __name__ == "__main__":
    trio.run(main)
"""


def test_a_class_of_the_main_script_works_in_a_worker(tmp_path):
    """Run as `python script.py`; its guard keeps the worker from running it again."""
    (tmp_path / "script.py").write_text(SCRIPT.format(more=""))
    assert run_python("script.py", cwd=tmp_path) == "hello!__mp_main__\n"


def test_a_class_of_a_main_module_works_in_a_worker(tmp_path):
    """Run as `python -m app.main`, with a relative import."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    (tmp_path / "app" / "helper.py").touch()
    (tmp_path / "app" / "main.py").write_text(SCRIPT.format(more="from . import helper"))
    assert run_python("-m", "app.main", cwd=tmp_path).startswith("hello!")


def test_a_class_of_an_interactive_session_is_refused(tmp_path):
    """There is no file for the worker to read it from."""
    text = """
    import trio
    from penstock.executors import MultiprocessExecutorBridge
    class Mine: pass
    async def main():
        async with MultiprocessExecutorBridge(nodes={"mine": Mine}) as bridge:
            try:
                await bridge.initialize_node("n", "mine", {})
            except Exception as error:
                print(type(error).__name__, error)
    trio.run(main)
    """
    said = run_python("-c", textwrap.dedent(text), cwd=tmp_path)
    assert said.startswith("Validation node type mine is defined in an interactive session: put it into a file")


def run_python(*arguments, cwd):
    """What a program of its own prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_worker_reads_nothing_from_the_terminal(bridge):
    """Its stdin is empty: a node that reads it does not steal what is typed for the host."""
    async with bridge:
        (await execute(bridge, f"{SMALL}:pid")).as_json()
        (pid,) = bridge.worker_pids("n")
        assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull


async def test_a_cancelled_host_leaves_no_worker(bridge):
    """The whole program is cancelled while a node works."""
    with trio.move_on_after(0.6):
        async with bridge:
            await execute(bridge, f"{MORE}:Gate", RuntimeData.text("/nowhere"))
