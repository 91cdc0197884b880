"""The speech example: the phrases are where they truly are, and the same on every executor."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support import SPEECH, Done, Wav, drained, penstock, read_wav, write_wav

TOLERANCE_S = 0.15
RATE = 16_000


@dataclass(frozen=True)
class Result:
    """What a run of the example has made."""

    done: Done
    phrases: str
    wav: Wav
    wav_bytes: bytes


def speech(folder, *options, source=SPEECH / "pipeline.yaml"):
    """Run the example, with its files in a folder of ours."""
    paths = [f"--set=file.path={folder / 'phrases.jsonl'}", f"--set=cleaned.path={folder / 'cleaned.wav'}"]
    done = penstock("run", source, *paths, *options).check()
    assert done.code == 0, done.err
    cleaned = folder / "cleaned.wav"
    return Result(done, (folder / "phrases.jsonl").read_text(), read_wav(cleaned), cleaned.read_bytes())


def copy_of_example(folder, change):
    """The example with another manifest."""
    for name in ("speech.wav", "speech_nodes.py", "clean_twin.py", "clean.wasm"):
        shutil.copy(SPEECH / name, folder)
    text = (SPEECH / "pipeline.yaml").read_text()
    changed = change(text)
    assert changed != text
    (folder / "pipeline.yaml").write_text(changed)
    return folder / "pipeline.yaml"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """The example as it stands: native, wasm and multiprocess."""
    return speech(tmp_path_factory.mktemp("mixed"), "--set=cleaned.format=f32")


def found(result):
    return [json.loads(line) for line in result.phrases.splitlines()]


def assert_true(phrases, truth):
    assert len(phrases) == len(truth)
    for phrase, true in zip(phrases, truth, strict=True):
        assert abs(phrase["start"] - true["start"]) <= TOLERANCE_S, (phrase, true)
        assert abs(phrase["end"] - true["end"]) <= TOLERANCE_S, (phrase, true)


def test_the_phrases_are_where_they_truly_are(mixed):
    """Every phrase of truth.json is found, and no other, with boundaries within 0.15 s."""
    assert_true(found(mixed), json.loads((SPEECH / "truth.json").read_text()))


def test_the_screen_shows_what_the_file_has(mixed):
    """Both edges out of `phrases` carry the same."""
    assert mixed.done.out == mixed.phrases
    assert mixed.phrases.count("\n") == 6


def test_the_cleaned_recording_is_whole(mixed):
    """The WAV is valid, at the rate of the graph, and as long as the input to a frame."""
    source = read_wav(SPEECH / "speech.wav")
    assert (mixed.wav.rate, mixed.wav.tag, mixed.wav.bits) == (RATE, 3, 32)
    assert mixed.wav.frames.shape[1] == 1
    assert abs(len(mixed.wav.frames) - len(source.frames) * RATE / source.rate) <= 1
    assert np.isfinite(mixed.wav.frames).all()
    assert 0.05 < np.abs(mixed.wav.frames).max() < 4


def test_executor_native_is_bit_identical(mixed, tmp_path):
    """--executor native gives the same phrases and the same samples, and makes no worker."""
    native = speech(tmp_path, "--executor=native", "--set=cleaned.format=f32", "--json")
    assert native.phrases == mixed.phrases
    assert native.wav_bytes == mixed.wav_bytes
    report = native.done.json()
    assert {node["executor"] for node in report["nodes"]} == {"native", "wasm"}
    assert {edge["kind"] for edge in report["edges"]} == {"channel"}
    drained(report)


def test_without_executors_it_is_bit_identical(mixed, tmp_path):
    """The graph with its executor keys taken away gives the same phrases and samples."""
    path = copy_of_example(tmp_path, lambda text: text.replace(", executor: multiprocess", ""))
    native = speech(tmp_path, "--set=cleaned.format=f32", source=path)
    assert native.phrases == mixed.phrases
    assert native.wav_bytes == mixed.wav_bytes


def test_all_in_workers_is_bit_identical(mixed, tmp_path):
    """Every node that can be in a worker in one, the wasm module and the files too: the same phrases and samples."""

    def change(text):
        for kind in ("mono", "clean.wasm", "resample", "chunk", "wav_source", "wav_sink"):
            text = text.replace(f"{{type: {kind}", f"{{executor: multiprocess, type: {kind}")
        return text

    workers = speech(tmp_path, "--set=cleaned.format=f32", "--json", source=copy_of_example(tmp_path, change))
    assert workers.phrases == mixed.phrases
    assert workers.wav_bytes == mixed.wav_bytes
    report = workers.done.json()
    assert sum(node["executor"] == "multiprocess" for node in report["nodes"]) == 8
    drained(report)


def test_the_twin_in_python_is_the_guest_to_a_hair(mixed, tmp_path):
    """clean_twin.Clean in place of clean.wasm: samples within 1e-5, and the same phrases."""
    path = copy_of_example(tmp_path, lambda text: text.replace("type: clean.wasm", 'type: "clean_twin:Clean"'))
    twin = speech(tmp_path, "--set=cleaned.format=f32", source=path)
    assert twin.wav.frames.shape == mixed.wav.frames.shape
    assert np.abs(twin.wav.frames - mixed.wav.frames).max() <= 1e-5
    assert_true(found(twin), found(mixed))


def babble(rate, channels, seconds=4.0):
    """A voice that speaks from 1.5 s to 2.5 s: 120 Hz over a little noise, shape (frames, channels)."""
    t = np.arange(int(rate * seconds)) / rate
    voice = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 12)) * ((t >= 1.5) & (t < 2.5)) * 0.15
    noise = np.random.default_rng(0).normal(0, 10**-3.5, len(t))
    return np.repeat((voice + noise)[:, None], channels, axis=1)


@pytest.mark.parametrize(
    ("rate", "channels", "bits", "is_float"),
    [(48_000, 2, 24, False), (8_000, 1, 8, False), (96_000, 8, 32, True)],
    ids=["48k stereo 24 bit", "8k mono 8 bit", "96k float 8 channels"],
)
def test_other_recordings(tmp_path, rate, channels, bits, is_float):
    """--set wav.path= takes other formats: the phrase is found, and the cleaned WAV is as long as the input."""
    frames = babble(rate, channels)
    path = write_wav(tmp_path / "mine.wav", rate, frames, bits=bits, is_float=is_float)
    result = speech(tmp_path, f"--set=wav.path={path}")
    assert (result.wav.rate, result.wav.bits) == (RATE, 16)
    assert abs(len(result.wav.frames) - len(frames) * RATE / rate) <= 1
    assert_true(found(result), [{"start": 1.5, "end": 2.5}])


def test_a_recording_without_a_phrase(tmp_path):
    """Silence gives no phrase, an empty file and a WAV of the right length."""
    path = write_wav(tmp_path / "silence.wav", 16_000, np.zeros((32_000, 1)), bits=16)
    result = speech(tmp_path, f"--set=wav.path={path}")
    assert (result.phrases, result.done.out) == ("", "")
    assert len(result.wav.frames) == 32_000


def test_a_recording_without_a_sample(tmp_path):
    """A WAV file with no audio in it runs to its end as well."""
    path = write_wav(tmp_path / "nothing.wav", 44_100, np.zeros((0, 2)), bits=16)
    result = speech(tmp_path, f"--set=wav.path={path}")
    assert (result.phrases, len(result.wav.frames)) == ("", 0)


def test_the_example_leaves_its_own_folder_alone(mixed):
    """Runs with paths of one's own write nothing beside the example."""
    assert mixed.wav.frames.size
    assert not (Path(SPEECH) / "phrases.jsonl").exists()
    assert not (Path(SPEECH) / "cleaned.wav").exists()
