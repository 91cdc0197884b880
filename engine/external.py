"""The external inputs and outputs of a run: what the program that has opened it sends to, and receives from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import numpy as np
import trio

from penstock.engine.edge import EdgeReceiver, NeighbourLost
from penstock.engine.gate import Gate
from penstock.engine.local_task import Outputs
from penstock.executors.contract import DataType, EndOfStream, RuntimeData, ServiceError, TypeMismatch, Validation

__all__ = ["ExternalInput", "ExternalOutput", "OutputData", "RunEnded"]


class RunEnded(ServiceError):
    """Nothing can be sent, or received, any more: the input was ended, or the run was."""


class ExternalInput:
    """An input of the pipeline: data go from here into the edges of nodes.

    A call that is cancelled, or raises, has sent nothing: to none of several edges (unless one of them has the policy
    `error`, and fails).
    """

    def __init__(self, name: str, accepted: frozenset[DataType], outputs: Outputs, session_id: str) -> None:
        """Take the sending end.

        Args:
            name: of the input.
            accepted: the types that all of its targets take.
            outputs: the edges to them.
            session_id: of data that are made here.
        """
        self.name: str = name
        self._accepted = accepted
        self._outputs = outputs
        self._session_id = session_id
        self._gate = Gate()
        self._turn = trio.Lock()
        self.ended: trio.Event = trio.Event()
        """Set when its edges have ended."""

    async def send(self, value: Any) -> None:
        """Send a datum, waiting for room (see `Run.send`)."""
        self._gate.check()
        await trio.lowlevel.checkpoint_if_cancelled()
        data = self._datum(value)
        if self._offer(data):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        with self._gate.waiting():
            async with self._turn:
                self._gate.check()  # it may have come to us with the end
                try:
                    while not self._outputs.offer(data):
                        await self._outputs.wait_for_room(data)
                except NeighbourLost:
                    await trio.sleep_forever()  # the worker's supervisor says what happened, and that shuts the gate

    def send_nowait(self, value: Any) -> None:
        """Send a datum now (see `Run.send_nowait`)."""
        self._gate.check()
        if not self._offer(self._datum(value)):
            raise trio.WouldBlock

    @property
    def has_ended(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._gate.is_shut

    async def end(self) -> None:
        """Nothing follows what others have sent, or wait to send. Idempotent."""
        await trio.lowlevel.checkpoint_if_cancelled()
        with suppress(ServiceError), self._gate.waiting():  # ended, stopped or failed: nothing follows
            async with self._turn:
                self.stop(RunEnded(f"input {self.name!r} was ended: nothing can be sent to it any more"))

    def stop(self, error: ServiceError) -> None:
        """Nothing follows; who waits to send raises the error. Idempotent."""
        self.shut(error)
        self._outputs.end()
        self.ended.set()

    def shut(self, error: ServiceError) -> None:
        """The run is over: whoever sends raises the error. Nodes are told by other means."""
        self._gate.shut(error)

    def _offer(self, data: RuntimeData) -> bool:
        """Send it if nobody waits to, and there is room."""
        try:
            return not self._turn.locked() and self._outputs.offer(data)
        except NeighbourLost:
            return False

    def _datum(self, value: Any) -> RuntimeData:
        data = value if isinstance(value, RuntimeData) else self._made_of(value)
        if data.data_type not in self._accepted:
            expected = " or ".join(sorted(kind.value.lower() for kind in self._accepted))
            raise TypeMismatch(f"{expected} (input {self.name!r})", data.data_type)
        return data

    def _made_of(self, value: Any) -> RuntimeData:
        """A datum of a plain value: a `str` is text, an array a tensor, anything else JSON."""
        try:
            if isinstance(value, str) and DataType.TEXT in self._accepted:
                return RuntimeData.text(value, session_id=self._session_id)
            if not isinstance(value, np.ndarray):
                return RuntimeData.json(value, session_id=self._session_id)
            if self._accepted == {DataType.AUDIO}:
                raise Validation("audio has a rate: RuntimeData.audio(samples, sample_rate=...)")
            return RuntimeData.tensor(value, session_id=self._session_id)
        except Validation as error:
            raise Validation(f"input {self.name!r}: {error.message}") from None


class ExternalOutput:
    """An output of the pipeline: data come here from the edge of a node, and hold it up while nobody receives them.

    Once the run is to end, the edge bounds nothing any more: what still comes is kept, so that a stop needs no reader.
    """

    def __init__(self, name: str, receiver: EdgeReceiver) -> None:
        self.name: str = name
        self._receiver = receiver
        self._gate = Gate()
        self._turn = trio.Lock()
        self._rest: trio.MemoryReceiveChannel[RuntimeData] | None = None

    @property
    def unread(self) -> int:
        """Data that are off the edge and that nobody has received yet."""
        return 0 if self._rest is None else self._rest.statistics().current_buffer_used

    async def receive(self) -> RuntimeData:
        """The next datum, waiting for it (see `Run.receive`)."""
        self._gate.check()
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            data = self.receive_nowait()
        except trio.WouldBlock:
            with self._gate.waiting():
                async with self._turn:
                    return await self._take()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return data

    def receive_nowait(self) -> RuntimeData:
        """The next datum, if it is there (see `Run.receive_nowait`)."""
        self._gate.check()
        if self._turn.locked():
            raise trio.WouldBlock
        try:
            if self._rest is not None:
                return self._rest.receive_nowait()
            data = self._receiver.receive_nowait()
        except NeighbourLost:
            raise trio.WouldBlock from None
        except trio.EndOfChannel:
            raise EndOfStream from None
        self._receiver.acknowledge()  # nobody could interrupt it since it was taken
        return data

    async def keep_rest(self) -> None:
        """Take everything that is still to come off the edge, until its end."""
        async with self._turn:  # whoever receives from the edge gets what he waits for
            keep, self._rest = trio.open_memory_channel[RuntimeData](float("inf"))
        try:
            while True:
                keep.send_nowait(await self._receive())
        except EndOfStream:
            keep.close()
        except NeighbourLost:
            await trio.sleep_forever()  # its supervisor says what happened, and that ends us

    def shut(self, error: ServiceError) -> None:
        """The run is over before its time: whoever receives raises the error."""
        self._gate.shut(error)

    async def _take(self) -> RuntimeData:
        try:
            if self._rest is not None:
                return await self._rest.receive()
            return await self._receive()
        except NeighbourLost:
            await trio.sleep_forever()  # as above; it shuts the gate
        except trio.EndOfChannel:
            raise EndOfStream from None

    async def _receive(self) -> RuntimeData:
        """Off the edge, but for what was interrupted before it got here."""
        while True:
            data = await self._receiver.receive()
            is_stale = self._receiver.is_stale
            self._receiver.acknowledge()
            if not is_stale:
                return data


class OutputData(AsyncIterator[RuntimeData]):
    """`async for data in run.outputs(name)`: ends when the stream does."""

    def __init__(self, output: ExternalOutput) -> None:
        self._output = output

    async def __anext__(self) -> RuntimeData:
        try:
            return await self._output.receive()
        except EndOfStream:
            raise StopAsyncIteration from None
