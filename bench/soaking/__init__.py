"""The parts of `python -m bench.soak`."""
