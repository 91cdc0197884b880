"""Parts of `python -m bench.chaos`."""
