"""`mono`, `gain`, `resample`, `chunk`, `tone` and `noise`."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine.nodes import resample as resample_module
from penstock.engine.nodes.chunk import Chunk
from penstock.engine.nodes.gain import Gain
from penstock.engine.nodes.generate import Noise, Tone
from penstock.engine.nodes.mono import Mono
from penstock.engine.nodes.resample import Resample
from penstock.executors.contract import NodeContext, RuntimeData, Validation
from penstock.executors.host import outputs


def audio(values, rate=16000, channels=1, at_ns=0, dtype=np.float32):
    array = np.array(values, dtype)
    return RuntimeData.audio(
        array, sample_rate=rate, channels=channels, timestamp_ns=at_ns, session_id="s", meta={"k": 1}
    )


def pieces(values, cuts, rate=16000, channels=1):
    """The values as data that end at `cuts` (in frames), with exact time stamps."""
    edges = [0, *sorted(cuts), len(values) // channels]
    spans = zip(edges, edges[1:], strict=False)
    return [audio(values[a * channels : b * channels], rate, channels, a * 10**9 // rate) for a, b in spans]


def run(node, data):
    node.initialize(NodeContext("n", "t"))
    given_out = [out for datum in data for out in outputs(node.process(datum))]
    return [*given_out, *outputs(node.flush())]


def joined(data):
    return np.concatenate([d.as_audio().samples for d in data]) if data else np.zeros(0, np.float32)


def frames_of(datum):
    return datum.as_audio().frames.shape[0]


def test_mono_is_the_mean_and_keeps_who_and_when():
    """The mean of the channels; session, stamp and meta stay."""
    (out,) = run(Mono(), [audio([0.5, 0.25, 0.0, -1.0, 1.0, 0.5], channels=3, at_ns=77)])
    assert np.allclose(out.as_audio().samples, [0.25, 1 / 6], atol=1e-7)
    assert (out.channels, out.sample_rate, out.timestamp_ns, out.session_id, out.meta) == (1, 16000, 77, "s", {"k": 1})


def test_mono_float_passes_and_integers_become_float():
    """What is mono float32 already is the same datum; 16 bits are scaled."""
    datum = audio([0.5, 0.25])
    assert Mono().process(datum) is datum
    assert Mono().process(audio([-32768, 16384], dtype=np.int16)).as_audio().samples.tolist() == [-1.0, 0.5]


@pytest.mark.parametrize(("gain_db", "factor"), [(0, 1), (20, 10), (-40, 0.01), (6, 1.9952623)])
def test_gain_multiplies_without_clipping(gain_db, factor):
    """Decibels of amplitude; values above full scale stay."""
    (out,) = run(Gain(gain_db=gain_db), [audio([0.5, -1.0], channels=2)])
    assert np.allclose(out.as_audio().samples, [0.5 * factor, -factor], rtol=1e-6)
    assert out.channels == 2


def test_gain_refuses_what_is_no_gain():
    """NaN and absurd values are named."""
    for bad in (float("nan"), 1e9):
        with pytest.raises(Validation, match="gain_db must be"):
            Gain(gain_db=bad)


@given(
    count=st.integers(0, 300),
    cuts=st.lists(st.integers(0, 300), max_size=8),
    length=st.integers(1, 50),
    channels=st.integers(1, 3),
    dtype=st.sampled_from([np.float32, np.int16]),
)
@settings(max_examples=100, deadline=None)
def test_chunks_are_equal_and_add_up_to_the_input(count, cuts, length, channels, dtype):
    """Concatenated they are the input; all but the last have the length; stamps are exact to the sample."""
    values = np.arange(count * channels).astype(dtype)
    data = pieces(values, [c for c in cuts if c <= count], channels=channels)
    data = [RuntimeData.audio(d.as_audio().samples.astype(dtype), sample_rate=16000, channels=channels,
                              timestamp_ns=d.timestamp_ns) for d in data]  # fmt: skip
    out = run(Chunk(samples=length), data)
    assert np.array_equal(joined(out), values)
    assert [frames_of(d) for d in out[:-1]] == [length] * (len(out) - 1)
    assert all(0 < frames_of(d) <= length and d.dtype == np.dtype(dtype) for d in out)
    assert [d.timestamp_ns for d in out] == [i * length * 10**9 // 16000 for i in range(len(out))]


@pytest.mark.parametrize(
    ("rate", "ms", "length"), [(16000, 20, 320), (11025, 20, 220), (44100, 2.5, 110), (8000, 0.01, 1)]
)
def test_milliseconds_are_rounded_to_whole_frames(rate, ms, length):
    """Every piece has the same length, at least one frame."""
    assert [frames_of(d) for d in run(Chunk(ms=ms), [audio(np.zeros(length * 3), rate)])] == [length] * 3


def test_chunk_follows_a_gap_in_the_stamps():
    """After lost data the next whole piece has the new stamp; the one that spans the gap keeps its beginning's."""
    data = [audio(np.zeros(150), 1000, at_ns=0), audio(np.zeros(150), 1000, at_ns=10**9)]
    out = run(Chunk(samples=100), data)
    assert [d.timestamp_ns for d in out] == [0, 10**8, 10**9 + 5 * 10**7]


def test_chunk_parameters_and_changes_are_checked():
    """Both lengths, none above 0, and another format in mid-stream are refused."""
    with pytest.raises(Validation, match="ms or samples, not both"):
        Chunk(ms=1, samples=1)
    with pytest.raises(Validation, match="ms must be above 0, not -1"):
        Chunk(ms=-1)
    with pytest.raises(Validation, match="samples must be at least 1, not 0"):
        Chunk(samples=0)
    with pytest.raises(Validation, match="changed from 16000 Hz x1 to 8000 Hz x1"):
        run(Chunk(), [audio([0.0]), audio([0.0], rate=8000)])
    with pytest.raises(Validation, match="changed from float32 to int16 samples"):
        run(Chunk(), [audio([0.0]), audio([0], dtype=np.int16)])


@given(
    count=st.integers(0, 4000),
    cuts=st.lists(st.integers(0, 4000), max_size=6),
    rate=st.sampled_from([8000, 11025, 22050, 44100, 48000, 96000, 192000]),
    channels=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_resampling_keeps_the_length_and_stamps_to_the_sample(count, cuts, rate, channels):
    """The length is the input's times the ratio, whatever the cuts; each stamp says where its samples lie."""
    data = pieces(np.zeros(count * channels), [c for c in cuts if c <= count], rate, channels)
    out = run(Resample(rate=16000), data)
    position = 0
    for datum in out:
        assert (datum.sample_rate, datum.channels, datum.timestamp_ns) == (16000, channels, position * 10**9 // 16000)
        position += frames_of(datum)
    assert abs(position - count * 16000 / rate) <= 1


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 192000])
def test_a_tone_comes_through_resampling_in_level_and_phase(rate):
    """A sine of 997 Hz is the same sine at the new rate, with no delay."""
    tone = Tone(frequency_hz=997, duration_s=0.5, rate=rate, level_db=-6)
    out = joined(run(Resample(rate=16000), tone.produce()))
    expected = 10 ** (-6 / 20) * np.sin(2 * np.pi * 997 * np.arange(len(out)) / 16000)
    assert abs(len(out) - 8000) <= 1
    assert np.abs(out - expected)[400:-400].max() < 1e-3


def test_resampling_is_the_same_however_the_input_is_cut():
    """The samples do not depend on the size of the data."""
    values = np.random.default_rng(1).standard_normal(5000).astype(np.float32) * 0.1
    whole = joined(run(Resample(rate=16000), pieces(values, [], 44100)))
    assert np.array_equal(joined(run(Resample(rate=16000), pieces(values, [1, 7, 900, 901, 3000], 44100))), whole)


def test_the_same_rate_passes_and_integers_become_float():
    """Nothing is filtered that needs no filter."""
    datum = audio([0.5], rate=16000)
    node = Resample(rate=16000)
    assert node.process(datum) is datum
    assert node.flush() is None
    assert node.process(audio([16384], dtype=np.int16)).as_audio().samples.tolist() == [0.5]


def test_one_nan_does_not_spoil_what_follows():
    """Samples that are no numbers are silence to the filter."""
    values = np.full(4000, 0.25, np.float32)
    values[10], values[20] = np.nan, np.inf
    assert np.isfinite(joined(run(Resample(rate=8000), pieces(values, [100])))).all()


def test_without_soxr_the_check_names_the_extra(monkeypatch):
    """The remedy is the command that installs it."""
    monkeypatch.setattr(resample_module, "find_spec", lambda _: None)
    with pytest.raises(Validation, match=r"resample needs soxr: pip install 'penstock\[audio\]'"):
        Resample(rate=16000).check()
    assert importlib.util.find_spec("soxr")
    with pytest.raises(Validation, match="rate must be at least 1, not 0"):
        Resample(rate=0)


@pytest.mark.parametrize("chunk_ms", [20, 7, 1000])
def test_a_tone_is_exact_whatever_its_chunks(chunk_ms):
    """Frequency, peak, channels and stamps are what was asked for."""
    data = list(Tone(frequency_hz=440, duration_s=0.25, rate=8000, chunk_ms=chunk_ms, channels=2).produce())
    frames = np.concatenate([d.as_audio().frames for d in data])
    expected = 10 ** (-12 / 20) * np.sin(2 * np.pi * 440 * np.arange(2000) / 8000)
    assert np.allclose(frames, expected[:, None], atol=1e-6)
    assert [d.timestamp_ns for d in data] == [i * chunk_ms * 10**6 for i in range(len(data))]


@pytest.mark.parametrize("color", ["white", "pink"])
def test_noise_is_the_same_for_the_same_seed_and_has_its_level(color):
    """Chunks change nothing, the seed and the channel do, and the RMS is what was asked for."""

    def make(**more):
        return np.concatenate([d.as_audio().frames for d in Noise(duration_s=4, color=color, **more).produce()])

    noise = make(channels=2)
    assert np.array_equal(noise, make(channels=2, chunk_ms=33))
    assert not np.array_equal(noise, make(channels=2, seed=1))
    assert not np.array_equal(noise[:, 0], noise[:, 1])
    assert abs(20 * np.log10(np.sqrt(np.mean(make() ** 2))) + 20) < 1.5


def test_pink_noise_falls_three_decibels_an_octave():
    """Octave bands of pink noise have the same power, those of white noise double."""

    def slope_db(color):
        noise = np.concatenate([d.as_audio().samples for d in Noise(duration_s=30, color=color).produce()])
        power = np.abs(np.fft.rfft(noise)) ** 2
        bands = [power[60 * 2**k : 120 * 2**k].mean() for k in range(2, 10)]  # density; 60 bins are 2 Hz
        return float(np.polyfit(range(2, 10), 10 * np.log10(bands), 1)[0])

    assert abs(slope_db("pink") + 3) < 0.5
    assert abs(slope_db("white")) < 0.2


def test_generators_run_again_the_same():
    """A second produce() begins anew."""
    noise = Noise(duration_s=0.1)
    assert list(noise.produce()) == list(noise.produce())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tone(frequency_hz=0, duration_s=1), "frequency_hz must be above 0, not 0"),
        (lambda: Tone(frequency_hz=9000, duration_s=1), r"at most half of rate \(8000\), not 9000"),
        (lambda: Tone(frequency_hz=100, duration_s=-1), "duration_s must be at least 0, not -1"),
        (lambda: Tone(frequency_hz=100, duration_s=float("inf")), "duration_s must be a finite number"),
        (lambda: Noise(duration_s=1, channels=0), "channels must be at least 1, not 0"),
        (lambda: Noise(duration_s=1, rate=0), "rate must be at least 1, not 0"),
        (lambda: Noise(duration_s=1, seed=-1), "seed must be at least 0, not -1"),
        (lambda: Noise(duration_s=1, color="blue"), "color must be white or pink, not blue"),
        (lambda: Noise(duration_s=1, chunk_ms=0), "chunk_ms must be above 0, not 0"),
    ],
)
def test_generators_refuse_what_can_not_be(make, message):
    """Each bad parameter is named with what it must be."""
    with pytest.raises(Validation, match=message):
        make()
