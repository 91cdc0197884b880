"""The command line. Results go to standard output, everything else to standard error.

Exit codes: 0 done; 1 the run failed; 2 the command, or the pipeline, is wrong, and nothing was started; 130 and 143
ended by Ctrl-C and SIGTERM, with a report.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Entry point of `penstock` and `python -m penstock`."""
    from penstock.engine.cli.commands import cli

    try:
        cli(prog_name="penstock")
    finally:
        _let_go_of_stdout()


def _let_go_of_stdout() -> None:
    """Where the reader has gone (`| head`), the interpreter's last flush would complain about it."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
