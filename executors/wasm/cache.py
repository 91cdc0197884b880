"""Compiled modules: once a process, and once a machine and user.

A compiled module is native code, and loading one means running what it says. So only files are read that this user
alone can have written, and only when their digest is right: wasmtime itself does not notice a flipped bit.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import tempfile
import threading
from collections.abc import Callable
from importlib import metadata

import wasmtime

from penstock.executors.contract import Validation
from penstock.executors.wasm.limits import WasmLimits, config_key, engine_for

__all__ = ["cache_directory", "load_module"]

_WASM = b"\0asm"
_CORE_VERSION = b"\x01\x00\x00\x00"
_DIGEST_BYTES = 32

_modules: dict[str, wasmtime.Module] = {}
_lock = threading.Lock()


def load_module(path: str | os.PathLike[str], limits: WasmLimits) -> wasmtime.Module:
    """The compiled module of a .wasm file.

    Raises:
        Validation: the file can not be read, or is not a core module that compiles.
    """
    wasm = _read(path)
    key = f"{hashlib.sha256(wasm).hexdigest()[:40]}-{_version()}-{config_key(limits)}"
    with _lock:  # two nodes of one module wait for one compilation
        if key not in _modules:
            _modules[key] = _from_disk(key, limits) or _compile(path, wasm, key, limits)
        return _modules[key]


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:
            wasm = file.read()
    except OSError as error:
        raise Validation(f"{os.fspath(path)}: can not be read: {error.strerror}") from None
    if wasm[:4] != _WASM:
        what = "is empty" if not wasm else "does not begin with \\0asm"
        raise Validation(f"{os.fspath(path)}: is no WebAssembly module (it {what}): build one as docs/wasm.md shows")
    if wasm[4:8] != _CORE_VERSION:
        raise Validation(
            f"{os.fspath(path)}: is a component or of an unknown version; a node is a core module (docs/wasm.md)"
        )
    return wasm


@functools.cache
def _version() -> str:
    return metadata.version("wasmtime")


def _compile(path: str | os.PathLike[str], wasm: bytes, key: str, limits: WasmLimits) -> wasmtime.Module:
    try:
        module = wasmtime.Module(engine_for(limits), wasm)
    except wasmtime.WasmtimeError as error:
        raise Validation(f"{os.fspath(path)}: does not compile: {_one_line(error)}") from None
    _to_disk(key, module)
    return module


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def cache_directory() -> str | None:
    """The directory of the compiled modules, made when it is missing; None when it is not safely ours."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # also what the XDG specification asks for
        base = os.path.expanduser("~/.cache")
    directory = os.path.join(base, "penstock")
    try:
        os.makedirs(base, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        return directory if _is_ours(os.lstat(directory), stat.S_ISDIR) else None
    except OSError:
        return None


def _is_ours(status: os.stat_result, kind: Callable[[int], bool]) -> bool:
    """Whether nobody else can have written it."""
    return kind(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022


def _from_disk(key: str, limits: WasmLimits) -> wasmtime.Module | None:
    """The module from the cache; None when it is not there or can not be trusted."""
    directory = cache_directory()
    if directory is None:
        return None
    try:
        content = _read_ours(os.path.join(directory, f"{key}.cwasm"))
        digest, native = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(native).digest() != digest:
            return None
        return wasmtime.Module.deserialize(engine_for(limits), native)
    except (OSError, wasmtime.WasmtimeError):
        return None


def _read_ours(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not _is_ours(os.fstat(descriptor), stat.S_ISREG):
            raise PermissionError(path)
        return file.read()


def _to_disk(key: str, module: wasmtime.Module) -> None:
    """Keep a compiled module; written aside and renamed, so that a reader sees all of it or nothing."""
    directory = cache_directory()
    if directory is None:
        return
    native = bytes(module.serialize())
    with contextlib.suppress(OSError):  # full, read-only, gone: the cache is a convenience
        descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=directory)
        try:
            with open(descriptor, "wb") as file:
                file.write(hashlib.sha256(native).digest())
                file.write(native)
            os.replace(temporary, os.path.join(directory, f"{key}.cwasm"))
        except BaseException:
            os.unlink(temporary)
            raise
