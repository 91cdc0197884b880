"""The nodes that come with penstock: docs/nodes.md. This table imports none of them."""

from __future__ import annotations

__all__ = ["BUILTIN"]

BUILTIN: dict[str, str] = {
    "chunk": "penstock.engine.nodes.chunk:Chunk",
    "counter": "penstock.engine.nodes.counter:Counter",
    "gain": "penstock.engine.nodes.gain:Gain",
    "json_lines": "penstock.engine.nodes.json_lines:JsonLines",
    "json_source": "penstock.engine.nodes.lines:JsonSource",
    "latest_of": "penstock.engine.nodes.latest_of:LatestOf",
    "log": "penstock.engine.nodes.log:Log",
    "mono": "penstock.engine.nodes.mono:Mono",
    "noise": "penstock.engine.nodes.generate:Noise",
    "rate_limit": "penstock.engine.nodes.rate_limit:RateLimit",
    "recorder": "penstock.engine.nodes.recorder:Recorder",
    "replay": "penstock.engine.nodes.replay:Replay",
    "resample": "penstock.engine.nodes.resample:Resample",
    "text_source": "penstock.engine.nodes.lines:TextSource",
    "tone": "penstock.engine.nodes.generate:Tone",
    "wav_sink": "penstock.engine.nodes.wav_sink:WavSink",
    "wav_source": "penstock.engine.nodes.wav_source:WavSource",
    "zip": "penstock.engine.nodes.zip:Zip",
}
"""Short name to `module:Class`."""
