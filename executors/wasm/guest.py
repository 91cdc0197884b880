"""A guest: an instance that speaks ABI 1, from its description to its last flush."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import wasmtime

from penstock.executors.contract import DataType, Json, RuntimeData
from penstock.executors.wasm.abi import ABI
from penstock.executors.wasm.call import signed
from penstock.executors.wasm.description import Description, DescriptionError, parse_description
from penstock.executors.wasm.failure import GuestFailure, explain
from penstock.executors.wasm.frame import FRAME, FrameError, Unsayable, datum, pack_frame, parse_header
from penstock.executors.wasm.instance import Area, Instance
from penstock.executors.wasm.limits import WasmLimits

__all__ = ["Guest"]

T = TypeVar("T")

_FRAME_ALIGN = 64
_DATA_ALIGN = 4096
_NO_META = (0, 0)
_MOST_OUTPUTS = 65_536
_LONGEST_DESCRIPTION_BYTES = 2**20
_LONGEST_ERROR_BYTES = 2**16


class Guest:
    """One node in one instance. Every failure is a `GuestFailure`. Not for two threads at a time."""

    def __init__(self, module: wasmtime.Module, limits: WasmLimits, logger: logging.Logger) -> None:
        self._limits = limits
        self._what = "its start"  # the export that runs, for the text of a failure
        try:
            self._instance = Instance(module, limits, logger)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            raise explain(error, self._what, limits) from None
        self._ps_process = self._instance.calls["ps_process"]
        self._frame, self._data, self._meta = Area(), Area(), Area()
        self._handle = 0
        self._sequence = 0
        self._meta_text = b""
        self._cause = RuntimeData.text("", timestamp_ns=0)  # what the outputs of a flush take their session from
        self._takes: tuple[DataType, ...] = ()

    def describe(self) -> Description:
        """What the guest says about itself; first of all that it speaks this ABI."""
        description = self._run(self._describe)
        self._takes = tuple(kind for kind in DataType if description.takes(kind))
        return description

    def open(self, params: Mapping[str, Json]) -> None:
        """Start the node with its parameters; a refusal carries the guest's errno."""
        self._run(self._open, json.dumps(params).encode())

    def process(self, data: RuntimeData) -> list[RuntimeData]:
        """Give the guest a datum: 0..n outputs."""
        return self._run(self._process, data)

    def flush(self) -> list[RuntimeData]:
        """The inputs have ended: what the guest still held back."""
        return self._run(self._flush)

    def close(self, *, broken: bool = False) -> None:
        """End the node, unless it is broken, and give its memory back; idempotent.

        Raises:
            GuestFailure: `ps_close` failed; the memory has been given back all the same.
        """
        handle, self._handle = self._handle, 0
        try:
            if handle and not broken:
                self._run(self._call, "ps_close", handle)
        finally:
            self._instance.close()

    def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run the guest within its deadline, and put what it does wrong into words."""
        instance = self._instance
        instance.enter()
        try:
            return work(*arguments)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            raise explain(error, self._what, self._limits) from None
        except FrameError as error:
            raise GuestFailure(f"{self._what}: {error}", broken=True) from None
        except Unsayable as error:
            raise GuestFailure(str(error), broken=False) from None
        finally:
            instance.leave()

    def _call(self, name: str, *arguments: int) -> int:
        self._what = name
        result = self._instance.calls[name](*arguments)
        self._instance.refresh()
        return result

    def _describe(self) -> Description:
        if "_initialize" in self._instance.calls:
            self._call("_initialize")
        abi = signed(self._call("ps_abi"))
        if abi != ABI:
            raise FrameError(f"gives {abi}, this penstock speaks ABI {ABI}")
        text = self._instance.text_at(self._call("ps_describe"), _LONGEST_DESCRIPTION_BYTES)
        try:
            return parse_description(text)
        except DescriptionError as error:
            raise FrameError(str(error)) from None

    def _open(self, params: bytes) -> None:
        self._what = "ps_alloc"
        self._instance.reserve(self._frame, FRAME.size, _FRAME_ALIGN)
        self._instance.reserve(self._data, max(len(params), 1), _DATA_ALIGN)
        self._store(self._data, params)
        self._handle = self._checked(self._call("ps_open", self._data.pointer, len(params)))
        if not self._handle:
            raise FrameError("gave the handle 0: it is positive, or a negative errno")

    def _process(self, data: RuntimeData) -> list[RuntimeData]:
        if data.data_type not in self._takes:
            raise Unsayable(f"takes {', '.join(map(str, self._takes))}, not {data.data_type}")
        self._put(data)
        self._cause = data
        self._what = "ps_process"
        count = self._ps_process(self._handle, self._frame.pointer)
        self._instance.refresh()
        if count == 1:
            return [self._take(self._frame.pointer)]
        if not self._checked(count):
            return []
        first = self._take(self._frame.pointer)
        return [first, *self._more(count - 1, len(first.payload))]

    def _put(self, data: RuntimeData) -> None:
        """Copy a datum into the guest, and write its frame."""
        instance, area = self._instance, self._data
        payload = data.payload
        if type(payload) is memoryview and payload.format != "B":
            payload = payload.cast("B")
        size = len(payload)
        self._what = "ps_alloc"
        if size > area.size:
            instance.reserve(area, size, _DATA_ALIGN)
        meta = self._put_meta(data.meta) if data.meta else _NO_META
        self._sequence += 1
        pack_frame(instance.view, self._frame.pointer, data, size, area.pointer, meta, self._sequence)
        instance.view[area.pointer : area.pointer + size] = payload

    def _put_meta(self, meta: Mapping[str, Json]) -> tuple[int, int]:
        try:
            self._meta_text = json.dumps(meta, ensure_ascii=False).encode("utf-8", "surrogatepass")
        except (TypeError, ValueError) as error:
            raise Unsayable(f"its meta is not JSON: {error}") from None
        self._instance.reserve(self._meta, len(self._meta_text), _FRAME_ALIGN)
        self._store(self._meta, self._meta_text)
        return self._meta.pointer, len(self._meta_text)

    def _store(self, area: Area, text: bytes) -> None:
        self._instance.view[area.pointer : area.pointer + len(text)] = text

    def _take(self, at: int) -> RuntimeData:
        """The datum whose frame is at `at`, copied out. The time of its cause is its own, unless the guest set one."""
        view, cause = self._instance.view, self._cause
        header = parse_header(view, at)
        payload = bytes(view[header.data_ptr : header.data_ptr + header.data_len])
        meta = self._take_meta(header.meta_ptr, header.meta_len) if header.meta_len else {}
        return datum(header, payload, cause.session_id, header.pts_ns or cause.timestamp_ns, meta)

    def _take_meta(self, pointer: int, length: int) -> Mapping[str, Json]:
        text = bytes(self._instance.view[pointer : pointer + length])
        if self._cause.meta and text == self._meta_text:
            return self._cause.meta  # passed on untouched
        try:
            meta = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FrameError(f"the frame's meta is not JSON: {error}") from None
        if not isinstance(meta, dict):
            raise FrameError(f"the frame's meta is a JSON {type(meta).__name__}, not an object")
        return meta

    def _flush(self) -> list[RuntimeData]:
        return self._more(self._checked(self._call("ps_flush", self._handle)), 0)

    def _more(self, count: int, total_bytes: int) -> list[RuntimeData]:
        """`count` further outputs, by `ps_next`.

        Together they are bounded by the guest's own memory limit, or a guest could fill the host's by naming one large
        buffer again and again.
        """
        outputs: list[RuntimeData] = []
        for number in range(count):
            pointer = self._next(number, count)
            outputs.append(self._take(pointer))
            total_bytes += len(outputs[-1].payload)
            if total_bytes > self._limits.memory_bytes:
                raise FrameError(
                    f"the outputs of one call are more than {self._limits.memory_bytes} bytes (memory_bytes)"
                )
        return outputs

    def _next(self, number: int, count: int) -> int:
        if "ps_next" not in self._instance.calls:
            raise FrameError(f"announced {count} more outputs, and the guest does not export ps_next")
        pointer = self._call("ps_next", self._handle)
        if not pointer:
            raise FrameError(f"gave 0 after {number} outputs of {count}")
        return pointer

    def _checked(self, result: int) -> int:
        """A result that is no errno.

        Raises:
            GuestFailure: it is one; with the guest's own text.
            FrameError: an absurd number of outputs.
        """
        value = signed(result)
        if value < 0:
            raise self._refusal(-value)
        if value > _MOST_OUTPUTS and self._what != "ps_open":
            raise FrameError(f"announced {value} outputs; a call gives at most {_MOST_OUTPUTS}")
        return value

    def _refusal(self, number: int) -> GuestFailure:
        what = self._what
        text = self._instance.text_at(self._call("ps_error"), _LONGEST_ERROR_BYTES).decode("utf-8", "replace")
        name = errno.errorcode.get(number, str(number))
        return GuestFailure(f"{what} gives {name}: {text or '(no text)'}", broken=False, errno=number)
