"""R-LK: nothing is left behind, counted by the kernel."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterator

import trio

from penstock.conformance import evidence
from penstock.conformance.adapter import Profile
from penstock.conformance.checking import check
from penstock.conformance.expect import NotApplicable, NotExercised, expect
from penstock.conformance.lab import Lab
from penstock.conformance.ledger import Ledger
from penstock.conformance.pending import Pending
from penstock.executors.contract import ExecutorType, RuntimeData, ServiceError

MULTI = ExecutorType.MULTIPROCESS


async def _use(lab: Lab) -> None:
    """Make, use and close each part that is claimed."""
    for kind in lab.claims.bridge_kinds:
        async with lab.bridge(kind) as bridge:
            node = await lab.node(bridge, "affine")
            for datum in lab.some_data():
                await node(datum)
            await _refused(node, lab)
            lab.seen.look(lab.claims.daemons)
    if lab.claimed(Profile.CONVERTER):
        async with lab.converter() as converter:
            for datum in lab.some_data():
                await converter.round_trip(datum)
            await _refused(converter.to_ipc, lab)
            await converter.to_ipc(lab.data.one(lab.data_types()[0]))
            lab.seen.look(lab.claims.daemons)
    if lab.claimed(Profile.DATABRIDGE):
        async with lab.data_bridge(capacity=2) as bridge_:
            await bridge_.put(lab.data.text())
            await bridge_.put(lab.data.text())
            await bridge_.take()
            await _refused(bridge_.put, lab)


async def _refused(call: Callable[[RuntimeData], Awaitable[object]], lab: Lab) -> None:
    """What is refused leaves nothing, either."""
    for _, datum in lab.data.mislabelled():
        with contextlib.suppress(ServiceError):
            await call(datum)


async def _use_twice(lab: Lab) -> None:
    """Two at once: they share nothing, and what starts processes mostly waits for them."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_use, lab)
        nursery.start_soon(_use, lab)


async def _warmed(lab: Lab) -> Ledger:
    """What is there after everything that happens once has happened."""
    await _use(lab)
    await lab.quiet()
    return await lab.ledger()


@check("R-LK-01")
async def check_no_process_is_left(lab: Lab) -> None:
    evidence.require_kernel()
    before = await lab.ledger()
    await _use(lab)
    await lab.nothing_left(before, "process")


@check("R-LK-02")
async def check_no_memory_is_left(lab: Lab) -> None:
    evidence.require_kernel()
    before = await _warmed(lab)
    await _use(lab)
    await lab.nothing_left(before, "memory")


@check("R-LK-03")
async def check_no_descriptor_is_left(lab: Lab) -> None:
    evidence.require_kernel()
    before = await _warmed(lab)
    await _use(lab)
    await lab.nothing_left(before, "descriptor")


@check("R-LK-04")
async def check_no_thread_or_task_is_left(lab: Lab) -> None:
    before = await _warmed(lab)
    await _use(lab)
    await lab.nothing_left(before, "thread", "task")


@check("R-LK-05", budget_s=110)
async def check_cycles_do_not_accumulate(lab: Lab) -> None:
    evidence.require_kernel()
    await _use_twice(lab)
    await lab.quiet()
    counts: list[dict[str, int]] = []
    for _ in range(3):
        before = await lab.ledger()
        for _ in range(5):
            await _use_twice(lab)
        with contextlib.suppress(AssertionError):
            await lab.nothing_left(before, "process", "descriptor", "thread", "task")
        counts.append((await lab.ledger()).counts())
    for name in counts[0]:
        row = [count[name] for count in counts]
        expect(
            not row[0] < row[1] < row[2],
            f"the number of {name} does not grow over 30 cycles",
            f"{row[0]}, {row[1]}, {row[2]}, after each 10",
        )


@check("R-LK-06")
async def check_nothing_is_left_after_a_kill(lab: Lab) -> None:
    evidence.require_kernel()
    if not lab.has_processes:
        raise NotApplicable("profile multiprocess is not claimed")
    await _killed(lab)
    await lab.quiet()
    before = await lab.ledger()
    await _killed(lab)
    await lab.nothing_left(before, "process", "memory", "descriptor", "thread", "task")


async def _killed(lab: Lab) -> None:
    """SIGKILL of a worker that holds a large datum; the bridge is used and closed as if nothing had happened."""
    async with lab.bridge(MULTI) as bridge, trio.open_nursery() as nursery:
        held = await lab.held(bridge)
        name = next(name for name in ("tensor", "audio", "text", "json") if name in lab.data_types())
        datum = lab.data.tensor(lab.data.floats(1 << 20)) if name == "tensor" else lab.data.one(name)
        call = Pending(nursery, lambda: held.node(datum))
        pid = await held.entered()
        lab.seen.look(lab.claims.daemons)
        os.kill(pid, signal.SIGKILL)
        await call.ended()


@check("R-LK-07")
async def check_no_temporary_file_is_left(lab: Lab) -> None:
    folder = lab.folder / "tmp"
    folder.mkdir()
    with _temporary_folder(str(folder)):
        before = evidence.names_in_shm()
        await _use(lab)
        await lab.until(lambda: not os.listdir(folder), "temporary files and sockets are gone", lab.cleanup_s)
    new = {name for name in evidence.names_in_shm() if name.startswith("sem.") and name not in before}
    if new:
        raise NotExercised(f"new semaphores whose owner is not known: {sorted(new)}")


@contextlib.contextmanager
def _temporary_folder(path: str) -> Iterator[None]:
    """Everybody's temporary files go here."""
    saved = os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ["TMPDIR"], tempfile.tempdir = path, path
    try:
        yield
    finally:
        tempfile.tempdir = saved[1]
        if saved[0] is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = saved[0]
