"""`wav_sink`: complete files, exact samples."""

import struct
import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine.nodes import wav_sink
from penstock.engine.nodes.wav_sink import WavSink
from penstock.engine.nodes.wav_source import WavSource
from penstock.executors.contract import NodeContext, RuntimeData, Validation


def audio(values, rate=8000, channels=1, dtype=np.float32):
    return RuntimeData.audio(np.array(values, dtype), sample_rate=rate, channels=channels)


def started(path, **params):
    sink = WavSink(path=path, **params)
    sink.check()
    sink.initialize(NodeContext("sink", "wav_sink"))
    return sink


def written(path, *data, **params):
    sink = started(path, **params)
    for datum in data:
        sink.process(datum)
    sink.flush()
    sink.cleanup()
    return path.read_bytes()


def samples(path):
    source = WavSource(path=path)
    source.check()
    return np.concatenate([d.as_audio().samples for d in source.produce()])


def test_the_file_is_right_to_the_byte(tmp_path):
    """A 16-bit file has the plain header of 44 bytes and its samples."""
    content = written(tmp_path / "x.wav", audio([0.5, -0.5, 0.25, -1.0], channels=2, rate=44100))
    body = struct.pack("<4h", 16384, -16384, 8192, -32768)
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, 44100, 176400, 4, 16)
    assert content == b"RIFF" + struct.pack("<I", 44) + b"WAVE" + fmt + b"data" + struct.pack("<I", 8) + body


def test_a_float_file_has_the_header_that_its_format_asks_for(tmp_path):
    """Not PCM: the fmt chunk says that it has no extension, and a fact chunk counts the frames."""
    content = written(tmp_path / "x.wav", audio([0.5, -0.5, 0.25, 1.0], channels=2), format="f32")
    fmt = struct.pack("<4sIHHIIHHH", b"fmt ", 18, 3, 2, 8000, 64000, 8, 32, 0)
    fact = struct.pack("<4sII", b"fact", 4, 2)
    data = b"data" + struct.pack("<I4f", 16, 0.5, -0.5, 0.25, 1.0)
    assert content == b"RIFF" + struct.pack("<I", len(content) - 8) + b"WAVE" + fmt + fact + data


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("i16", [32767 / 32768, -1, 0, 32767 / 32768, -1, 1 / 32768]),
        ("i24", [1 - 2**-23, -1, 0, 1 - 2**-23, -1, 257 / 2**23]),
        ("i32", [1 - 2**-24, -1, 0, 1 - 2**-24, -1, np.float32(257 / 2**23)]),
        ("f32", [1.5, -1.5, 0, 1, -1, np.float32(257 / 2**23)]),
    ],
)
def test_samples_are_rounded_and_clipped_never_wrapped(tmp_path, form, expected):
    """Too loud is full scale, NaN is silence, infinity is full scale."""
    path = tmp_path / "x.wav"
    written(path, audio([1.5, -1.5, np.nan, np.inf, -np.inf, 257 / 2**23]), format=form)
    assert samples(path).tolist() == expected


@given(
    st.lists(st.floats(-1.25, 1.25, width=32), min_size=1, max_size=99), st.sampled_from(["i16", "i24", "i32", "f32"])
)
@settings(max_examples=50, deadline=None)
def test_what_is_written_reads_back_within_half_a_step(tmp_path_factory, values, form):
    """Round trip through sink and source, for every format and odd lengths."""
    path = tmp_path_factory.mktemp("sink") / "x.wav"
    content = written(path, audio(values), format=form)
    bits = {"i16": 16, "i24": 24, "i32": 25, "f32": 25}[form]  # float32 has 24 bits and a sign
    expected = np.array(values) if form == "f32" else np.clip(values, -1, 1 - 2.0 ** (1 - bits))
    assert np.abs(samples(path) - expected).max() <= 2.0**-bits
    assert len(content) % 2 == 0
    assert struct.unpack("<I", content[4:8])[0] == len(content) - 8


@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 256), (np.int16, 1), (np.int32, 1 / 65536)])
def test_integer_audio_keeps_its_values(tmp_path, dtype, scale):
    """Audio that other nodes make of integers is written at its own full scale."""
    values = [0, 1, 255] if dtype is np.uint8 else [-5 * int(1 / min(scale, 1)), 0, 7 * int(1 / min(scale, 1))]
    expected = [-32768, -32512, 32512] if dtype is np.uint8 else [-5, 0, 7]
    path = tmp_path / "x.wav"
    written(path, audio(values, dtype=dtype))
    assert (samples(path) * 32768).tolist() == expected


def test_other_readers_agree(tmp_path):
    """The wave module of the standard library reads what we write."""
    path = tmp_path / "new" / "folder" / "x.wav"
    written(path, audio([0.0, 0.5, -0.5], rate=22050), audio([0.25], rate=22050), format="i24")
    with wave.open(str(path)) as reader:
        assert reader.getparams()[:4] == (1, 3, 22050, 4)


def test_a_run_that_stops_early_leaves_a_complete_file(tmp_path):
    """cleanup without flush ends the file; until then the old one stands there."""
    path = tmp_path / "x.wav"
    path.write_bytes(b"old")
    sink = started(path)
    sink.process(audio([0.5] * 100))
    assert path.read_bytes() == b"old"
    sink.cleanup()
    assert len(samples(path)) == 100
    assert list(tmp_path.iterdir()) == [path]


def test_the_part_of_a_killed_run_can_be_read(tmp_path):
    """What was written so far is a WAV of unknown length."""
    sink = started(tmp_path / "x.wav")
    sink.process(audio([0.5] * 20000))
    part = tmp_path / "x.wav.part"
    salvaged = tmp_path / "salvaged.wav"
    salvaged.write_bytes(part.read_bytes())
    sink.cleanup()
    assert set(samples(salvaged)) == {0.5}


def test_without_audio_the_end_gives_an_empty_file_and_a_stop_leaves_the_old(tmp_path):
    """A stream that ends empty replaces yesterday's file; a run that never began does not."""
    path = tmp_path / "x.wav"
    path.write_bytes(b"old")
    started(path).cleanup()
    assert path.read_bytes() == b"old"
    assert len(written(path)) == 44
    assert list(WavSource(path=path).produce()) == []


def test_a_device_is_written_in_place(tmp_path):
    """/dev/null and the like are neither replaced nor sought in."""
    link = tmp_path / "null.wav"
    link.symlink_to("/dev/null")
    assert written(link, audio([0.5])) == b""
    assert list(tmp_path.iterdir()) == [link]


def test_above_4_gib_the_header_says_unknown():
    """Sizes that 32 bits can not hold are those of a streaming writer."""
    header = wav_sink._header("i16", 48000, 2, 1 << 30)
    assert header[4:8] == header[40:44] == b"\xff\xff\xff\xff"


@pytest.mark.parametrize("other", [audio([0.0], rate=16000), audio([0.0, 0.0], channels=2)])
def test_a_change_in_mid_stream_is_an_error(tmp_path, other):
    """Rate and channels are those of the first datum; what came before is kept."""
    sink = started(tmp_path / "x.wav")
    sink.process(audio([0.5]))
    with pytest.raises(Validation, match="the audio changed from 8000 Hz x1 to .* in mid-stream"):
        sink.process(other)
    sink.cleanup()
    assert samples(tmp_path / "x.wav").tolist() == [0.5]


def test_paths_that_can_not_be_written_are_refused_before_the_start(tmp_path):
    """A directory, and a folder that is a file, say so, and nothing is made by asking."""
    (tmp_path / "file").touch()
    for path, message in [(tmp_path, "is a directory"), (tmp_path / "file" / "x.wav", "is a file, not a directory")]:
        with pytest.raises(Validation, match=message):
            WavSink(path=path).check()
    WavSink(path=tmp_path / "new" / "x.wav").check()
    assert not (tmp_path / "new").exists()
    with pytest.raises(Validation, match="format must be i16, i24, i32 or f32, not mp3"):
        WavSink(path=tmp_path / "x.wav", format="mp3")
