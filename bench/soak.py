"""`python -m bench.soak`: the shared memory layer under load for as long as it takes, with readers that are killed.

Messages of 0 B to 16 MiB over eight edges between four processes. Every byte is checked; a reader keeps some views and
checks them again when it lets go; readers are killed at random, reaped and replaced by others that go on where they
were. Duplicates after a restart are allowed (at least once), gaps, reorderings and damage never; in the end the ledger
is exact, all slabs are free, and nothing is left in /dev/shm.
"""

from __future__ import annotations

import argparse
import os
import sys

from bench.soaking.supervisor import Found, Soak


def main() -> None:
    arguments = _parser().parse_args()
    seed = arguments.seed if arguments.seed is not None else int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}", flush=True)
    found = Soak(arguments.messages, arguments.kills, seed, _progress).run()
    _print(found)
    sys.exit(1 if found.wrong else 0)


def _progress(part: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{part:7.2%}", end="\r", file=sys.stderr, flush=True)


def _print(found: Found) -> None:
    for line in found.memory:
        print(line)
    rate = found.data_bytes / found.duration_s / 1e9 if found.duration_s else 0.0
    print(
        f"{found.records:,} records, {found.data_bytes / 2**30:,.1f} GiB in {found.duration_s:,.1f} s ({rate:.1f} GB/s)"
        f"; {found.kills} readers killed, {found.duplicates} records delivered again, {found.copied} payloads copied"
    )
    for line in found.held[:20]:
        print(line)
    if len(found.held) > 20:
        print(f"... and {len(found.held) - 20} more")
    for line in found.wrong:
        print(f"WRONG: {line}")
    if not found.wrong:
        print("every byte right, the ledger exact, all slabs free, nothing left in /dev/shm")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="Shared memory under load, with kills.")
    parser.add_argument("--messages", type=int, default=1_000_000, help="records in all (about 1 MiB each)")
    parser.add_argument("--kills", type=int, default=0, help="readers to kill on the way")
    parser.add_argument("--seed", type=int, help="of sizes, targets and the moments of kills; drawn when left out")
    return parser


if __name__ == "__main__":
    main()
