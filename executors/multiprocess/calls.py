"""Calls to a worker: requests into one ring, answers out of another, matched by their correlation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn

import trio

from penstock.executors.codec import Codec
from penstock.executors.contract import (
    Internal,
    IPCError,
    Json,
    NodeExecution,
    RuntimeData,
    ServiceError,
    TypeMismatch,
    Validation,
)
from penstock.executors.translate import contract_error
from penstock.shm.errors import EndOfChannel, OutOfSharedMemory, PeerLost, SharedMemoryError
from penstock.shm.patience import ANSWER_SPIN_NS, Patience, WaitMode
from penstock.shm.record import Field, Kind, Outgoing, Record
from penstock.shm.trio_channel import TrioReceiver, TrioSender
from penstock.shm.trio_doorbell import TrioDoorbell

__all__ = ["Calls"]

_KIND: Final = Field.KIND
_CORRELATION: Final = Field.CORRELATION


class _Call:
    """A call in flight."""

    __slots__ = ("answer", "calls", "error")

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.answer: RuntimeData | None = None
        self.error: ServiceError | None = None

    @property
    def done(self) -> bool:
        return self.answer is not None or self.error is not None

    def settled(self) -> bool:
        """Whether it is done, after a look at what has come."""
        if self.answer is None and self.error is None:
            self.calls.hand_out(self)
        return self.answer is not None or self.error is not None


class Calls:
    """Any number of tasks call one node; each gets its own answer. A cancelled caller's late answer is thrown away.

    There is no task that pumps: whoever waits looks at the ring, and hands out what it finds.
    """

    def __init__(
        self, node_id: str, bell: TrioDoorbell, requests: TrioSender, answers: TrioReceiver, wait: WaitMode
    ) -> None:
        self._node_id = node_id
        self._bell = bell
        self._requests = requests
        self._answers = answers
        self._encoder = Codec(requests.name)
        self._decoder = Codec(answers.name)
        self._pending: dict[int, _Call] = {}
        self._next = 0
        self._broken: ServiceError | None = None
        self._turn = trio.Lock()
        self._turns = 0
        self._waiting = 0
        self._patience = Patience(wait, ANSWER_SPIN_NS)

    async def call(self, data: RuntimeData, params: Mapping[str, Json]) -> RuntimeData:
        """Give the node a datum and wait for its answer.

        Raises:
            NodeExecution: the node raised, or "IPC send failed" / "IPC receive failed: ..." when its process is gone.
        """
        self._next = correlation = self._next + 1
        try:
            message = self._encoder.encode(data, kind=Kind.CALL, correlation=correlation, params=params or None)
        except TypeMismatch as error:
            raise Internal(f"Data conversion failed: {error}") from error
        call = self._pending[correlation] = _Call(self)
        try:
            try:
                # The usual case needs no turn and no schedule point: waiting for the answer is one.
                if self._turns or self._broken is not None or not self._requests.offer(message):
                    await self._send_in_turn(message)
            except (SharedMemoryError, ValueError) as error:
                self._send_failed(error)
            del message  # its slab is the reader's now: an error's traceback must not keep it from being used again
            if not call.settled():
                await self._wait(call)
        finally:
            del self._pending[correlation]
        if self._bell.breath.is_due():
            await self._bell.breath.take()
        if call.error is not None:
            raise call.error
        assert call.answer is not None
        return call.answer

    def fail(self, error: ServiceError) -> None:
        """The process is gone: every call in flight, and every later one, ends with this."""
        self._broken = error
        for call in self._pending.values():
            if not call.done:
                call.error = self._receive_failed(error)
        self._bell.ring()

    async def _send_in_turn(self, message: Outgoing) -> None:
        """Wait for room, in the order of the calls."""
        if self._broken is not None:
            raise PeerLost(self._broken.message)
        self._turns += 1
        try:
            async with self._turn:
                await self._requests.send(message)
        finally:
            self._turns -= 1

    def _send_failed(self, error: SharedMemoryError | ValueError) -> NoReturn:
        if isinstance(error, ValueError):
            raise Validation(str(error)) from None
        if isinstance(error, OutOfSharedMemory):
            failed = contract_error(error, self._requests.name)
            raise Internal(f"Data conversion failed: {failed}") from failed
        raise NodeExecution(self._node_id, f"IPC send failed: {error}") from error

    async def _wait(self, call: _Call) -> None:
        self._waiting += 1
        try:
            await self._bell.until(call.settled, self._patience, self._answers.arm)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._answers.disarm()

    def hand_out(self, mine: _Call) -> None:
        """Look at what has come, and give each answer to its caller."""
        answers = self._answers
        while True:
            try:
                record = answers.take()
            except (EndOfChannel, PeerLost):
                return  # `fail` follows, with what became of the process
            except SharedMemoryError as error:
                self.fail(contract_error(error, answers.name))
                return
            if record is None:
                return
            call = self._pending.get(record.header[_CORRELATION])
            if call is not None:  # else its caller was cancelled
                self._settle(call, record)
                if call is not mine:
                    self._bell.ring()  # its own task sleeps, and its ring may just have been drained
            answers.acknowledge()
            if call is mine and len(self._pending) == 1:
                return  # there can be no other

    def _settle(self, call: _Call, record: Record) -> None:
        try:
            data, _, _ = self._decoder.decode_call(record)
            if record.header[_KIND] == Kind.ERROR:
                call.error = self._node_error(data.as_json())
            else:
                call.answer = data
        except ServiceError as error:
            call.error = error

    def _node_error(self, said: object) -> ServiceError:
        if not isinstance(said, dict):
            return IPCError(f"edge {self._answers.name}: an error that says {said!r}")
        if said.get("type") == "Validation":
            return Validation(str(said.get("message", "")))
        return NodeExecution(
            self._node_id,
            str(said.get("message", "")),
            kind=str(said.get("kind", "")),
            location=str(said.get("location", "")),
            details=str(said.get("details", "")),
        )

    def _receive_failed(self, error: ServiceError) -> ServiceError:
        details = error.details if isinstance(error, NodeExecution) else ""
        return NodeExecution(self._node_id, f"IPC receive failed: {error.message}", details=details)
