"""The worker: `python zmq_worker.py ENDPOINT CONTEXT`. It dies with its host."""

from __future__ import annotations

import ctypes
import importlib
import json
import signal
import sys
from typing import Any

import zmq
from zmq_wire import pack, unpack

from penstock.executors.contract import NodeContext

__all__: list[str] = []


def _made(told: dict[str, Any]) -> tuple[Any, NodeContext]:
    module, _, name = told["factory"].partition(":")
    node, ctx = getattr(importlib.import_module(module), name)(), NodeContext(**told["context"])
    if hasattr(node, "initialize"):
        node.initialize(ctx)
    return node, ctx


def main() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    socket: Any = zmq.Context().socket(zmq.PAIR)
    socket.connect(sys.argv[1])
    told = json.loads(sys.argv[2])
    try:
        node, ctx = _made(told)
    except Exception as error:
        socket.send_multipart([json.dumps({"error": str(error)}).encode()])
        return
    socket.send_multipart([json.dumps({"error": None}).encode()])
    while True:
        head, payload = socket.recv_multipart()
        call = json.loads(head)
        ctx.params = {**told["context"]["params"], **call["params"]}
        try:
            about, answer = pack(node.process(unpack(call["data"], payload)))
        except Exception as error:
            socket.send_multipart([json.dumps({"number": call["number"], "error": str(error)}).encode()])
        else:
            socket.send_multipart([json.dumps({"number": call["number"], "data": about}).encode(), answer])


if __name__ == "__main__":
    main()
