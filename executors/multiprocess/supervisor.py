"""The supervisor of one worker process: start it, listen to it, notice its end at once, leave nothing of it behind."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil
import trio

from penstock.executors.contract import Json, NodeExecution, ServiceError
from penstock.executors.multiprocess.messages import WorkerSpec, encode, lines
from penstock.executors.multiprocess.page import PageWord
from penstock.executors.multiprocess.process import descendants, describe, exited, lifelines, never_inherited
from penstock.executors.multiprocess.surroundings import Surroundings
from penstock.executors.multiprocess.wiring import Party, Wiring
from penstock.shm.patience import WaitMode

__all__ = ["Gone", "Supervisor", "WorkerOptions", "print_output"]

_STDERR_LINES = 60
_LONGEST_LINE = 1 << 16

OnOutput = Callable[[str, str, str], None]


def print_output(node_id: str, stream: str, line: str) -> None:
    """Pass a line of a worker on to this process's own stream, with the node's name in front."""
    print(f"[{node_id}] {line}", file=sys.stdout if stream == "stdout" else sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How workers are run.

    Attributes:
        init_timeout_s: how long a node may take until it is ready (imports, models).
        grace_s: how long it may take to end after SIGTERM, before SIGKILL.
        on_output: `on_output(node_id, "stdout" | "stderr", line)` for each line that the worker prints.
        wait: of a bridge: how it and its workers wait for each other (see `penstock.shm.patience`).
        surroundings: interpreter, environment and working directory.
    """

    init_timeout_s: float = 60.0
    grace_s: float = 3.0
    on_output: OnOutput = print_output
    wait: WaitMode = "adaptive"
    surroundings: Surroundings = field(default_factory=Surroundings)


@dataclass(slots=True)
class Counters:
    """What a worker says of itself at its end."""

    processed: int = 0
    busy_ns: int = 0
    max_rss_kib: int = 0
    why: str = ""
    """Why it ended: "ended" (its inputs, its source), "interrupted" (SIGTERM), "peer lost" (a neighbour died)."""


@dataclass(slots=True)
class Ports:
    """The node's ports, known when it is ready."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


class Gone(Exception):
    """The process has ended."""


@dataclass(eq=False, slots=True)
class _Answer:
    """What came of an order."""

    given: trio.Event = field(default_factory=trio.Event)
    error: ServiceError | None = None
    is_lost: bool = False


@dataclass(eq=False, slots=True)
class _State:
    ready: trio.Event = field(default_factory=trio.Event)
    is_told: bool = False
    started: trio.Event = field(default_factory=trio.Event)
    initialized: bool = False
    gone: trio.Event = field(default_factory=trio.Event)
    failure: ServiceError | None = None
    finished: bool = False
    stopping: trio.Event = field(default_factory=trio.Event)
    announced: bool = False


class Supervisor:
    """One worker. `run` in a nursery, then `wait_ready`, `start`; `stop` ends it in good order.

    Attributes:
        pid: of the process, once it runs.
        alive: whether it runs.
        counters: filled when it has ended by itself.
        crashed: whether its process ended before its work did, and said nothing of it.
    """

    def __init__(
        self,
        wiring: Wiring,
        party: Party,
        spec: WorkerSpec,
        options: WorkerOptions | None = None,
        *,
        announce: bool = True,
    ) -> None:
        self._announces = announce
        self._wiring = wiring
        self._party = party
        self._spec = spec
        self._options = options or WorkerOptions()
        self.node_id: str = spec.node.node_id
        self._state = _State()
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._strays: list[psutil.Process] = []
        self._grace = trio.CancelScope()
        self._control: trio.SocketStream | None = None
        self.pid: int = 0
        self.alive: bool = False
        self.ports: Ports = Ports()
        self.counters: Counters = Counters()
        self.crashed: bool = False
        self._speaking = trio.Lock()
        self._fault = ""
        self._asked = 0
        self._answers: dict[int, _Answer] = {}

    async def run(self) -> None:
        """Start the process and stay until it is gone and reaped. Cancelling kills it. Never raises for its faults."""
        if self._state.stopping.is_set():
            self._say_gone()
            return
        with contextlib.ExitStack() as held:  # what this process holds for as long as the worker lives
            try:
                process, control = await self._launch(held)
            except OSError as error:
                self._fail(f"its process could not be started: {error.strerror or error}")
                return
            finally:
                if not self.pid:
                    self._say_gone()
            try:
                if self._state.stopping.is_set():
                    self._signal(signal.SIGKILL)
                await self._supervise(process, control)
            finally:
                await self._end(process)

    async def wait_ready(self) -> None:
        """Wait until the node is initialized.

        Raises:
            NodeExecution: it failed, died, or took longer than `init_timeout_s`.
        """
        with trio.move_on_after(self._options.init_timeout_s) as scope:
            await self._state.ready.wait()
        if scope.cancelled_caught:
            self._fail(
                f"was not ready within {self._options.init_timeout_s:g} s (pid {self.pid}); "
                "give it more with init_timeout, if it loads something large"
            )
            self.kill()
        if self._state.failure is not None:
            raise self._state.failure

    @property
    def was_ready(self) -> bool:
        """Whether the node was initialized."""
        return self._state.initialized

    async def start(self) -> None:
        """Let the node take its inputs. Idempotent."""
        if self._control is not None and not self._state.is_told:
            self._state.is_told = True
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async with self._speaking:
                    await self._control.send_all(encode({"type": "start"}))
        self._state.started.set()

    async def ask(self, **order: Json) -> ServiceError | None:
        """Give the worker an order, and wait until it has obeyed; what came of it.

        Raises:
            Gone: its process has ended, and did not say.
        """
        await self._state.started.wait()
        number, self._asked = self._asked, self._asked + 1
        answer = self._answers[number] = _Answer()
        try:
            await self._tell({"id": number, **order})
            await answer.given.wait()
        finally:
            del self._answers[number]
        if answer.is_lost:
            raise Gone
        return answer.error

    async def _tell(self, order: Mapping[str, Json]) -> None:
        if self._control is None or self._state.gone.is_set():
            raise Gone
        try:
            async with self._speaking:
                await self._control.send_all(encode(order))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Gone from None
        if self._state.gone.is_set():
            raise Gone
        words = self._page_words()
        words[PageWord.ORDERS] += 1
        words[PageWord.ATTENTION] += 1
        self._party.bell.ring()

    def _page_words(self) -> memoryview:
        assert self._party.page is not None
        return self._party.page.words

    @property
    def failure(self) -> ServiceError | None:
        """Why the worker failed, if it did."""
        return self._state.failure

    async def wait_gone(self) -> None:
        await self._state.gone.wait()

    def end_stream(self) -> None:
        """Ask a source to end its stream here; what it gave is worked off, and it ends like one that had no more."""
        self._signal(signal.SIGINT)

    def kill_for(self, fault: str) -> None:
        """End the worker's whole group at once, as it does something that it must not: that is a crash."""
        self._fault = fault
        self._signal(signal.SIGKILL)

    def kill(self) -> None:
        """End the worker's whole group at once."""
        self._state.stopping.set()
        self._signal(signal.SIGKILL)

    async def stop(self, grace_s: float | None = None) -> None:
        """SIGTERM, the grace period (of the options, or another), SIGKILL. Returns when the worker is gone."""
        self._state.stopping.set()
        if self.alive:
            self._strays = descendants(self.pid)  # while they can be told from other people's
            self._signal(signal.SIGTERM)
        with trio.move_on_after(self._options.grace_s if grace_s is None else grace_s):
            await self.wait_gone()
        self.kill()
        with trio.CancelScope(shield=True):
            await self.wait_gone()

    async def _launch(self, held: contextlib.ExitStack) -> tuple[trio.Process, socket.socket]:
        """The process, and our end of its control socket."""
        with contextlib.ExitStack() as theirs:
            lifeline_fd, our_end = os.pipe()
            theirs.callback(os.close, lifeline_fd)
            held.callback(os.close, our_end)
            never_inherited(our_end)
            held.callback(lifelines.discard, our_end)
            control, their_control = socket.socketpair()
            held.enter_context(control)
            theirs.enter_context(their_control)
            return await self._spawn(lifeline_fd, their_control.fileno()), control

    async def _spawn(self, lifeline_fd: int, control_fd: int) -> trio.Process:
        spec = self._spec
        words = self._page_words()  # of a predecessor, which reads no more and has nothing in hand
        words[PageWord.ORDERS] = words[PageWord.SINCE_NS] = 0
        bells = {*spec.bell, *(fd for link in (*spec.inputs, *spec.outputs) for fd in link.peer_bell)}
        blobs = spec.journal.blobs if spec.journal is not None and spec.journal.blobs is not None else ()
        around = self._options.surroundings
        process = await trio.lowlevel.open_process(
            around.worker(str(lifeline_fd), str(control_fd)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(lifeline_fd, control_fd, *bells, *blobs),
            process_group=0,
            env=around.environment(),
            cwd=around.cwd,
        )
        self.pid = process.pid
        self.alive = True
        return process

    async def _supervise(self, process: trio.Process, ours: socket.socket) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._control = control = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        async with process.stdout, process.stderr, control, trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, control, nursery)
            nursery.start_soon(self._pass_on, process.stdout, "stdout")
            nursery.start_soon(self._pass_on, process.stderr, "stderr")
            with contextlib.suppress(trio.BrokenResourceError):
                await control.send_all(encode(self._spec))
            await exited(process)
            self._announce()
            self._grace.cancel()
            # What it wrote last is still in the pipes; a child that left the group may hold them open.
            nursery.cancel_scope.deadline = trio.current_time() + 1.0

    async def _end(self, process: trio.Process) -> None:
        """Reap, whatever has happened; the group is ended before its leader is reaped, as its number may be reused."""
        with trio.CancelScope(shield=True):
            if not self._state.announced:  # cancelled: it still runs
                self._end_group()
                await exited(process)
                self._announce()
            self._judge(await process.wait())
            self._say_gone()

    def _announce(self) -> None:
        """The neighbours first: some of them may sleep on what this process did not get to say. Then its group."""
        self._state.announced = True
        if self._announces:
            self._wiring.lost(self._party)
        self._end_group()

    def _say_gone(self) -> None:
        self.alive = False
        self._state.ready.set()
        self._state.started.set()
        for answer in self._answers.values():
            answer.is_lost = True
            answer.given.set()
        self._state.gone.set()
        self._wiring.bell.ring()

    def _end_group(self) -> None:
        """The worker's group, and those descendants that left it, as far as they are known."""
        for child in (*self._strays, *descendants(self.pid)):
            with contextlib.suppress(psutil.Error):
                child.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if number is signal.SIGKILL else os.kill)(self.pid, number)
            if number is not signal.SIGKILL:  # Python heeds it only after a wait that it was about to begin
                self._party.bell.ring()

    def _judge(self, status: int) -> None:
        """Say what the end of the process means, unless it is known already or was asked for."""
        if self._state.finished or self._state.stopping.is_set() or self._state.failure is not None:
            return
        self.crashed = True
        text = self._fault or f"its process (pid {self.pid}) {describe(status)}"
        self._fail(text, details="\n".join(self._stderr))

    def _fail(self, message: str, *, details: str = "") -> None:
        if self._state.failure is None:
            self._state.failure = NodeExecution(self.node_id, message, details=details)

    async def _listen(self, control: trio.SocketStream, nursery: trio.Nursery) -> None:
        buffer = bytearray()
        with contextlib.suppress(trio.BrokenResourceError):
            async for chunk in control:
                buffer += chunk
                for line in lines(buffer):
                    over = self._over
                    self._hear(line)
                    if self._over and not over:
                        nursery.start_soon(self._end_within_grace)

    @property
    def _over(self) -> bool:
        return self._state.finished or self._state.failure is not None

    async def _end_within_grace(self) -> None:
        """A node that failed may clean up, and one that finished may exit, but not for ever."""
        with self._grace:
            await trio.sleep(self._options.grace_s)
            self.kill()

    def _hear(self, line: bytes) -> None:
        try:
            said = json.loads(line)
            kind = said["type"]
            match kind:
                case "ready":
                    self.ports = Ports(tuple(said["inputs"]), tuple(said["outputs"]))
                    self._state.initialized = True
                    self._state.ready.set()
                case "failed" | "error":
                    self._hear_error(said)
                case "obeyed" | "refused":
                    answer = self._answers.get(said["id"])
                    if answer is not None and not answer.is_lost:
                        answer.error = None if kind == "obeyed" else self._error_of(said)
                        answer.given.set()
                case "log":
                    logging.getLogger(said["logger"]).log(said["level"], "[%s] %s", self.node_id, said["message"])
                case "finished":
                    self.counters = Counters(said["processed"], said["busy_ns"], said["max_rss_kib"], said["why"])
                    self._state.finished = True
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._fail(f"its process (pid {self.pid}) said something that makes no sense: {error!r}")
            self.kill()

    def _hear_error(self, said: Mapping[str, Any]) -> None:
        if self._state.failure is None:
            self._state.failure = self._error_of(said)
        self._wiring.bell.ring()

    def _error_of(self, said: Mapping[str, Any]) -> NodeExecution:
        return NodeExecution(
            self.node_id, said["message"], kind=said["kind"], location=said["location"], details=said["details"]
        )

    async def _pass_on(self, stream: trio.abc.ReceiveStream, name: str) -> None:
        buffer = bytearray()
        async for chunk in stream:
            buffer += chunk
            for line in lines(buffer):
                self._print(name, line)
            if len(buffer) >= _LONGEST_LINE:
                self._print(name, bytes(buffer))
                buffer.clear()
        if buffer:
            self._print(name, bytes(buffer))

    def _print(self, name: str, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        if name == "stderr":
            self._stderr.append(text)
        try:
            self._options.on_output(self.node_id, name, text)
        except Exception:  # a closed standard output, say: no reason to lose a worker
            logging.getLogger("penstock").exception("a line of node %r could not be passed on", self.node_id)
