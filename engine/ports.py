"""What a program sends into a run and receives from it: the calls of `Run` by the name of an input or output."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from penstock.engine.external import ExternalInput, ExternalOutput, OutputData
from penstock.engine.problems import did_you_mean
from penstock.executors.contract import RuntimeData, ServiceError, Validation

__all__ = ["Ports"]


class Ports:
    """The external inputs and outputs of a run."""

    def __init__(self, inputs: Mapping[str, ExternalInput], outputs: Mapping[str, ExternalOutput]) -> None:
        self._inputs = inputs
        self._outputs = outputs

    async def send(self, name: str, data: Any) -> None:
        """Send a datum to an external input, waiting for room. A cancelled call has sent nothing.

        Args:
            name: of the input.
            data: a datum; or a `str` for text, an array for a tensor, anything else for JSON.

        Raises:
            RunEnded: the input was ended, or the run.
            NodeExecution: the run has failed: what failed it.
            EdgeFailed: there was no room within the edge's timeout; nothing was sent, and the run goes on.
            TypeMismatch, Validation: the input does not take that, or there is no such input.
        """
        await self._input(name).send(data)

    def send_nowait(self, name: str, data: Any) -> None:
        """Send a datum to an external input now.

        Raises:
            trio.WouldBlock: there is no room, or somebody waits for it already.
            RunEnded, NodeExecution, TypeMismatch, Validation: as `send`.
        """
        self._input(name).send_nowait(data)

    async def end(self, name: str) -> None:
        """End the stream of an external input, behind what others wait to send. Idempotent."""
        await self._input(name).end()

    async def receive(self, name: str) -> RuntimeData:
        """The next datum of an external output, waiting for it. A cancelled call has taken nothing.

        Also after the run has ended in good order, until everything was received.

        Raises:
            EndOfStream: there will be none.
            RunEnded: the run was aborted.
            NodeExecution: the run has failed: what failed it.
            Validation: there is no such output.
        """
        return await self._output(name).receive()

    def receive_nowait(self, name: str) -> RuntimeData:
        """The next datum of an external output, if it is there.

        Raises:
            trio.WouldBlock: it is not, or somebody waits for it already.
            EndOfStream, RunEnded, NodeExecution, Validation: as `receive`.
        """
        return self._output(name).receive_nowait()

    def outputs(self, name: str) -> AsyncIterator[RuntimeData]:
        """`async for data in run.outputs("text")`: what `receive` gives, until the stream ends.

        Raises:
            Validation: there is no such output.
        """
        return OutputData(self._output(name))

    def _shut_ports(self, error: ServiceError) -> None:
        """Nothing goes in or comes out any more."""
        for external in self._inputs.values():
            external.shut(error)
        for output in self._outputs.values():
            output.shut(error)

    def _input(self, name: str) -> ExternalInput:
        if name not in self._inputs:
            raise Validation(f"there is no input {name!r}: {did_you_mean(name, self._inputs)}")
        return self._inputs[name]

    def _output(self, name: str) -> ExternalOutput:
        if name not in self._outputs:
            raise Validation(f"there is no output {name!r}: {did_you_mean(name, self._outputs)}")
        return self._outputs[name]
