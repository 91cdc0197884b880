"""Host processes of their own, for what can only be seen from outside: `python -m penstock.conformance.hosts`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import trio

from penstock.conformance.expect import Failure
from penstock.conformance.importing import added, make_importable, own_environment
from penstock.executors.contract import ExecutorType

if TYPE_CHECKING:
    from penstock.conformance.lab import Lab

__all__ = ["Host"]

NODE_ID, CALLS = "same-node", 40


class Host:
    """A process with a bridge of the adapter; it says one line of JSON.

    `wait` starts a node, says its pid, and waits to be killed. `work` makes calls until it has counted them all.
    """

    def __init__(self, lab: Lab, mode: str, kind: ExecutorType = ExecutorType.MULTIPROCESS) -> None:
        self._lab = lab
        self._said: Path = lab.folder / f"host-{mode}-{os.urandom(4).hex()}.json"
        order = {"adapter": lab.settings.adapter, "mode": mode, "kind": kind.value, "session": lab.session}
        order["go"] = str(lab.folder / "go")
        order["path"] = os.pathsep.join(added())
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "penstock.conformance.hosts", str(self._said), json.dumps(order)],
            stdin=subprocess.DEVNULL,
            env=own_environment(),
            start_new_session=True,
        )

    async def said(self) -> dict[str, Any]:
        """What it says."""

        def look() -> Any:
            if self._process.poll() is not None and not self._said.exists():
                raise Failure("a host process of its own works", f"it ended with code {self._process.returncode}")
            return self._said.exists()

        await self._lab.until(look, "a host process with a bridge of its own starts", 2 * self._lab.liveness_s)
        answer: dict[str, Any] = json.loads(self._said.read_text(encoding="utf-8"))
        return answer

    async def ready(self) -> None:
        """Wait until its node is there."""

        def look() -> bool:
            if self._process.poll() is not None:
                raise Failure("a host process of its own works", f"it ended with code {self._process.returncode}")
            return self._said.with_suffix(".ready").exists()

        await self._lab.until(look, "a host process with a bridge of its own starts", 2 * self._lab.liveness_s)

    def kill(self) -> None:
        """SIGKILL, to the host alone."""
        self._process.kill()
        self._process.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


async def _host(said: Path, order: dict[str, str]) -> None:
    from penstock.conformance.lab import Lab, Settings
    from penstock.conformance.order import load_adapter

    make_importable([folder for folder in order["path"].split(os.pathsep) if folder])
    lab = Lab(load_adapter(order["adapter"]), Settings(), "host", ExecutorType(order["kind"]))
    try:
        async with lab.bridge(session=order["session"]) as bridge:
            node = await lab.node(bridge, "counter", node_id=NODE_ID)
            answer = await node.ask()
            if order["mode"] == "work":
                await _together(lab, said, Path(order["go"]))
                for _ in range(CALLS):
                    answer = await node.ask()
            part = said.with_suffix(".part")
            part.write_text(json.dumps(answer), encoding="utf-8")
            part.rename(said)
            if order["mode"] == "wait":
                await trio.sleep_forever()
    finally:
        lab.close()


async def _together(lab: Lab, said: Path, go: Path) -> None:
    """Say that the node is there, and wait until it is in the other hosts as well."""
    said.with_suffix(".ready").touch()
    await lab.until(go.exists, "the other hosts are ready")


def main() -> None:
    """Be a host."""
    trio.run(_host, Path(sys.argv[1]), json.loads(sys.argv[2]))


if __name__ == "__main__":
    main()
