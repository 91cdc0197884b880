"""What a worker does: set up, run its node until the inputs end or it is told to stop, clean up, say how it went."""

from __future__ import annotations

import faulthandler
import logging
import resource
import select
import signal
import socket
import sys
import threading
from collections.abc import Mapping

from penstock.executors.contract import Json, NodeContext, NodeExecution, ServiceError
from penstock.executors.host import NodeHost
from penstock.executors.multiprocess.loop import WorkerLoop
from penstock.executors.multiprocess.messages import WorkerSpec, decode_spec, encode
from penstock.executors.registry import NodeRegistry, run_as_main
from penstock.executors.translate import node_error
from penstock.shm.doorbell import Doorbell
from penstock.shm.errors import Interrupted, PeerLost
from penstock.shm.segment import Segment

__all__ = ["serve"]


class Control:
    """The worker's end of the control socket. Safe from any thread."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._file = self._socket.makefile("rb")
        self._lock = threading.Lock()

    def receive(self) -> bytes:
        """The next line; empty when the engine has closed its end."""
        return self._file.readline()

    def wait(self, bell: Doorbell) -> bool:
        """Wait for the next line; False when this process is told to stop before it comes."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(bell, select.POLLIN)
        while not bell.interrupted:
            heard = {fd for fd, _ in poll.poll()}
            if self._socket.fileno() in heard:
                return True
            bell.drain()  # a neighbour that died, say: the loop looks at its rings before it sleeps
        return False

    def say(self, kind: str, /, **fields: Json) -> None:
        with self._lock:
            self._socket.sendall(encode({"type": kind, **fields}))

    def say_error(self, kind: str, error: ServiceError) -> None:
        said = error if isinstance(error, NodeExecution) else NodeExecution("", str(error), kind=type(error).__name__)
        self.say(kind, message=said.message, kind=said.kind, location=said.location, details=said.details)


class _Forward(logging.Handler):
    """Sends log records to the engine, which has the handlers."""

    def __init__(self, control: Control) -> None:
        super().__init__()
        self._control = control

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            self._control.say("log", level=record.levelno, logger=record.name, message=text)
        except OSError:
            pass  # the engine is gone, and so will this process be
        except Exception:
            self.handleError(record)


def serve(control_fd: int) -> int:
    """Run the worker; its exit code: 0 done or told to stop, 1 the node failed."""
    faulthandler.enable()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the engine's; from it, SIGINT ends a source's stream
    control = Control(control_fd)
    line = control.receive()
    if not line:
        return 1
    spec = decode_spec(line)
    logging.getLogger().addHandler(_Forward(control))
    loop = _set_up(spec, control)
    if loop is None:
        return 1
    control.say("ready", inputs=list(loop.host.inputs), outputs=list(loop.host.outputs))
    if not control.wait(loop.bell):  # told to stop before it began
        return 0 if _clean_up(loop, control) else 1
    if not control.receive():
        return 1
    return _run(loop, control)


def _set_up(spec: WorkerSpec, control: Control) -> WorkerLoop | None:
    try:
        sys.path[:] = [*spec.search_path, *(entry for entry in sys.path if entry not in spec.search_path)]
        if spec.main_path is not None:
            run_as_main(spec.main_path)
        factory = NodeRegistry(spec.types).find(spec.node.node_type)
        node = spec.node
        ctx = NodeContext(node.node_id, node.node_type, node.params, node.session_id, node.metadata)
        loop = WorkerLoop(NodeHost(factory, ctx), spec)
        loop.listen(control.receive, control.say)
        signal.signal(signal.SIGTERM, lambda *_: loop.stop())
        if loop.host.is_source:
            signal.signal(signal.SIGINT, lambda *_: loop.end_stream())
        if spec.trace is not None:
            _trace(loop, spec.trace)
        loop.initialize()
    except (Exception, SystemExit) as error:
        control.say_error("failed", node_error(spec.node.node_id, error))
        return None
    return loop


def _trace(loop: WorkerLoop, segment: str) -> None:
    from penstock.executors.multiprocess.tracing import trace
    from penstock.executors.trace import Trace

    trace(loop, Trace(Segment.attach(segment).view))


def _run(loop: WorkerLoop, control: Control) -> int:
    why = "ended"
    try:
        loop.run()
    except Interrupted:
        why = "interrupted"
    except PeerLost:
        why = "peer lost"
    except (Exception, SystemExit) as error:
        control.say_error("error", node_error(loop.host.ctx.node_id, error))
        _clean_up(loop, control)
        return 1
    if not _clean_up(loop, control):
        return 1
    control.say("finished", why=why, **_counters(loop))
    return 0


def _clean_up(loop: WorkerLoop, control: Control) -> bool:
    try:
        loop.cleanup()
    except (Exception, SystemExit) as error:
        control.say_error("error", node_error(loop.host.ctx.node_id, error))
        return False
    return True


def _counters(loop: WorkerLoop) -> Mapping[str, Json]:
    return {
        "processed": loop.processed,
        "busy_ns": loop.busy_ns,
        "max_rss_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
