"""The speech example's guest: it filters as it says, agrees with its numpy twin, and says what it can not take."""

import importlib.util
import math

import numpy as np
import pytest
from guests.wat import CLEAN, opened, private_cache  # noqa: F401
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.executors.contract import NodeExecution, RuntimeData, Validation

_spec = importlib.util.spec_from_file_location("clean_twin", CLEAN.with_name("clean_twin.py"))
clean_twin = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clean_twin)


def audio(samples, rate=16000, channels=1):
    return RuntimeData.audio(np.asarray(samples, "f4"), sample_rate=rate, channels=channels, timestamp_ns=1)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 700), min_size=1, max_size=8),
    channels=st.sampled_from([1, 2]),
    rate=st.sampled_from([8000, 16000, 44100, 48000]),
    cutoff_hz=st.floats(5, 3900),
    gain_db=st.floats(-40, 6),
)
def test_guest_and_twin_agree(seed, sizes, channels, rate, cutoff_hz, gain_db):
    """Over chunks of any sizes, rates and parameters the outputs differ by less than 1e-5."""
    random = np.random.default_rng(seed)
    twin = clean_twin.Clean(cutoff_hz, gain_db)
    with opened(CLEAN, {"cutoff_hz": cutoff_hz, "gain_db": gain_db}) as node:
        for size in sizes:
            data = audio(random.uniform(-1, 1, size * channels), rate, channels)
            (ours,), theirs = node.process(data), twin.process(data)
            assert (ours.shape, ours.sample_rate, ours.channels) == (theirs.shape, theirs.sample_rate, theirs.channels)
            np.testing.assert_allclose(ours.as_audio().samples, theirs.as_audio().samples, rtol=0, atol=1e-5)


def rms(node, hz, rate=16000):
    wave = np.sin(2 * np.pi * hz * np.arange(rate) / rate)
    chunks = [node.process(audio(chunk, rate))[0].as_audio().samples for chunk in np.split(wave, 100)]
    return float(np.sqrt(np.mean(np.concatenate(chunks)[rate // 2 :] ** 2))) * math.sqrt(2)


def test_it_is_a_butterworth_high_pass_with_gain():
    """At the corner it is 3 dB down, an octave below 12 dB (of 2nd order), far above it only the gain is left."""
    with opened(CLEAN, {"cutoff_hz": 100, "gain_db": 6}) as node:
        gain = 10 ** (6 / 20)
        assert rms(node, 3000) == pytest.approx(gain, rel=0.01)
        assert rms(node, 100) == pytest.approx(gain / math.sqrt(2), rel=0.01)
        assert rms(node, 50) == pytest.approx(gain / math.sqrt(17), rel=0.01)


def test_channels_do_not_mix():
    """Each channel of interleaved audio is filtered as if it were alone."""
    random = np.random.default_rng(3)
    frames = random.uniform(-1, 1, (500, 2)).astype("f4")
    with opened(CLEAN) as both, opened(CLEAN) as alone:
        together = both.process(audio(frames.reshape(-1), channels=2))[0].as_audio().frames
        assert np.array_equal(together[:, 1], alone.process(audio(frames[:, 1]))[0].as_audio().samples)


def test_the_input_is_left_as_it_was():
    """In place means in the guest's memory: the caller's array does not change."""
    samples = np.ones(100, "f4")
    data = audio(samples)
    with opened(CLEAN) as node:
        (out,) = node.process(data)
    assert samples.tolist() == [1.0] * 100
    assert out.as_audio().samples[-1] < 0.5


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (RuntimeData.audio(np.zeros(4, "i2"), sample_rate=8000), "32-bit floats"),
        (audio(np.zeros(33), channels=33), "1 to 32 channels"),
        (audio(np.zeros(4), rate=160), "cutoff_hz 80 is not below half the sample rate 160"),
    ],
)
def test_what_it_can_not_take_is_said(data, text):
    """Guest and twin refuse the same inputs, in the guest's case through ps_error."""
    with opened(CLEAN) as node, pytest.raises(NodeExecution, match="EINVAL") as caught:
        node.process(data)
    assert text in str(caught.value)
    with pytest.raises(ValueError, match=text.split()[0]):
        clean_twin.Clean().process(data)


@pytest.mark.parametrize("params", [{"cutoff_hz": 0.0}, {"cutoff_hz": math.nan}, {"gain_db": -121.0}, {"gain_db": 1e9}])
def test_guest_and_twin_refuse_the_same_parameters(params):
    """A parameter outside its range is a Validation in either form."""
    with pytest.raises(Validation):
        clean_twin.Clean(**params)
    with pytest.raises(Validation), opened(CLEAN, params):
        pass


@pytest.mark.parametrize(
    "text", [b'{"cutof":1}', b'{"gain_db":"1"}', b"[1]", b'{"gain_db":1', b"", b'{"gain_db":null}']
)
def test_the_guest_checks_its_parameters_itself(text):
    """Whatever host it meets, clean.c refuses unknown keys and what is no object of numbers."""
    with opened(CLEAN) as node:
        guest = node._guest
        with pytest.raises(Exception, match="ps_open gives EINVAL"):
            guest._run(guest._open, text)


@pytest.mark.parametrize("number", ["80", "8e1", "0.8E+2", "800e-1", "80.000"])
def test_the_guest_reads_every_spelling_of_a_number(number):
    """JSON's spellings of 80 make the same filter."""
    data = audio(np.random.default_rng(1).uniform(-1, 1, 300))
    with opened(CLEAN) as plain, opened(CLEAN) as spelled:
        spelled._guest._run(spelled._guest._open, f' {{ "cutoff_hz" :\n{number} }}'.encode())
        (ours,), (theirs,) = spelled.process(data), plain.process(data)
        np.testing.assert_allclose(ours.as_audio().samples, theirs.as_audio().samples, atol=1e-7)


def test_another_rate_starts_the_filter_afresh():
    """After a change of rate the output is that of a new stream, in guest and twin."""
    twin = clean_twin.Clean()
    with opened(CLEAN) as node:
        for rate in (16000, 48000, 16000):
            data = audio(np.ones(200), rate)
            (ours,), theirs = node.process(data), twin.process(data)
            assert ours.as_audio().samples[0] == pytest.approx(1, abs=0.05)
            np.testing.assert_allclose(ours.as_audio().samples, theirs.as_audio().samples, atol=1e-5)
