"""Owners: a run's segments go with it, and the sweep takes those of dead runs alone."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from support import until

from penstock.shm.owner import Owner, sweep
from penstock.shm.segment import Segment, discard

FOLDER = "/dev/shm"

pytestmark = pytest.mark.skipif(not os.path.isdir(FOLDER), reason="looks at segments as files")

RUN = """
import sys
from penstock.shm.owner import Owner
from penstock.shm.segment import Segment
owner = Owner("a run that dies")
owner.create("r0", 4096, what="a test")
family = owner.family("a0")
Segment.create(f"{family}.0", 8192, what="a test", tracked=False)
"""


def entries(token):
    """What there is of a run."""
    return sorted(name.split("-", 2)[2] for name in os.listdir(FOLDER) if name.startswith(f"pstk-{token}-"))


@contextlib.contextmanager
def process(text):
    """Another process, and the first line it prints. It ends here at the latest."""
    running = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield running, running.stdout.readline().split()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()


def untracked(text):
    """The same without a resource tracker, which would be faster than the sweep."""
    return text.replace('owner.create("r0", 4096, what="a test")', "") + textwrap.dedent(
        """
        Segment.create(owner.name("r0"), 4096, what="a test", tracked=False)
        """
    )


def of(token, orphans):
    return [orphan for orphan in orphans if orphan.token == token]


class SweptByAnother(Exception):
    """Another session on this machine swept the same orphan at the same time."""


def the(token, orphans):
    """The orphan of a token, which this process was the one to sweep."""
    found = of(token, orphans)
    deadline = time.monotonic() + 1
    while not found and entries(token) and time.monotonic() < deadline:
        time.sleep(0.005)
    if not found and not entries(token):
        raise SweptByAnother(token)
    (orphan,) = found
    return orphan


def undisturbed(test):
    """Try again what another session's sweep came across; three times in a row it does not."""

    @functools.wraps(test)
    def repeated(*args, **options):
        for _ in range(2):
            with contextlib.suppress(SweptByAnother):
                return test(*args, **options)
        return test(*args, **options)

    return repeated


def test_a_run_takes_everything_along():
    """Its rings, what its workers made, and its owner file; twice is fine."""
    owner = Owner("a test")
    owner.create("r0", 4096, what="a test")
    family = owner.family("a0")
    for number in range(3):
        Segment.create(f"{family}.{number}", 4096, what="a test", tracked=False).close()
    assert entries(owner.token) == ["a0.0", "a0.1", "a0.2", "owner", "r0"]
    owner.close()
    owner.close()
    assert entries(owner.token) == []


def test_one_segment_or_family_can_go_before_the_others():
    """What is released is gone, the rest stays."""
    with Owner() as owner:
        first, _ = owner.create("r0", 4096, what="a test"), owner.create("r1", 4096, what="a test")
        Segment.create(f"{owner.family('a0')}.0", 4096, what="a test", tracked=False).close()
        owner.release(first)
        assert entries(owner.token) == ["a0.0", "owner", "r1"]
        owner.release_family(owner.name("a0"))
        assert entries(owner.token) == ["owner", "r1"]


def test_the_owner_file_is_private():
    """Mode 0600, like the segments."""
    with Owner() as owner:
        assert os.stat(f"{FOLDER}/pstk-{owner.token}-owner").st_mode & 0o777 == 0o600


def test_tokens_are_not_guessed_and_not_shared():
    """Two runs of one process have two."""
    with Owner() as one, Owner() as other:
        assert one.token != other.token
        assert len(one.token) == 16


def test_a_live_run_is_left_alone():
    """By its own process, and by another."""
    with Owner() as owner:
        owner.create("r0", 4096, what="a test")
        assert of(owner.token, sweep()) == []
        with process("from penstock.shm.owner import sweep; print(*(orphan.token for orphan in sweep()))") as (
            _,
            swept,
        ):
            assert owner.token not in swept
        assert entries(owner.token) == ["owner", "r0"]


@undisturbed
def test_a_live_run_of_another_process_is_left_alone_until_it_is_killed():
    """The lock goes with the process, at once; then the sweep says what it was and removes it."""
    with process(untracked(RUN) + "print(owner.token, flush=True); sys.stdin.read()") as (running, (token,)):
        assert of(token, sweep()) == []
        assert entries(token) == ["a0.0", "owner", "r0"]
        running.kill()
        running.wait()
        would = the(token, sweep(dry_run=True))
        assert entries(token) == ["a0.0", "owner", "r0"]
        orphan = the(token, sweep())
        assert orphan == would
        assert entries(token) == []
        assert (orphan.pid, orphan.what) == (running.pid, "a run that dies")
        assert sorted(orphan.segments) == [f"pstk-{token}-a0.0", f"pstk-{token}-r0"]
        assert orphan.size_bytes == 4096 + 8192
        assert orphan.started > 1_600_000_000
        assert of(token, sweep()) == []


@pytest.mark.parametrize("how", ["fork", "exec"])
@undisturbed
def test_a_child_of_a_node_does_not_keep_the_lock(how):
    """A forked child, or a program that it started, lives on after the run; the run is an orphan all the same."""
    say = "print(owner.token, child, flush=True)"
    leave = {  # a forked child speaks for itself: it lets go of the lock before it does anything else
        "fork": f"child = os.fork()\nif not child:\n    child = os.getpid()\n    {say}\n    time.sleep(600)",
        "exec": f"child = subprocess.Popen(['sleep', '600'], stdin=-3, stdout=-3).pid\n{say}",
    }[how]
    text = f"{untracked(RUN)}\nimport os, subprocess, time\n{leave}\nsys.stdin.read()"
    with process(text) as (running, (token, child)):
        assert of(token, sweep()) == []
        running.kill()
        running.wait()
        os.kill(int(child), 0)  # it is there
        the(token, sweep())
        assert entries(token) == []


def test_a_forked_child_takes_nothing_along():
    """It ends, or closes what it has inherited; the run's segments stay."""
    with Owner() as owner:
        owner.create("r0", 4096, what="a test")
        child = os.fork()
        if child == 0:
            try:
                owner.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert of(owner.token, sweep()) == []
        assert entries(owner.token) == ["owner", "r0"]


@pytest.mark.parametrize(
    "name", ["pstk-", "pstk-foreign", "pstk-0123456789abcde-r0", "pstk-0123456789ABCDEF-r0", "psm_0123456789abcdef"]
)
def test_what_is_not_named_as_ours_is_left_alone(name):
    """The sweep touches names of its own form only."""
    path = f"{FOLDER}/{name}"
    with open(path, "xb"):
        pass
    try:
        sweep()
        assert os.path.exists(path)
    finally:
        os.unlink(path)


@undisturbed
def test_what_is_left_without_its_owner_file_is_swept():
    """A clean-up that was killed half way leaves segments that belong to nobody."""
    token = os.urandom(8).hex()
    Segment.create(f"pstk-{token}-r0", 4096, what="a test", tracked=False).close()
    orphan = the(token, sweep())
    assert (orphan.pid, orphan.what, orphan.segments) == (None, "", (f"pstk-{token}-r0",))
    assert entries(token) == []


@pytest.mark.parametrize("note", [b"", b"\xff", b"[1]", b'{"pid"'])
@undisturbed
def test_a_note_that_makes_no_sense_is_no_obstacle(note):
    """The lock is what counts."""
    token = os.urandom(8).hex()
    with open(f"{FOLDER}/pstk-{token}-owner", "xb") as file:
        file.write(note)
    orphan = the(token, sweep())
    assert (orphan.pid, orphan.segments) == (None, ())
    assert entries(token) == []


def test_what_belongs_to_another_user_is_left_alone(monkeypatch):
    """A segment of somebody else's is none of ours, whatever its name."""
    token = os.urandom(8).hex()
    name = f"pstk-{token}-r0"
    Segment.create(name, 4096, what="a test", tracked=False).close()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    try:
        assert of(token, sweep()) == []
        assert os.path.exists(f"{FOLDER}/{name}")
    finally:
        discard(name)


def test_sweeping_at_the_same_time_is_fine():
    """Four processes over the same orphans: none fails, and nothing is left."""
    tokens = [os.urandom(8).hex() for _ in range(20)]
    for token in tokens:
        for number in range(3):
            Segment.create(f"pstk-{token}-r{number}", 4096, what="a test", tracked=False).close()
    sweepers = [
        subprocess.Popen([sys.executable, "-c", "from penstock.shm.owner import sweep; sweep()"]) for _ in range(4)
    ]
    assert [sweeper.wait(60) for sweeper in sweepers] == [0] * 4
    until(lambda: not any(map(entries, tokens)), "the orphans are gone", deadline_s=1)
