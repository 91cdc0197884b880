"""The worker process: `python -m penstock.executors.multiprocess.worker LIFELINE CONTROL`.

It runs one node between its rings, and knows nothing of the engine, nor of trio unless its node is async. The module is
safe to import again as `__main__`, which is what children that a node spawns do.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Arm the lifeline before anything else is imported, then work."""
    from penstock.executors.multiprocess.lifeline import arm

    arm(int(sys.argv[1]))
    from penstock.executors.multiprocess.serve import serve

    sys.exit(serve(int(sys.argv[2])))


if __name__ == "__main__":
    main()
