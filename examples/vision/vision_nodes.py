"""A camera, a detector and a preview: frames of 1080p RGB that are made in shared memory and read where they lie.

Nothing here knows about processes. `pipeline.yaml` says where each node runs.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.executors import Node, NodeContext, RuntimeData, Validation

Frame = npt.NDArray[np.uint8]
Sums = npt.NDArray[np.float32]

WIDTH, HEIGHT = 1920, 1080
BLOCK = 8  # pixels; both sizes are multiples of it
_NOISE = 12
_NOISY = 4
_FOLLOW = np.float32(0.02)
GREEN = (0, 255, 0)


class Box(NamedTuple):
    """A rectangle of pixels; x and y are its upper left corner."""

    x: int
    y: int
    w: int
    h: int


class Shape(NamedTuple):
    """A bright block that goes to and fro in a lane of its own, and up and down a little."""

    size: tuple[int, int]
    lane_y: int
    speed: int
    color: tuple[int, int, int]

    def at(self, number: int) -> Box:
        """Where it is in a frame."""
        width, height = self.size
        room = WIDTH - width
        way = number * self.speed % (2 * room)
        return Box(min(way, 2 * room - way), self.lane_y + abs(number % 80 - 40), width, height)


SHAPES = (
    Shape((160, 120), 60, 11, (230, 80, 60)),
    Shape((90, 200), 380, 7, (70, 210, 90)),
    Shape((240, 90), 800, 17, (90, 120, 240)),
)


def truth(number: int, lead: int) -> list[Box]:
    """What is to be seen in a frame of the synthetic camera."""
    return [shape.at(number) for shape in SHAPES] if number >= lead else []


class Camera(Node):
    """Synthetic frames: noise over a dim scene, and three moving shapes; the same ones at every run.

    Args:
        frames: how many.
        fps: at this pace; 0 is as fast as they are taken.
        lead: frames without shapes at the start, for the detector to learn the scene.
    """

    inputs: ClassVar[Mapping[str, str]] = {}
    outputs: ClassVar[Mapping[str, str]] = {"out": "tensor"}

    def __init__(self, *, frames: int = 600, fps: float = 0.0, lead: int = 10) -> None:
        if fps < 0:
            raise Validation(f"fps must be above 0, or 0 for as fast as possible, not {fps:g}")
        self._frames, self._lead = frames, lead
        self._pace = _Pace(fps)

    def initialize(self, ctx: NodeContext) -> None:
        self._ctx = ctx
        random = np.random.default_rng(1)
        x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
        scene = np.stack([30 + x % 50, 40 + y % 30, 30 + (x + y) % 40], axis=2)
        noise = [random.integers(-_NOISE, _NOISE, scene.shape) for _ in range(_NOISY)]
        self._scenes: list[Frame] = [(scene + one).astype(np.uint8) for one in noise]

    def produce(self) -> Iterator[RuntimeData]:
        for number in range(self._frames):
            self._pace.wait(number)
            frame = self._ctx.claim((HEIGHT, WIDTH, 3), np.uint8)  # in shared memory already: nobody copies it again
            np.copyto(frame, self._scenes[number % _NOISY])
            for shape, box in zip(SHAPES, truth(number, self._lead), strict=False):
                frame[box.y : box.y + box.h, box.x : box.x + box.w] = shape.color
            yield RuntimeData.tensor(frame, timestamp_ns=self._pace.time_ns(number))


class FileCamera(Node):
    """Frames from a file: `.npy` of shape (frames, 1080, 1920, 3), or raw rgb24, as `ffmpeg -pix_fmt rgb24` writes it.

    Args:
        path: of the file, or of a named pipe.
        fps: of the recording; the frames come at this pace.
    """

    inputs: ClassVar[Mapping[str, str]] = {}
    outputs: ClassVar[Mapping[str, str]] = {"out": "tensor"}

    def __init__(self, *, path: Path, fps: float = 25.0) -> None:
        self._path = path
        self._pace = _Pace(fps)

    def check(self) -> None:
        if not self._path.exists():
            raise Validation(f"there is no file {self._path}")

    def initialize(self, ctx: NodeContext) -> None:
        self._ctx = ctx

    def produce(self) -> Iterator[RuntimeData]:
        with open(self._path, "rb") as file:
            if self._path.suffix == ".npy":
                _skip_header(file)
            number = 0
            while True:
                frame = self._ctx.claim((HEIGHT, WIDTH, 3), np.uint8)
                read = file.readinto(frame.data)
                if read == 0:
                    return
                if read < frame.nbytes:
                    raise ValueError(
                        f"{self._path} ends in the middle of frame {number}: is it {WIDTH}x{HEIGHT} rgb24?"
                    )
                self._pace.wait(number)
                yield RuntimeData.tensor(frame, timestamp_ns=self._pace.time_ns(number))
                number += 1
                del frame


def _skip_header(file: BinaryIO) -> None:
    """Go to the first frame of a .npy file, and see that these are frames."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if shape[1:] != (HEIGHT, WIDTH, 3) or dtype != np.uint8 or fortran:
        raise Validation(f"frames are uint8 of shape (frames, {HEIGHT}, {WIDTH}, 3), not {dtype} of shape {shape}")


class _Pace:
    """Frames at equal times."""

    def __init__(self, fps: float) -> None:
        self._period_s = 1 / fps if fps else 0.0
        self._start_s = 0.0

    def wait(self, number: int) -> None:
        if not number:
            self._start_s = time.monotonic()
        if self._period_s:
            time.sleep(max(0.0, self._start_s + number * self._period_s - time.monotonic()))

    def time_ns(self, number: int) -> int:
        """Since the first frame; without a pace, as if there were 60 a second."""
        return round(number * (self._period_s or 1 / 60) * 1e9)


class Detector(Node):
    """What differs from the scene: JSON of its boxes for each frame, and each `every`-th frame with them in its meta.

    The scene is learned from the first `learn` frames, and followed slowly where nothing is found. A block of 8 x 8
    pixels differs when the mean of a colour is off by more than `threshold`; blocks that touch are one thing.
    """

    inputs: ClassVar[Mapping[str, str]] = {"in": "tensor"}
    outputs: ClassVar[Mapping[str, str]] = {"boxes": "json", "seen": "tensor"}

    def __init__(self, *, threshold: float = 16.0, learn: int = 8, every: int = 30, smallest: int = 4) -> None:
        if learn < 1 or every < 1:
            raise Validation(f"learn and every are at least 1, not {learn} and {every}")
        self._threshold = round(threshold * BLOCK * BLOCK)
        self._learn, self._every, self._smallest = learn, every, smallest
        self._number = 0
        self._scene: Sums = np.zeros(0, np.float32)

    def initialize(self, ctx: NodeContext) -> None:
        self._ctx = ctx

    def process(self, data: RuntimeData) -> RuntimeData:
        sums = block_sums(data.as_tensor())
        number, self._number = self._number, self._number + 1
        boxes = self._find(sums, number)
        said: dict[str, Any] = {
            "frame": number,
            "time": data.timestamp_ns / 1e9,
            "boxes": [box._asdict() for box in boxes],
        }
        if number % self._every == 0:
            # The frame itself, unchanged: the node behind gets to see it, and draws into a copy of its own.
            seen = RuntimeData.tensor(data.as_tensor(), timestamp_ns=data.timestamp_ns, meta=said)
            self._ctx.emit("seen", seen)
        return RuntimeData.json(said, timestamp_ns=data.timestamp_ns)

    def _find(self, sums: Sums, number: int) -> list[Box]:
        if number < self._learn:
            if not number:
                self._scene = np.zeros_like(sums)
            self._scene += (sums - self._scene) / (number + 1)
            return []
        difference = sums - self._scene
        mask = (np.abs(difference) > self._threshold).any(axis=0)
        self._scene += difference * np.where(mask, 0, _FOLLOW)
        return boxes_of(mask, self._smallest)


def block_sums(frame: Frame) -> Sums:
    """The sum of each colour over each block: shape (3, rows, columns). Reads the frame once, whole rows at a time."""
    height, width, _ = frame.shape
    sums = frame.reshape(height // BLOCK, BLOCK, width * 3).sum(axis=1, dtype=np.uint16)
    step = 3  # neighbours of a colour are this far apart
    while step < 3 * BLOCK:
        sums = sums[:, :-step] + sums[:, step:]  # of two columns, of four, of eight
        step *= 2
    return np.stack([sums[:, color :: 3 * BLOCK] for color in range(3)]).astype(np.float32)


def boxes_of(mask: npt.NDArray[np.bool_], smallest: int) -> list[Box]:
    """The boxes around blocks that touch, from above to below; of things of at least `smallest` blocks.

    Works by runs of blocks, of which a thing has one or two a row: each joins the things that it touches in the row
    above, corners included.
    """
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    edges = np.diff(padded, axis=1)
    starts, ends = np.argwhere(edges == 1).tolist(), np.argwhere(edges == -1)[:, 1].tolist()
    done: list[list[int]] = []  # left, top, right, bottom, blocks
    above: list[tuple[int, int, list[int]]] = []
    here: list[tuple[int, int, list[int]]] = []
    row = -1
    for (y, left), right in zip(starts, ends, strict=True):
        if y != row:
            above, here, row = (here if y == row + 1 else []), [], y
        thing = [left, y, right, y + 1, right - left]
        for begin, end, other in above:
            if begin <= right and left <= end and other is not thing:
                _join(other, thing)
                done = [one for one in done if one is not other]
                here = [(a, b, thing if t is other else t) for a, b, t in here]
                above = [(a, b, thing if t is other else t) for a, b, t in above]
        here.append((left, right, thing))
        done.append(thing)
    return [
        Box(left * BLOCK, top * BLOCK, (right - left) * BLOCK, (bottom - top) * BLOCK)
        for left, top, right, bottom, blocks in sorted(done, key=lambda one: (one[1], one[0]))
        if blocks >= smallest
    ]


def _join(part: list[int], whole: list[int]) -> None:
    whole[:] = [
        min(part[0], whole[0]),
        min(part[1], whole[1]),
        max(part[2], whole[2]),
        max(part[3], whole[3]),
        part[4] + whole[4],
    ]


class Preview(Node):
    """Draws the boxes, makes the frame smaller by `shrink`, and keeps the latest as a PNG file."""

    inputs: ClassVar[Mapping[str, str]] = {"in": "tensor"}
    outputs: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *, path: Path, shrink: int = 4) -> None:
        self._path, self._shrink = path, shrink

    def process(self, data: RuntimeData) -> None:
        picture = data.as_tensor()[:: self._shrink, :: self._shrink].copy()
        boxes: Any = data.meta["boxes"]
        for box in boxes:
            draw(picture, Box(*(box[name] // self._shrink for name in Box._fields)))
        write_png(self._path, picture)


def draw(picture: Frame, box: Box) -> None:
    """The outline of a box, two pixels wide, inside of it."""
    area = picture[box.y : box.y + box.h, box.x : box.x + box.w]
    area[:2] = area[-2:] = area[:, :2] = area[:, -2:] = GREEN


def write_png(path: Path, picture: Frame) -> None:
    """An RGB picture as PNG; at `path` there is always a whole one."""
    height, width, _ = picture.shape
    rows = np.zeros((height, 1 + width * 3), np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = picture.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, and the only ways to pack there are
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b"")]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.writelines(_chunk(name, body) for name, body in chunks)
    os.replace(part, path)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
