"""A node in a worker as a stream: one ring in, one ring out, each record saying which port it is for."""

from __future__ import annotations

from collections.abc import Callable

import trio

from penstock.executors.arguments import check_call
from penstock.executors.background import Background
from penstock.executors.codec import Codec
from penstock.executors.contract import BridgeClosed, EndOfStream, IPCError, RuntimeData, Validation
from penstock.executors.lifetime import StreamLoop
from penstock.executors.multiprocess.launch import Launch
from penstock.executors.multiprocess.supervisor import Supervisor
from penstock.executors.translate import contract_error
from penstock.shm.errors import ChannelClosed, EndOfChannel, PeerLost, SharedMemoryError
from penstock.shm.trio_channel import TrioReceiver, TrioSender

__all__ = ["WorkerStream"]


class WorkerStream(StreamLoop):
    """A worker of its own for one node (see `NodeStream`)."""

    def __init__(self, launch: Launch, forget: Callable[[WorkerStream], None]) -> None:
        wiring, node_id = launch.wiring, launch.node.node_id
        inputs = wiring.link(f"{node_id} (in)", wiring.engine, launch.party)
        outputs = wiring.link(f"{node_id} (out)", launch.party, wiring.engine)
        launch.inputs.append(inputs.reader_spec(None))
        launch.outputs.append(outputs.writer_spec(None))
        self.supervisor: Supervisor = launch.supervisor()
        self._wiring = wiring
        self._party = launch.party
        self._forget = forget
        self._sender: TrioSender = wiring.sender(inputs)
        self._receiver: TrioReceiver = wiring.receiver(outputs)
        self._encoder = Codec(inputs.name)
        self._decoder = Codec(outputs.name)
        self._send_turn, self._receive_turn = trio.Lock(), trio.Lock()
        self._closed = False
        self._task = Background(self.supervisor.run, f"penstock stream {node_id}")

    async def send(self, data: RuntimeData, port: str = "in") -> None:
        """Give the node one datum (see `NodeStream`)."""
        check_call(self.supervisor.node_id, data, {})
        if self.supervisor.failure is not None:
            raise self.supervisor.failure
        message = self._encoder.encode(data, port=self._port_number(port))
        async with self._send_turn:
            try:
                await self._sender.send(message)
            except ChannelClosed:
                raise BridgeClosed from None
            except PeerLost:
                raise await self._why_gone() from None
            except SharedMemoryError as error:
                raise contract_error(error, self._sender.name) from error

    async def send_eof(self) -> None:
        """No more inputs. Idempotent."""
        self._sender.end()
        await trio.lowlevel.checkpoint()

    async def receive(self) -> tuple[str, RuntimeData]:
        """The next output (see `NodeStream`)."""
        async with self._receive_turn:
            try:
                record = await self._receiver.receive()
            except EndOfChannel:
                raise EndOfStream from None
            except PeerLost:
                raise await self._why_gone() from None
            except SharedMemoryError as error:
                raise contract_error(error, self._receiver.name) from error
            data, port, _ = self._decoder.decode_call(record)
            self._receiver.acknowledge()
        outputs = self.supervisor.ports.outputs
        if port >= len(outputs):
            raise IPCError(f"edge {self._receiver.name}: a record of output port {port} of {len(outputs)}")
        return outputs[port], data

    async def aclose(self) -> None:
        """Stop the worker, whatever it is doing. Idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            await self.supervisor.stop()
        finally:
            self._sender.end()
            await self._task.aclose()
            self._wiring.release(self._party)
            self._forget(self)

    async def _why_gone(self) -> Exception:
        await self.supervisor.wait_gone()
        return self.supervisor.failure or BridgeClosed()

    def _port_number(self, port: str) -> int:
        inputs = self.supervisor.ports.inputs
        if port not in inputs:
            raise Validation(f"there is no input port {port!r}; there is {', '.join(inputs) or 'none'}")
        return inputs.index(port)
