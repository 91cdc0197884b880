"""Shared memory between processes: segments, rings, slabs, doorbells and the channels made of them.

This layer knows bytes, never nodes. A worker process imports it without trio; `trio_channel` is the one room that
waits for trio.
"""
