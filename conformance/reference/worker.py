"""The worker of the reference: `python -m penstock.conformance.reference.worker FD`. One node, one call at a time."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import sys
from typing import Any

from penstock.conformance.reference.host import Host, find
from penstock.conformance.reference.wire import INLINE_BYTES, SPACE, Frames, describe, restore, shared
from penstock.executors.contract import DataType, NodeContext, RuntimeData

__all__: list[str] = []

_PR_SET_PDEATHSIG = 1


class _Pipe:
    """The worker's end of the socket, blocking."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(True)  # trio made both ends non-blocking
        self._frames = Frames()

    def receive(self) -> tuple[dict[str, Any], int | None] | None:
        """The next frame; None when the host has gone."""
        while (frame := self._frames.next()) is None:
            received, ancillary, _, _ = self._socket.recvmsg(1 << 16, SPACE)
            if not received:
                return None
            self._frames.feed(received, ancillary)
        return frame

    def send(self, message: dict[str, Any], fd: int | None = None) -> None:
        frame = Frames.encode(message)
        sent = self._socket.sendmsg([frame], Frames.ancillary(fd))
        self._socket.sendall(frame[sent:])


def _answer(pipe: _Pipe, number: int, answer: object) -> None:
    if not isinstance(answer, RuntimeData):
        raise TypeError(f"answered with {type(answer).__name__}, not with one datum")
    message = {"id": number, "data": describe(answer)}
    is_words = answer.data_type in {DataType.TEXT, DataType.JSON}
    if is_words and answer.nbytes <= INLINE_BYTES:
        pipe.send({**message, "payload": bytes(answer.payload).decode("utf-8", "surrogatepass")})
        return
    fd, mapping = shared(answer.payload)
    mapping.close()
    pipe.send({**message, "memfd": True}, fd)
    os.close(fd)


def _serve(pipe: _Pipe, host: Host) -> None:
    while (frame := pipe.receive()) is not None:
        message, fd = frame
        try:
            _answer(pipe, message["id"], _process(host, message, fd))
        except Exception as error:
            pipe.send({"id": message["id"], "error": getattr(error, "message", str(error))})


def _process(host: Host, message: dict[str, Any], fd: int | None) -> object:
    """The node reads the memory that the host wrote; the mapping lives as long as somebody looks at it."""
    about = message["data"]
    if fd is None:
        payload: bytes | memoryview = message["payload"].encode("utf-8", "surrogatepass")
    else:
        payload = memoryview(mmap.mmap(fd, max(1, about["nbytes"]), prot=mmap.PROT_READ))[: about["nbytes"]]
        os.close(fd)
    return host.process(restore(about, payload), message["params"])


def main() -> None:
    """Wait for the node's context, initialize it, serve its calls."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    pipe = _Pipe(int(sys.argv[1]))
    first = pipe.receive()
    if first is None:
        return
    context, types = first[0]["context"], first[0]["types"]
    try:
        host = Host(find(context["node_type"], types), NodeContext(**context))
        host.initialize()
    except Exception as error:
        pipe.send({"error": getattr(error, "message", str(error))})
        return
    pipe.send({"ready": True})
    _serve(pipe, host)


if __name__ == "__main__":
    main()
