"""The vision example: what moves is found where it truly is, and the preview is a PNG of it."""

import importlib.util
import json
import struct
import zlib

import numpy as np
import pytest
from support import ROOT, drained, penstock

VISION = ROOT / "examples" / "vision"
FRAMES, LEAD = 63, 10

_spec = importlib.util.spec_from_file_location("vision_nodes", VISION / "vision_nodes.py")
vision_nodes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(vision_nodes)


def vision(folder, *options):
    """Run the example, with its files in a folder of ours."""
    paths = [f"--set=file.path={folder / 'boxes.jsonl'}", f"--set=preview.path={folder / 'preview.png'}"]
    done = penstock(
        "run", "--json", VISION / "pipeline.yaml", f"--set=camera.frames={FRAMES}", *paths, *options
    ).check()
    assert done.code == 0, done.err
    return done.json(), (folder / "boxes.jsonl").read_text()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """The example as it stands."""
    folder = tmp_path_factory.mktemp("mixed")
    return (*vision(folder), folder / "preview.png")


def test_what_moves_is_found_where_it_is(mixed):
    """In every frame each shape has one box, within a block of the truth, and nothing else has."""
    _, boxes, _ = mixed
    lines = [json.loads(line) for line in boxes.splitlines()]
    assert [line["frame"] for line in lines] == list(range(FRAMES))
    for line in lines:
        truth = vision_nodes.truth(line["frame"], LEAD)
        assert len(line["boxes"]) == len(truth), line
        for box, true in zip(line["boxes"], truth, strict=True):  # both from above to below
            assert abs(box["x"] - true.x) <= vision_nodes.BLOCK, (box, true)
            assert abs(box["y"] - true.y) <= vision_nodes.BLOCK, (box, true)
            assert abs(box["x"] + box["w"] - true.x - true.w) <= vision_nodes.BLOCK, (box, true)
            assert abs(box["y"] + box["h"] - true.y - true.h) <= vision_nodes.BLOCK, (box, true)


def decode(path):
    """The pixels of an RGB picture as PNG."""
    raw = path.read_bytes()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, []
    while at < len(raw):
        size, name = struct.unpack(">I4s", raw[at : at + 8])
        body = raw[at + 8 : at + 8 + size]
        assert struct.unpack(">I", raw[at + 8 + size : at + 12 + size]) == (zlib.crc32(name + body),)
        chunks.append((name, body))
        at += 12 + size
    (header, (_, data), end) = chunks
    assert (header[0], end) == (b"IHDR", (b"IEND", b""))
    width, height, *rest = struct.unpack(">IIBBBBB", header[1])
    assert rest == [8, 2, 0, 0, 0]
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + width * 3)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def test_the_preview_shows_the_boxes(mixed):
    """The last thirtieth frame, a quarter as wide and high, with a green outline where the boxes are."""
    _, boxes, path = mixed
    picture = decode(path)
    assert picture.shape == (270, 480, 3)
    seen = [json.loads(line) for line in boxes.splitlines()][60]
    green = (picture == vision_nodes.GREEN).all(axis=2)
    for box in seen["boxes"]:
        left, top = box["x"] // 4, box["y"] // 4
        right, bottom = left + box["w"] // 4, top + box["h"] // 4
        assert green[top, left:right].all()
        assert green[top:bottom, right - 1].all()
        green[top:bottom, left:right] = False
    assert not green.any()


def test_nothing_is_lost_but_previews(mixed):
    """The ledgers: each frame is looked at and written down; previews alone may be dropped."""
    report, _, _ = mixed
    preview = report["edges"].pop()
    assert {edge["sent"] for edge in drained(report).values()} == {FRAMES}
    assert (preview["sent"], preview["in_flight"]) == (3, 0)


def test_in_one_process_it_finds_the_same(mixed, tmp_path):
    """Where the nodes run changes no digit."""
    assert vision(tmp_path, "--executor=native")[1] == mixed[1]


@pytest.mark.parametrize("name", ["frames.npy", "frames.rgb"])
def test_frames_from_a_file(name, tmp_path):
    """A .npy file or raw rgb24 gives the same boxes as the frames that are in it."""
    numbers = [0, 1, 20, 21]
    camera = vision_nodes.Camera(frames=22)
    context = type("Context", (), {"claim": staticmethod(np.empty)})
    camera.initialize(context)
    frames = np.stack([data.as_tensor() for n, data in enumerate(camera.produce()) if n in numbers])
    np.save(tmp_path / name, frames) if name.endswith("npy") else frames.tofile(tmp_path / name)
    text = (VISION / "pipeline.yaml").read_text()
    text = text.replace("vision_nodes:Camera", "vision_nodes:FileCamera").replace("{frames: 600}", f"{{path: {name}}}")
    (tmp_path / "pipeline.yaml").write_text(text)
    (tmp_path / "vision_nodes.py").write_text((VISION / "vision_nodes.py").read_text())
    penstock("run", tmp_path / "pipeline.yaml", "--set=detector.learn=2", "--set=camera.fps=1000").check()
    lines = [json.loads(line) for line in (tmp_path / "out" / "boxes.jsonl").read_text().splitlines()]
    assert [len(line["boxes"]) for line in lines] == [0, 0, 3, 3]
    assert [line["time"] for line in lines] == [0, 0.001, 0.002, 0.003]


@pytest.mark.parametrize(
    ("pixels", "boxes"),
    [
        ([], []),
        ([(0, 0), (0, 1), (1, 1)], [(0, 0, 2, 2)]),
        ([(0, 0), (1, 1), (2, 2)], [(0, 0, 3, 3)]),
        ([(0, 0), (0, 2), (1, 0), (1, 1), (1, 2)], [(0, 0, 3, 2)]),
        ([(0, 0), (0, 4), (1, 0), (1, 4), (2, 0), (2, 1), (2, 2), (2, 3), (2, 4)], [(0, 0, 5, 3)]),
        ([(0, 3), (1, 2), (1, 4), (2, 1), (2, 5), (3, 0), (3, 6)], [(0, 0, 7, 4)]),
        ([(0, 0), (2, 0), (4, 0)], [(0, 0, 1, 1), (0, 2, 1, 1), (0, 4, 1, 1)]),
        ([(0, 0), (0, 2), (1, 6)], [(0, 0, 1, 1), (2, 0, 1, 1), (6, 1, 1, 1)]),
    ],
)
def test_blocks_that_touch_are_one_thing(pixels, boxes):
    """Corners and joins from both sides included; gaps of one block part."""
    mask = np.zeros((5, 8), bool)
    for y, x in pixels:
        mask[y, x] = True
    scaled = [tuple(side // vision_nodes.BLOCK for side in box) for box in vision_nodes.boxes_of(mask, 1)]
    assert scaled == boxes


def test_boxes_are_those_of_a_slow_way_to_find_them():
    """On noise: everything that can be reached from a block, found block by block."""
    random = np.random.default_rng(0)
    for share in (0.1, 0.3, 0.5, 0.7):
        mask = random.random((30, 40)) < share
        assert sorted(vision_nodes.boxes_of(mask, 1)) == sorted(flooded(mask)), share


def flooded(mask):
    left = {tuple(spot) for spot in np.argwhere(mask).tolist()}
    while left:
        found, edge = set(), {left.pop()}
        while edge:
            found |= edge
            near = {(y + dy, x + dx) for y, x in edge for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
            edge = near & left
            left -= edge
        ys, xs = [y for y, _ in found], [x for _, x in found]
        width, height = max(xs) + 1 - min(xs), max(ys) + 1 - min(ys)
        yield vision_nodes.Box(*(8 * side for side in (min(xs), min(ys), width, height)))


def test_a_file_of_other_frames_is_refused(tmp_path):
    """A .npy of another shape is named, with what is wanted; a file that ends within a frame, too."""
    np.save(tmp_path / "small.npy", np.zeros((2, 4, 4, 3), np.uint8))
    (tmp_path / "cut.rgb").write_bytes(b"\0" * 1000)
    for name, text in (("small.npy", "frames are uint8 of shape"), ("cut.rgb", "ends in the middle of frame 0")):
        camera = vision_nodes.FileCamera(path=tmp_path / name)
        camera.initialize(type("Context", (), {"claim": staticmethod(np.empty)}))
        with pytest.raises(Exception, match=text):
            list(camera.produce())
