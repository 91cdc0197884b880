"""`python -m bench.chaos`: workers are killed at random, and the sinks must not see anything of it.

Each round draws a graph, runs it under fire and then in peace, and compares: everything that came to each sink, in each
path's order; the ledgers; and what is left of processes, segments, descriptors and memory. `--issue` takes the graph of
six workers that the engine was asked to survive for two minutes. The first difference ends it, with what repeats it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from functools import partial

from bench.chaotic.graphs import issue_graph, random_graph
from bench.chaotic.rounds import Fire, Round, fight

_GROWTH_MIB = 64.0
"""Of the engine's memory from the third round on: what the sinks keep, and what an allocator does not give back."""


def main() -> None:
    arguments = _parser().parse_args()
    logging.getLogger("penstock").setLevel(logging.ERROR)  # each restart is a warning
    seed = arguments.seed if arguments.seed is not None else int.from_bytes(os.urandom(3), "little")
    rounds: list[Round] = []
    killed = 0
    while killed < arguments.kills:
        fire = Fire(arguments.seconds, arguments.rate, arguments.kills - killed, stops=not arguments.no_stops)
        build = issue_graph if arguments.issue else random_graph
        found = fight(partial(build, seed), fire, seed, native=not arguments.issue)
        rounds.append(found)
        killed += found.signals["SIGKILL"]
        _print(seed, found, killed)
        _judge(rounds)
        if found.wrong:
            for line in found.wrong:
                print(f"WRONG: {line}")
            print(f"repeat: python -m bench.chaos {_repeat(arguments, seed)}")
            sys.exit(1)
        seed += 1
    _sum_up(rounds, killed)


def _judge(rounds: list[Round]) -> None:
    """Memory is flat."""
    if len(rounds) > 3 and rounds[-1].rss_mib > max(found.rss_mib for found in rounds[:3]) + _GROWTH_MIB:
        rounds[-1].wrong.append(f"memory grows: {[round(found.rss_mib) for found in rounds]} MiB")


def _print(seed: int, found: Round, killed: int) -> None:
    signals = ", ".join(f"{count} {name}" for name, count in sorted(found.signals.items()))
    print(
        f"seed {seed}: {found.seconds:.1f} s, {signals or 'no signals'}, {found.restarts} restarts, "
        f"{found.redelivered} redelivered; {found.sent:,} sent ({found.sent_bytes / 2**20:,.0f} MiB), "
        f"{found.data:,} at sinks; {found.rss_mib:.0f} MiB; {killed} killed in all",
        flush=True,
    )


def _sum_up(rounds: list[Round], killed: int) -> None:
    print(
        f"{len(rounds)} rounds in {sum(found.seconds for found in rounds):,.0f} s: {killed:,} killed, "
        f"{sum(found.restarts for found in rounds):,} restarts, {sum(found.redelivered for found in rounds):,} data "
        f"given to a node again, {sum(found.data for found in rounds):,} data at sinks: not one lost, doubled, or out "
        "of order; ledgers exact, nothing left behind"
    )


def _repeat(arguments: argparse.Namespace, seed: int) -> str:
    issue = "--issue " if arguments.issue else ""
    stops = "--no-stops " if arguments.no_stops else ""
    return f"{issue}{stops}--seconds {arguments.seconds:g} --rate {arguments.rate:g} --kills 1000000 --seed {seed}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description="Workers are killed; nobody notices.")
    parser.add_argument(
        "--kills", type=int, default=100, help="SIGKILLs in all; a round is begun until there were as many"
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="of a round under fire")
    parser.add_argument("--rate", type=float, default=2.0, help="kills a second")
    parser.add_argument("--seed", type=int, help="of the first round; each one more has the next; drawn when left out")
    parser.add_argument("--issue", action="store_true", help="the graph of six workers instead of random ones")
    parser.add_argument("--no-stops", action="store_true", help="SIGKILL alone, no SIGSTOP")
    return parser


if __name__ == "__main__":
    main()
