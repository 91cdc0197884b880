"""Compiled modules are kept on disk, used again, and never trusted when they may not be ours."""

import os
import stat

import pytest
import wasmtime
from guests.wat import guest_file, private_cache  # noqa: F401

from penstock.executors.contract import Validation
from penstock.executors.wasm import cache
from penstock.executors.wasm.limits import WasmLimits


@pytest.fixture
def compiled(monkeypatch):
    """Counts compilations; `forget()` is a new process."""
    monkeypatch.setattr(cache, "_modules", {})
    count = []
    genuine = wasmtime.Module

    class Counting:
        deserialize = genuine.deserialize

        def __new__(cls, engine, wasm):
            count.append(len(wasm))
            return genuine(engine, wasm)

    monkeypatch.setattr(wasmtime, "Module", Counting)
    return count


def load(path, limits=None, *, new_process=True):
    if new_process:
        cache._modules.clear()
    return cache.load_module(path, limits or WasmLimits())


def entry(directory):
    (name,) = os.listdir(directory)
    return directory / name


def test_a_module_is_compiled_once_a_process(tmp_path, compiled):
    """Two loads in one process give the same module."""
    path = guest_file(tmp_path)
    assert load(path, new_process=False) is load(path, new_process=False)
    assert len(compiled) == 1


def test_another_process_takes_it_from_disk(tmp_path, compiled, private_cache):  # noqa: F811
    """The second process does not compile; file and directory belong to their user alone."""
    path = guest_file(tmp_path)
    load(path)
    load(path)
    assert len(compiled) == 1
    assert stat.S_IMODE(private_cache.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry(private_cache).stat().st_mode) == 0o600
    assert entry(private_cache).suffix == ".cwasm"


def test_other_bytes_or_settings_are_another_entry(tmp_path, compiled, private_cache):  # noqa: F811
    """A changed file, and limits that compile differently, never meet each other's code."""
    load(guest_file(tmp_path))
    load(guest_file(tmp_path, pages=3))
    load(guest_file(tmp_path), WasmLimits(fuel=10))
    load(guest_file(tmp_path), WasmLimits(deadline_ms=None))
    load(guest_file(tmp_path), WasmLimits(deadline_ms=5))
    assert len(compiled) == len(os.listdir(private_cache)) == 4


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [lambda _: b"", lambda content: content[:-7], flip, lambda _: b"x" * 5000])
def test_a_corrupt_entry_is_compiled_again(tmp_path, compiled, private_cache, damage):  # noqa: F811
    """An empty, short, flipped or foreign file is noticed, and replaced by a good one."""
    path = guest_file(tmp_path)
    load(path)
    good = entry(private_cache).read_bytes()
    entry(private_cache).write_bytes(damage(good))
    load(path)
    assert len(compiled) == 2
    load(path)
    assert len(compiled) == 2


def test_an_entry_that_others_can_write_is_not_read(tmp_path, compiled, private_cache):  # noqa: F811
    """A file that is writable by the group may be anyone's code."""
    path = guest_file(tmp_path)
    load(path)
    entry(private_cache).chmod(0o660)
    load(path)
    assert len(compiled) == 2


def test_an_entry_behind_a_link_is_not_read(tmp_path, compiled, private_cache):  # noqa: F811
    """A symbolic link in the place of an entry is not followed."""
    path = guest_file(tmp_path)
    load(path)
    name = entry(private_cache)
    name.rename(tmp_path / "elsewhere")
    name.symlink_to(tmp_path / "elsewhere")
    load(path)
    assert len(compiled) == 2


def test_a_directory_that_others_can_write_is_not_used(tmp_path, compiled, private_cache):  # noqa: F811
    """A cache directory open to others is neither read nor written."""
    private_cache.mkdir(parents=True)
    private_cache.chmod(0o777)
    load(guest_file(tmp_path))
    load(guest_file(tmp_path))
    assert len(compiled) == 2
    assert os.listdir(private_cache) == []


@pytest.mark.parametrize("obstacle", ["penstock", "cache"])
def test_without_a_directory_modules_compile_all_the_same(tmp_path, compiled, obstacle):
    """A file in the place of the cache, or of its parent, costs only the cache."""
    base = tmp_path / "cache"
    if obstacle == "penstock":
        base.mkdir()
        base = base / "penstock"
    base.write_text("in the way")
    load(guest_file(tmp_path))
    load(guest_file(tmp_path))
    assert len(compiled) == 2


def test_a_directory_that_can_not_be_written_is_no_error(tmp_path, compiled, private_cache, monkeypatch):  # noqa: F811
    """When the entry can not be written, or not renamed, nothing is left behind and the module is there."""

    def full(*_):
        raise OSError(28, "No space left on device")

    for name, place in (("mkstemp", cache.tempfile), ("replace", os)):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, lambda *_, **__: full())
            load(guest_file(tmp_path))
    assert len(compiled) == 2
    assert os.listdir(private_cache) == []


def test_a_relative_cache_home_is_ignored(tmp_path, monkeypatch):
    """XDG asks for an absolute path; anything else means ~/.cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_directory() == str(tmp_path / ".cache" / "penstock")


def test_a_failed_compilation_leaves_no_entry(tmp_path, private_cache):  # noqa: F811
    """What does not compile is refused again the next time."""
    path = tmp_path / "bad.wasm"
    path.write_bytes(b"\0asm\1\0\0\0\x01")
    for _ in range(2):
        with pytest.raises(Validation, match="does not compile"):
            load(path)
    assert os.listdir(private_cache) == []
