"""Segments: really there, private, untracked where attached, and valid for as long as somebody looks."""

import os
import re
import resource
import subprocess
import sys
import textwrap
from multiprocessing import resource_tracker

import numpy as np
import pytest

from penstock.shm.errors import CorruptSegment, OutOfSharedMemory
from penstock.shm.owner import Owner
from penstock.shm.segment import Segment, available_bytes, discard

NAME = f"pstk-test-{os.getpid():x}"
PATH = f"/dev/shm/{NAME}"

pytestmark = pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="looks at segments as files")


@pytest.fixture(autouse=True)
def _tidy():
    yield
    discard(NAME)


def script(text, *arguments):
    """Run Python in a process of its own; its output, and what it wrote to stderr."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("tracked", [True, False])
def test_a_segment_is_zeroed_private_and_really_there(tracked):
    """R-ZC-04: nobody else can read it; every byte of it is allocated, not promised."""
    segment = Segment.create(NAME, 1 << 20, what="a test", tracked=tracked)
    status = os.stat(PATH)
    assert status.st_mode & 0o777 == 0o600
    assert status.st_size == 1 << 20
    assert status.st_blocks * 512 >= 1 << 20
    assert bytes(segment.view) == bytes(1 << 20)
    segment.unlink()
    segment.unlink()
    assert not os.path.exists(PATH)
    segment.close()
    segment.close()


def test_both_sides_see_the_same_bytes():
    """Attach maps what create made."""
    one = Segment.create(NAME, 4096, what="a test")
    other = Segment.attach(NAME)
    one.view[7] = 42
    assert other.view[7] == 42
    assert len(other.view) == 4096
    for segment in (one, other):
        segment.close()
    one.unlink()


def test_a_name_that_is_taken_is_not_taken_over():
    """A second creation fails, and the first segment stays."""
    one = Segment.create(NAME, 4096, what="a test")
    for tracked in (True, False):
        with pytest.raises(FileExistsError):
            Segment.create(NAME, 4096, what="a test", tracked=tracked)
    assert os.path.exists(PATH)
    one.unlink()
    one.close()


@pytest.mark.parametrize("name", [f"{NAME}-none", "with/slash", ""])
def test_attaching_nothing_is_told_by_name(name):
    """A segment that is not there makes no sense of whoever referred to it."""
    with pytest.raises(CorruptSegment, match=f"segment {name} can not be attached"):
        Segment.attach(name)


def test_an_empty_segment_is_not_attached():
    """A creator that died between opening and sizing leaves one of no bytes."""
    open(PATH, "wb").close()
    with pytest.raises(CorruptSegment, match="can not be attached"):
        Segment.attach(NAME)


def test_views_outlive_close_and_unlink():
    """The mapping goes with the last view of it, not before."""
    segment = Segment.create(NAME, 4096, what="a test")
    segment.view[:3] = b"abc"
    view = np.frombuffer(segment.view, np.uint8)[:3]
    segment.close()
    segment.unlink()
    del segment
    assert view.tobytes() == b"abc"


def test_a_segment_keeps_no_descriptor_but_that_of_its_mapping():
    """Descriptors are few: one for each mapping, none after close."""
    before = len(os.listdir("/proc/self/fd"))
    segments = [Segment.create(NAME, 4096, what="a test"), Segment.attach(NAME)]
    assert len(os.listdir("/proc/self/fd")) <= before + len(segments)
    segments[0].unlink()
    for segment in segments:
        segment.close()
    del segment, segments
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("tracked", [True, False])
def test_a_full_dev_shm_is_an_error_at_creation(tracked):
    """Not SIGBUS at the first write: who needs how much, how much there is, the remedy; nothing is left (R-CV-18)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(OutOfSharedMemory) as caught:
            Segment.create(NAME, 4 << 20, what="the ring of edge a -> b", tracked=tracked)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert re.match(
        r"the ring of edge a -> b \(.*\) needs 4\.00 MiB of shared memory, .* free in /dev/shm; ", str(caught.value)
    )
    assert "--shm-size" in str(caught.value)
    assert caught.value.needed_bytes == 4 << 20
    assert caught.value.available_bytes == pytest.approx(available_bytes(), rel=0.5)
    assert not os.path.exists(PATH)


def test_more_than_the_machine_has_is_an_error_at_creation():
    """No limit but that of the machine: one byte more than is free, four times over."""
    available = available_bytes()
    with pytest.raises(OutOfSharedMemory):
        Segment.create(NAME, 4 * available, what="a test", tracked=False)
    assert not os.path.exists(PATH)


def test_a_failed_creation_says_nothing_to_the_tracker():
    """The tracker complains on stderr about what it never knew: it must not be told."""
    _, said = script(
        """
        import resource, sys
        from penstock.shm.errors import OutOfSharedMemory
        from penstock.shm.segment import Segment
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        for _ in range(3):
            try:
                Segment.create(sys.argv[1], 4 << 20, what="a test")
            except OutOfSharedMemory:
                continue
            sys.exit("there was room")
        """,
        NAME,
    )
    assert said == ""


def test_no_descriptors_left_is_an_error_of_the_same_kind():
    """EMFILE: told as what it is, and nothing is left."""
    said, _ = script(
        """
        import os, resource, sys
        from penstock.shm.errors import OutOfSharedMemory
        from penstock.shm.segment import Segment
        from multiprocessing import resource_tracker
        resource_tracker.ensure_running()
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        for free in (0, 1):  # none for the segment, none for its mapping
            for _ in range(free):
                os.close(taken.pop())
            for tracked in (True, False):
                try:
                    Segment.create(sys.argv[1], 4096, what="a ring", tracked=tracked)
                except OutOfSharedMemory as error:
                    print(error)
        """,
        NAME,
    )
    assert said.count("a ring (Too many open files)") == 4
    assert not os.path.exists(PATH)


def test_who_attaches_and_exits_takes_nothing_along():
    """On every Python: the resource tracker of a process that only attached never unlinks (cpython gh-82300)."""
    segment = Segment.create(NAME, 4096, what="a test", tracked=False)
    segment.view[0] = 7
    said, complaints = script(
        """
        import sys
        from penstock.shm.segment import Segment
        segment = Segment.attach(sys.argv[1])
        print(segment.view[0])
        """,
        NAME,
    )
    assert (said, complaints) == ("7\n", "")
    assert os.path.exists(PATH)
    segment.unlink()
    segment.close()


def test_attaching_tells_the_tracker_nothing(monkeypatch):
    """Nor does creating without tracking, nor closing either."""
    said = []
    monkeypatch.setattr(resource_tracker, "register", lambda *what: said.append(what))
    monkeypatch.setattr(resource_tracker, "unregister", lambda *what: said.append(what))
    segment = Segment.create(NAME, 4096, what="a test", tracked=False)
    Segment.attach(NAME).close()
    segment.unlink()
    segment.close()
    assert said == []


def test_the_tracker_removes_the_segments_of_a_process_that_dies():
    """A tracked segment goes with its creator, however that ends."""
    text = """
    import os, signal, sys
    from penstock.shm.segment import Segment
    Segment.create(sys.argv[1], 4096, what="a test")
    os.kill(os.getpid(), signal.SIGKILL)
    """
    # Its tracker holds the pipe until it is done.
    died = subprocess.run([sys.executable, "-c", textwrap.dedent(text), NAME], stderr=subprocess.PIPE, timeout=60)
    assert died.returncode == -9
    assert not os.path.exists(PATH)


def test_names_fit_into_what_macos_allows():
    """A slash and 30 characters, for the last ring of a thousand and a large run's arenas."""
    with Owner() as owner:
        for suffix in ("r999", f"{'a99'}.999"):
            assert len("/" + owner.name(suffix)) <= 31
        assert owner.family("a0") == owner.name("a0")
