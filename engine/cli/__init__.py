"""The command line. Results go to standard output, everything else to standard error.

Exit codes: 0 done; 1 the run failed; 2 the command, or the pipeline, is wrong, and nothing was started; 130 and 143
ended by Ctrl-C and SIGTERM, with a report.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Entry point of `penstock` and `python -m penstock`."""
    from penstock.engine.cli.commands import cli

    cli(prog_name="penstock")
