"""The speech example's own nodes, over its recording and over what other recordings may be like."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine.nodes.chunk import Chunk
from penstock.engine.nodes.mono import Mono
from penstock.engine.nodes.resample import Resample
from penstock.engine.nodes.wav_source import WavSource
from penstock.executors.contract import NodeContext, RuntimeData, Validation
from penstock.executors.host import outputs

EXAMPLE = Path(__file__).parent.parent / "examples" / "speech"
TRUTH = json.loads((EXAMPLE / "truth.json").read_text())
RATE = 22050


def _load():
    spec = importlib.util.spec_from_file_location("speech_nodes", EXAMPLE / "speech_nodes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


speech_nodes = _load()
Features, Phrases = speech_nodes.Features, speech_nodes.Phrases


def through(data, *nodes):
    for node in nodes:
        node.initialize(NodeContext("n", "t"))
        done = [out for datum in data for out in outputs(node.process(datum))]
        data = [*done, *outputs(node.flush())]
    return data


def recording():
    source = WavSource(path=EXAMPLE / "speech.wav")
    source.check()
    return np.concatenate([d.as_audio().samples for d in source.produce()])


SPEECH = recording()


def stream(samples, rate=RATE, channels=1, frames=441):
    step = frames * channels
    return [
        RuntimeData.audio(
            samples[i : i + step], sample_rate=rate, channels=channels, timestamp_ns=i // channels * 10**9 // rate
        )
        for i in range(0, len(samples), step)
    ]


def phrases(data):
    """The pipeline without `clean`, which changes nothing here: the recording has no rumble."""
    found = through(data, Mono(), Resample(rate=16000), Chunk(ms=20), Features(), Phrases())
    return [d.as_json() for d in found]


def phrases_of(samples, **more):
    return phrases(stream(np.asarray(samples, np.float32), **more))


def matches_truth(found, within_s=0.15, shift_s=0.0):
    assert len(found) == len(TRUTH), found
    for phrase, truth in zip(found, TRUTH, strict=True):
        assert phrase["start"] == pytest.approx(truth["start"] + shift_s, abs=within_s)
        assert phrase["end"] == pytest.approx(truth["end"] + shift_s, abs=within_s)
    return True


def white(db, seconds=len(SPEECH) / RATE):
    return np.random.default_rng(5).standard_normal(round(seconds * RATE)) * 10 ** (db / 20)


def hum(db):
    t = np.arange(len(SPEECH)) / RATE
    return 10 ** (db / 20) * (np.sin(2 * np.pi * 50 * t) + np.sin(2 * np.pi * 100 * t))


def resampled(rate):
    return np.concatenate([d.as_audio().samples for d in through(stream(SPEECH), Resample(rate=rate))])


def test_the_phrases_of_the_recording_are_found():
    """Six phrases, their boundaries, levels and pitches (the fifth speaker has the high voice)."""
    found = phrases_of(SPEECH)
    assert matches_truth(found, within_s=0.05)
    assert all(-30 < phrase["level_db"] < -10 for phrase in found)
    pitches = [phrase["pitch_hz"] for phrase in found]
    assert 180 < pitches[4] < 260
    assert all(70 < pitch < 160 for i, pitch in enumerate(pitches) if i != 4)


VARIANTS = {
    "6 dB louder, as clean makes it": lambda: SPEECH * 2,
    "clipped hard": lambda: np.clip(SPEECH * 20, -1, 1),
    "very quiet": lambda: SPEECH * 10 ** (-30 / 20),
    "8 bits": lambda: np.round(SPEECH * 128) / 128,
    "constant offset": lambda: SPEECH + 0.3,
    "noise at -40 dB": lambda: SPEECH + white(-40),
    "hum at -40 dB": lambda: SPEECH + hum(-40),
    "some samples are no numbers": lambda: np.where(np.arange(len(SPEECH)) % 997 == 0, np.nan, SPEECH),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_recordings_of_the_same_give_the_same_phrases(variant):
    """Level, resolution, offset, noise and damage move no boundary by more than 0.15 s."""
    assert matches_truth(phrases_of(VARIANTS[variant]()))


def test_48_khz_stereo_gives_the_same_phrases():
    """Rate and channels are adapted, with one channel softer than the other."""
    high = resampled(48000)
    assert matches_truth(phrases_of(np.stack([high, high * 0.5], 1).reshape(-1), rate=48000, channels=2, frames=960))


@pytest.mark.parametrize("rate", [8000, 44100])
def test_features_take_any_rate_as_it_is(rate):
    """Without `resample` before them the phrases are the same."""
    found = through(stream(resampled(rate), rate, frames=1000), Features(), Phrases())
    assert matches_truth([d.as_json() for d in found])


def test_digital_silence_before_and_between_does_not_matter():
    """Silence without any noise is no measure of the noise."""
    assert matches_truth(phrases_of(np.concatenate([np.zeros(3 * RATE), SPEECH])), shift_s=3)
    voiced = np.zeros(len(SPEECH))
    for truth in TRUTH:
        span = slice(round(truth["start"] * RATE), round(truth["end"] * RATE))
        voiced[span] = SPEECH[span]
    assert matches_truth(phrases_of(voiced))


def test_noise_that_begins_in_the_middle_is_no_phrase():
    """A steady noise becomes background within half a second, and speech over it is still found."""
    louder = np.where(np.arange(len(SPEECH)) > 13.5 * RATE, 1, 0) * white(-34)
    assert matches_truth(phrases_of(SPEECH + louder))


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(5 * RATE),
        np.full(5 * RATE, 0.5),
        white(-20, 5),
        white(-60, 5),
        hum(-20)[: 5 * RATE],
        np.zeros(3),
        np.zeros(0),
    ],
    ids=["silence", "offset", "noise", "soft noise", "hum", "three samples", "nothing"],
)
def test_without_speech_there_are_no_phrases(samples):
    """Silence, steady noise, steady hum and next to nothing."""
    assert phrases_of(samples) == []


def test_speech_without_a_pause_is_one_phrase():
    """From the first sample to the last, though there was no quiet to learn from."""
    spans = [SPEECH[round(t["start"] * RATE) : round(t["end"] * RATE)] for t in TRUTH]
    samples = np.concatenate(spans)
    (phrase,) = phrases_of(samples)
    assert phrase["start"] < 0.15
    assert phrase["end"] > len(samples) / RATE - 0.15


def test_speech_louder_than_nothing_but_under_noise_does_no_harm():
    """As much noise as speech: what is still found lies where somebody speaks."""
    for phrase in phrases_of(SPEECH + white(-20)):
        assert any(t["start"] - 0.15 < phrase["start"] < phrase["end"] < t["end"] + 0.15 for t in TRUTH)


def test_a_phrase_comes_out_when_its_pause_is_long_enough():
    """Not at the end of the stream, but 0.4 s after its own end."""
    features = through(stream(SPEECH), Mono(), Resample(rate=16000), Chunk(ms=20), Features())
    node = Phrases()
    for datum in features:
        if found := node.process(datum):
            frame = datum.as_json()
            end_s = found[0].as_json()["end"]
            assert frame["t"] + frame["duration"] - end_s == pytest.approx(0.4, abs=0.021)
            assert found[0].timestamp_ns == pytest.approx(found[0].as_json()["start"] * 1e9, abs=1000)
            break
    else:
        pytest.fail("no phrase came out before the end")


@given(st.lists(st.integers(0, 12000), max_size=8))
@settings(max_examples=25, deadline=None)
def test_features_do_not_depend_on_the_size_of_the_data(cuts):
    """The same bytes come out however the audio is cut."""
    samples = SPEECH[RATE : RATE + 12000]
    edges = [0, *sorted(cuts), len(samples)]
    data = [
        RuntimeData.audio(samples[a:b].copy(), sample_rate=RATE, timestamp_ns=0)
        for a, b in zip(edges, edges[1:], strict=False)
    ]
    whole = through([RuntimeData.audio(samples.copy(), sample_rate=RATE, timestamp_ns=0)], Features())
    assert through(data, Features()) == whole


@pytest.mark.parametrize("rate", [8000, 16000, 48000, 192000])
@pytest.mark.parametrize("hz", [65, 110, 220, 390])
def test_the_pitch_of_a_voice_is_measured(rate, hz):
    """A sum of harmonics has the pitch of their fundamental, whatever the rate."""
    t = np.arange(rate // 2) / rate
    voice = sum(np.sin(2 * np.pi * hz * k * t + k) / k for k in range(1, 6)) * 0.1
    frames = [d.as_json() for d in through(stream(voice.astype(np.float32), rate), Features())]
    settled = frames[4:-1]
    assert all(frame["pitch_hz"] == pytest.approx(hz, rel=0.02) for frame in settled)
    assert all(frame["voicing"] > 0.9 and frame["flatness"] < 0.1 for frame in settled)
    level_db = 10 * np.log10(0.005 * sum(1 / k**2 for k in range(1, 6)))
    assert np.mean([frame["level_db"] for frame in settled]) == pytest.approx(level_db, abs=0.5)


def test_noise_is_flat_and_has_no_pitch():
    """White noise has a high flatness and seldom any voicing; silence has the lowest level."""
    frames = [d.as_json() for d in through(stream(white(-20, 2).astype(np.float32)), Features())]
    assert np.median([frame["flatness"] for frame in frames]) > 0.4
    assert np.median([frame["voicing"] for frame in frames]) < 0.4
    (silent,) = through([RuntimeData.audio(np.zeros(320, np.float32), sample_rate=16000)], Features())
    assert silent.as_json()["level_db"] == -120


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float64])
def test_features_take_every_sample_format(dtype):
    """Integers count at their own full scale."""
    wave = 0.5 * np.sin(2 * np.pi * 200 * np.arange(1600) / 16000)
    full = 1 if dtype is np.float64 else 2.0 ** (8 * np.dtype(dtype).itemsize - 1)
    samples = (wave * full + (128 if dtype is np.uint8 else 0)).astype(dtype)
    frames = through([RuntimeData.audio(samples, sample_rate=16000)], Features())
    assert frames[2].as_json()["level_db"] == pytest.approx(-9.03, abs=0.1)


def test_what_can_not_work_is_refused():
    """Parameters out of range, rates too low and changes in mid-stream are named."""
    with pytest.raises(Validation, match="frame_ms must be between 5 and 100, not 0"):
        Features(frame_ms=0)
    with pytest.raises(Validation, match=r"off_db must be above 0 and at most on_db \(9\), not 12"):
        Phrases(off_db=12)
    with pytest.raises(Validation, match="min_pause_s must be between 0 and 60 seconds, not -1"):
        Phrases(min_pause_s=-1)
    with pytest.raises(Validation, match="at least 8000 Hz, not 4000: put `resample` before it"):
        through(stream(np.zeros(500, np.float32), 4000), Features())
    with pytest.raises(Validation, match="changed from 8000 to 16000 Hz"):
        through(
            [*stream(np.zeros(500, np.float32), 8000), *stream(np.zeros(500, np.float32), 16000)],
            Features(),
        )
