"""`wav_source`: files written byte by byte, read to exact values."""

import os
import struct
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine.nodes.wav_source import WavSource
from penstock.executors.contract import Validation

TAIL = bytes.fromhex("000000001000800000aa00389b71")
UNKNOWN = 0xFFFFFFFF


def chunk(kind, body, size=None):
    declared = len(body) if size is None else size
    return kind + struct.pack("<I", declared) + body + b"\0" * (len(body) % 2)


def fmt(tag=1, channels=1, rate=8000, bits=16, block=None, extra=b""):
    block = channels * ((bits + 7) // 8) if block is None else block
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits) + extra)


def extensible(sub, bits, tail=TAIL, **more):
    return fmt(0xFFFE, bits=bits, extra=struct.pack("<HHIH", 22, bits, 0, sub) + tail, **more)


def riff(*chunks, form=b"RIFF", size=None):
    body = b"WAVE" + b"".join(chunks)
    return form + struct.pack("<I", len(body) if size is None else size) + body


@pytest.fixture
def wav(tmp_path):
    def write(*chunks, **more):
        path = tmp_path / "speech.wav"
        path.write_bytes(chunks[0] if len(chunks) == 1 else riff(*chunks, **more))
        return path

    return write


def read(path, **params):
    source = WavSource(path=path, **params)
    source.check()
    return list(source.produce())


def samples(path, **params):
    data = read(path, **params)
    return np.concatenate([d.as_audio().samples for d in data]) if data else np.zeros(0, np.float32)


def refusal(path, **params):
    with pytest.raises(Validation) as caught:
        WavSource(path=path, **params).check()
    with pytest.raises(Validation) as at_run:
        list(WavSource(path=path, **params).produce())
    assert str(at_run.value) == str(caught.value)
    return str(caught.value)


INTEGERS = {
    8: (b"\x00\x80\xff\x81", [-1.0, 0.0, 127 / 128, 1 / 128]),
    16: (struct.pack("<4h", -32768, 0, 32767, 1), [-1.0, 0.0, 32767 / 32768, 1 / 32768]),
    24: (b"\x00\x00\x80" + b"\0\0\0" + b"\xff\xff\x7f" + b"\x01\0\0", [-1.0, 0.0, 1 - 2**-23, 2**-23]),
    32: (struct.pack("<4i", -(2**31), 0, 2**31 - 1, 256), [-1.0, 0.0, 1 - 2**-24, 2**-23]),
}
FLOATS = {
    32: (struct.pack("<4f", -1.0, 0.0, 1.5, 0.1), [-1.0, 0.0, 1.5, np.float32(0.1)]),
    64: (struct.pack("<4d", -1.0, 0.0, 1.5, 0.1), [-1.0, 0.0, 1.5, np.float32(0.1)]),
}
FORMATS = [(1, bits, *pair) for bits, pair in INTEGERS.items()] + [(3, bits, *pair) for bits, pair in FLOATS.items()]


@pytest.mark.parametrize(("tag", "bits", "data", "expected"), FORMATS)
@pytest.mark.parametrize("header", [fmt, extensible])
def test_every_sample_format_is_read_to_exact_values(wav, header, tag, bits, data, expected):
    """Integers scale to [-1, 1), floats pass, with plain and with extensible headers."""
    got = samples(wav(header(tag, bits=bits), chunk(b"data", data)))
    assert got.dtype == np.float32
    assert got.tolist() == expected


@pytest.mark.parametrize("channels", [1, 2, 3, 8, 17])
@pytest.mark.parametrize("rate", [8000, 11025, 22050, 192000])
def test_chunks_keep_rate_channels_and_exact_time_stamps(wav, channels, rate):
    """Each datum has whole frames and the position of its first one; the last is short."""
    frames = 3 * round(rate * 0.02) + 5
    values = (np.arange(frames * channels) % 1000).astype("<i2")
    data = read(wav(fmt(channels=channels, rate=rate), chunk(b"data", values.tobytes())))
    position = 0
    for datum in data:
        assert (datum.sample_rate, datum.channels) == (rate, channels)
        assert datum.timestamp_ns == position * 10**9 // rate
        position += datum.as_audio().frames.shape[0]
    assert [d.as_audio().frames.shape[0] for d in data] == [round(rate * 0.02)] * 3 + [5]
    assert np.array_equal(np.concatenate([d.as_audio().samples for d in data]) * 32768, values)


@given(
    values=st.lists(st.integers(-32768, 32767), max_size=200),
    chunk_ms=st.floats(0.05, 50),
    before=st.lists(
        st.tuples(st.sampled_from([b"LIST", b"bext", b"JUNK", b"id3 "]), st.binary(max_size=9)), max_size=4
    ),
    after=st.binary(max_size=30),
)
@settings(max_examples=60, deadline=None)
def test_other_chunks_and_the_chunk_length_change_nothing(tmp_path_factory, values, chunk_ms, before, after):
    """The samples are the same whatever stands around the data and however they are cut."""
    extra = [chunk(kind, body) for kind, body in before]
    data = struct.pack(f"<{len(values)}h", *values)
    path = tmp_path_factory.mktemp("riff") / "x.wav"
    path.write_bytes(riff(*extra, fmt(), *extra, chunk(b"data", data), chunk(b"LIST", after)))
    assert (samples(path, chunk_ms=chunk_ms) * 32768).tolist() == values


@pytest.mark.parametrize(
    ("data_size", "riff_size"),
    [
        (0, 0),
        (0, 36),
        (0, UNKNOWN),
        (UNKNOWN, UNKNOWN),
        (UNKNOWN, 0),
        (0x7FFFF000, 0x7FFFF024),
        (0x80000000, 0x80000024),
    ],
)
def test_data_of_unknown_size_is_read_to_the_end(wav, data_size, riff_size):
    """What streaming encoders leave in the size fields does not count."""
    values = np.arange(1000, dtype="<i2")
    path = wav(fmt(), chunk(b"data", values.tobytes(), data_size), size=riff_size)
    assert np.array_equal(samples(path) * 32768, values)


def test_an_incomplete_last_frame_is_left_out(wav, caplog):
    """Half a frame at the end is no sample: it is dropped and told."""
    path = wav(fmt(channels=2), chunk(b"data", b"\1\0\2\0\3\0", UNKNOWN))
    assert (samples(path) * 32768).tolist() == [1, 2]
    assert "2 bytes of an incomplete frame" in caplog.text


@pytest.mark.parametrize("trailing", [(), (chunk(b"LIST", b"INFO"),)])
def test_zero_frames_are_a_clean_end(wav, trailing):
    """A file without samples gives no data and no error."""
    assert read(wav(fmt(), chunk(b"data", b""), *trailing)) == []


@pytest.mark.parametrize("form", [b"RF64", b"BW64"])
def test_the_64_bit_size_counts(wav, form):
    """RF64 and BW64 have their sizes in ds64: what follows the data is not read as samples."""
    data = struct.pack("<3h", 1, 2, 3)
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 100, len(data), 3, 0))
    path = wav(ds64, fmt(), chunk(b"data", data, UNKNOWN), chunk(b"LIST", b"INFO"), form=form, size=UNKNOWN)
    assert (samples(path) * 32768).tolist() == [1, 2, 3]


def through_fifo(tmp_path, data):
    """Run the source on a pipe that another thread fills."""
    path = tmp_path / "pipe.wav"
    os.mkfifo(path)
    source = WavSource(path=path)
    source.check()

    def fill():
        with path.open("wb") as pipe:
            pipe.write(data)

    writer = threading.Thread(target=fill)
    writer.start()
    try:
        return np.concatenate([d.as_audio().samples for d in source.produce()])
    finally:
        writer.join()


@pytest.mark.parametrize("size", [None, UNKNOWN])
def test_a_pipe_is_read(tmp_path, size):
    """Nothing seeks, and the check leaves the pipe alone."""
    values = np.arange(5000, dtype="<i2")
    data = riff(chunk(b"JUNK", b"abc"), fmt(), chunk(b"data", values.tobytes(), size))
    assert np.array_equal(through_fifo(tmp_path, data) * 32768, values)


def test_a_pipe_that_ends_early_is_truncated(tmp_path):
    """A stream shorter than its header says fails where it ends."""
    with pytest.raises(Validation, match="declares 100 bytes, the stream has 40"):
        through_fifo(tmp_path, riff(fmt(), chunk(b"data", bytes(40), 100)))


def test_a_truncated_file_is_refused_before_the_start(wav):
    """A data chunk that promises more than there is names both numbers and a remedy."""
    text = refusal(wav(fmt(), chunk(b"data", bytes(500), 1000)))
    assert "speech.wav is truncated: its data chunk declares 1000 bytes, the file has 500" in text
    assert "sox --ignore-length" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty (0 bytes)"),
        (b"RIFF", "is truncated: it ends after 4 bytes"),
        (b"OggS" + bytes(40), "looks like an Ogg file"),
        (b"fLaC" + bytes(40), "looks like a FLAC file"),
        (b"ID3\x04" + bytes(40), "looks like an MP3 file"),
        (b"\xff\xfb\x90\x00" + bytes(40), "looks like an MP3 or AAC file"),
        (b"FORM\0\0\0\x20AIFFCOMM", "looks like an AIFF file"),
        (b"RIFX\0\0\0\x20WAVE", "looks like a big-endian WAV file"),
        (b"RIFF\x20\0\0\0AVI LIST", "looks like an AVI file"),
        (b"\0\0\0\x20ftypM4A ", "looks like an MP4 or M4A file"),
        ("penstock: 1\nname: späch\n".encode(), "looks like a text file"),
        (b"\x01\x02\x03\x04\x05\x06\x07\x08\x09", "unknown data that begins with 01 02 03 04 05 06 07 08"),
    ],
)
def test_what_is_not_a_wav_is_called_by_its_name(wav, content, message):
    """The error says what the file looks like."""
    assert message in refusal(wav(content))


@pytest.mark.parametrize(
    ("tag", "codec"),
    [
        (2, "Microsoft ADPCM"),
        (6, "A-law"),
        (7, "mu-law"),
        (0x11, "IMA ADPCM"),
        (0x55, "MP3"),
        (0x1234, "format 0x1234"),
    ],
)
@pytest.mark.parametrize("header", [fmt, extensible])
def test_compressed_files_are_refused_with_the_command_that_converts_them(wav, header, tag, codec):
    """The codec is named, and sox and ffmpeg."""
    text = refusal(wav(header(tag, bits=8), chunk(b"data", b"\0\0")))
    assert f"is compressed with {codec}, not PCM; convert it: sox " in text
    assert "ffmpeg -i " in text


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([fmt(channels=2, block=3)], "2 channels of 16 bits make blocks of 4 bytes, but its block align is 3"),
        ([fmt(bits=40)], "has 40-bit int samples"),
        ([fmt(tag=3, bits=16)], "has 16-bit float samples"),
        ([fmt(channels=0)], "0 channels at 8000 Hz"),
        ([fmt(rate=0)], "1 channels at 0 Hz"),
        ([chunk(b"fmt ", bytes(14))], "fmt chunk has 14 bytes"),
        ([fmt(0xFFFE)], "extensible fmt chunk has 16 bytes"),
        ([extensible(1, 16, tail=bytes(14))], "unknown sub-format"),
        ([fmt()], "has no data chunk"),
        ([chunk(b"LIST", b"ab", 100)], "ends inside its 'LIST' chunk"),
        ([fmt(), b"da"], "ends inside a chunk's header"),
        ([chunk(b"ds64", bytes(8))], "ds64 chunk has 8 bytes"),
        ([chunk(b"data", b"\0\0"), fmt()], "data comes before its fmt chunk"),
    ],
)
def test_damaged_headers_say_what_is_wrong(wav, chunks, message):
    """Each damage has its own message."""
    assert message in refusal(wav(b"" if not chunks else riff(*chunks)))


@given(st.binary(max_size=120))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_or_refused(tmp_path_factory, garbage):
    """A damaged file is a Validation, never another error and never a huge allocation."""
    path = tmp_path_factory.mktemp("fuzz") / "x.wav"
    path.write_bytes(riff(fmt(), chunk(b"data", b"\0\0"))[:20] + garbage)
    try:
        assert all(d.sample_rate >= 1 for d in read(path))
    except Validation as error:
        assert "x.wav" in str(error)


def test_absent_files_directories_and_bad_parameters_are_refused(tmp_path):
    """What can be known before the start is said then."""
    assert "does not exist" in refusal(tmp_path / "no.wav")
    assert "is a directory" in refusal(tmp_path)
    for bad in (0, -5, float("nan"), float("inf")):
        with pytest.raises(Validation, match="chunk_ms must be"):
            WavSource(path=tmp_path, chunk_ms=bad)
    with pytest.raises(Validation, match="chunk_ms must be above 0, not -5"):
        WavSource(path=tmp_path, chunk_ms=-5)


def test_a_file_that_may_not_be_read_is_refused(wav, monkeypatch):
    """No permission is said before the start (the system's answer is replaced: root may read everything)."""
    path = wav(fmt(), chunk(b"data", b""))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "permission denied" in refusal(path)
