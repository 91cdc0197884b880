"""R-ZC: zero copy, proved by the kernel: where a needle lies, and what went through pipes and files."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection

import numpy as np
import trio

from penstock.conformance import evidence
from penstock.conformance.adapter import Profile
from penstock.conformance.checking import check
from penstock.conformance.expect import Failure, NotApplicable, NotExercised, expect
from penstock.conformance.lab import Lab
from penstock.conformance.latency import slope
from penstock.conformance.pending import Pending
from penstock.executors.contract import ExecutorType, RuntimeData

MULTI = ExecutorType.MULTIPROCESS
SIZE = 8 << 20


def _with_needles(lab: Lab, name: str) -> tuple[RuntimeData, list[bytes]]:
    """8 MiB of audio or tensor with three needles: at the beginning, in the middle, at the end."""
    needles = [lab.data.raw(32) for _ in range(3)]
    content = bytearray(np.arange(SIZE // 4, dtype="<u4").tobytes())
    for needle, at in zip(needles, (0, SIZE // 2, SIZE - 32), strict=True):
        content[at : at + 32] = needle
    array = np.frombuffer(bytes(content), "<f4")
    datum = lab.data.tensor(array) if name == "tensor" else lab.data.audio(samples=array)
    return datum, needles


def _array_types(lab: Lab) -> list[str]:
    names = [name for name in ("audio", "tensor") if name in lab.claims.data_types]
    if not names:
        raise NotApplicable("neither audio nor tensor is claimed")
    return names


@check("R-ZC-01")
async def check_the_payload_is_in_shared_memory(lab: Lab) -> None:
    evidence.require_kernel()
    if not lab.has_processes:
        await _converted_payload_is_shared(lab)
        return
    async with lab.bridge(MULTI) as bridge, trio.open_nursery() as nursery:
        for name in _array_types(lab):
            datum, needles = _with_needles(lab, name)
            held = await lab.held(bridge)
            call = Pending(nursery, lambda: held.node(datum))  # noqa: B023
            pid = await held.entered()
            _found_in_both(lab, pid, needles, name)
            held.release()
            await call.ended()


def _found_in_both(lab: Lab, pid: int, needles: Collection[bytes], name: str) -> None:
    ours = {mapping.inode for mapping in evidence.shared_mappings(os.getpid())}
    common = [mapping for mapping in evidence.shared_mappings(pid) if mapping.inode in ours]
    found = evidence.find_in(pid, common, needles) if common else {}
    places = {mapping.path or str(mapping.inode) for mapping in found.values()}
    lab.around.note(f"{name}: {len(common)} common mappings, needles in {sorted(places)}")
    wanted = f"the bytes of 8 MiB of {name} in a mapping that host and worker share, while the node holds them"
    expect(
        len(found) == len(needles), wanted, f"{len(found)} of {len(needles)} needles in {len(common)} common mappings"
    )


async def _converted_payload_is_shared(lab: Lab) -> None:
    """A converter alone: what a reference refers to stands in shared memory of this process."""
    if not lab.claimed(Profile.CONVERTER):
        raise NotApplicable("neither a multiprocess bridge nor a converter is claimed")
    async with lab.converter() as converter:
        for name in _array_types(lab):
            datum, needles = _with_needles(lab, name)
            sent = await converter.to_ipc(datum)
            found = evidence.find_in(os.getpid(), evidence.shared_mappings(os.getpid()), needles)
            missing = [needle for needle in needles if needle not in found and not _in_a_segment(needle)]
            expect(not missing, f"8 MiB of {name} in shared memory", f"{len(missing)} of 3 needles are not there")
            await converter.from_ipc(sent)


def _in_a_segment(needle: bytes) -> bool:
    for name in evidence.names_in_shm():
        try:
            with open(f"{evidence.SHM}/{name}", "rb") as file:
                if needle in file.read():
                    return True
        except OSError:
            continue
    return False


@check("R-ZC-02")
async def check_the_payload_passes_no_pipe(lab: Lab) -> None:
    evidence.require_kernel()
    if not lab.has_processes:
        raise NotApplicable("profile multiprocess is not claimed")
    async with lab.bridge(MULTI) as bridge, trio.open_nursery() as nursery:
        for name in _array_types(lab):
            datum, _ = _with_needles(lab, name)
            held = await lab.held(bridge)
            baseline = evidence.descendants(lab.claims.daemons)
            pids = [os.getpid(), *(pid for pid, _ in baseline)]
            before = {pid: evidence.bytes_moved(pid) for pid in pids}
            call = Pending(nursery, lambda: held.node(datum))  # noqa: B023
            await held.entered()
            moved = {pid: evidence.bytes_moved(pid) - before[pid] for pid in pids}
            held.release()
            await call.ended()
            _little(moved, f"8 MiB of {name} to the worker")


@check("R-ZC-02")
async def check_the_answer_passes_no_pipe(lab: Lab) -> None:
    evidence.require_kernel()
    if not lab.has_processes:
        raise NotApplicable("profile multiprocess is not claimed")
    lab.need_type("tensor")
    async with lab.bridge(MULTI) as bridge:
        node = await lab.node(bridge, "grow")
        await node(lab.data.json({"bytes": 100}))
        pids = [os.getpid(), *(pid for pid, _ in evidence.descendants(lab.claims.daemons))]
        before = {pid: evidence.bytes_moved(pid) for pid in pids}
        await node(lab.data.json({"bytes": SIZE}))
        _little({pid: evidence.bytes_moved(pid) - before[pid] for pid in pids}, "8 MiB from the worker")


def _little(moved: dict[int, int], what: str) -> None:
    for pid, count in moved.items():
        who = "the host" if pid == os.getpid() else f"process {pid}"
        if count > SIZE // 10:
            raise Failure(f"{what} pass no pipe and no file", f"{who} read and wrote {count / (1 << 20):.1f} MiB")


@check("R-ZC-03")
async def check_copies_are_estimated(lab: Lab) -> None:
    if not lab.has_processes:
        raise NotApplicable("profile multiprocess is not claimed")
    lab.need_type("tensor")
    async with lab.bridge(MULTI) as bridge:
        node = await lab.node(bridge, "echo")
        await node(lab.data.tensor(np.zeros(1 << 20, "u1")))
        lab.measured["copies there and back, estimated"] = await slope(node, lab)


@check("R-ZC-04")
async def check_segments_are_private(lab: Lab) -> None:
    evidence.require_kernel()
    if not lab.has_processes:
        raise NotExercised("profile multiprocess is not claimed")
    before = evidence.names_in_shm()
    async with lab.bridge(MULTI) as bridge, trio.open_nursery() as nursery:
        name = _array_types(lab)[0]
        datum, _ = _with_needles(lab, name)
        held = await lab.held(bridge)
        call = Pending(nursery, lambda: held.node(datum))
        await held.entered()
        lab.seen.look(lab.claims.daemons)
        for segment, inode in evidence.names_in_shm().items():
            if inode in lab.seen.inodes and before.get(segment) != inode:
                mode = stat.S_IMODE(os.stat(f"{evidence.SHM}/{segment}").st_mode)
                expect(not mode & 0o077, "segments that only their owner may use", f"{segment} has mode {mode:04o}")
        held.release()
        await call.ended()
