"""A trio service that runs one pipeline per connection: a line of text asks, words come back, `stop` is barge-in.

python examples/embed/serve.py 8000        and then, in other terminals:   nc localhost 8000
"""

import logging
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import trio

import penstock
from penstock.engine import Plan

LONGEST_LINE = 1000
log = logging.getLogger("storyteller")


async def converse(plan: Plan, stream: trio.SocketStream) -> None:
    """One connection: its run lives as long as it does, and whatever goes wrong in it is its own."""
    try:
        async with stream, plan.open() as run, trio.open_nursery() as nursery:
            nursery.start_soon(answer, run, stream)
            async for line in lines(stream):
                command, _, value = line.partition(" ")
                if command == "stop":
                    run.interrupt("tell")  # what is being told, and what is still to be, is dropped
                elif command == "pause":
                    await run.configure("tell", pause_s=float(value))
                elif line:
                    await run.send("asked", line)  # waits while the client does not listen
            await run.end("asked")
    except* trio.BrokenResourceError:
        log.info("a client has gone in the middle of its story")
    except* (penstock.ServiceError, ValueError) as errors:
        for error in errors.exceptions:
            log.error("a session has ended: %s", error)


async def answer(run: penstock.Run, stream: trio.SocketStream) -> None:
    """Pass on what comes out, until everything that was asked is told."""
    async for word in run.outputs("words"):
        await stream.send_all(word.as_text().encode() + b"\n")
    await stream.send_eof()


async def lines(stream: trio.SocketStream) -> AsyncIterator[str]:
    rest = b""
    async for chunk in stream:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace").strip()
        if len(rest) > LONGEST_LINE:
            raise ValueError(f"a line of more than {LONGEST_LINE} bytes")


async def main(port: int) -> None:
    plan = penstock.load(Path(__file__).with_name("pipeline.yaml")).check()  # once, for all connections
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, partial(converse, plan), port, host="127.0.0.1"))
        print(f"listening on port {listeners[0].socket.getsockname()[1]}", flush=True)


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    try:
        trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
    except* KeyboardInterrupt:
        pass
