"""The generated demo set: beetles on clutter, deterministic, without a download.

All beetles share one body; colours, pose and background carry no class information. The class is a combination of two
parts (wing pattern and horns). The same shapes litter the background, so a classifier must find the parts *on the
beetle*, as in fine-grained recognition.
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from preprocess import interrupt
from preprocess.datasets.base import Adapter
from preprocess.datasets.folder import find_folder

SIZE = 80
PER_CLASS = {"train": 80, "test": 40}
_WINGS = ("banded", "plain", "spotted", "striped")
_HORNS = ("forked", "single")
CLASSES = tuple("-".join(parts) for parts in itertools.product(_WINGS, _HORNS))
_FINE = 2 * SIZE  # drawn at twice the size, then halved for smooth edges


def create_demo(root: Path) -> None:
    """Write the set as PNG files under ``root/train`` and ``root/test``; an interrupted run leaves nothing behind."""
    aside = root.with_name(f".{root.name}.{os.getpid()}.tmp")

    def remove() -> None:
        shutil.rmtree(aside, ignore_errors=True)

    with interrupt.undoing(remove):
        try:
            for split, label, index in demo_samples():
                path = aside / split / CLASSES[label] / f"{index:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draw_beetle(split, label, index)).save(path)
            root.parent.mkdir(parents=True, exist_ok=True)
            aside.rename(root)
        finally:
            remove()


def demo_samples() -> Iterator[tuple[str, int, int]]:
    """Yield (split, label, index) of every image."""
    for split, count in PER_CLASS.items():
        yield from ((split, label, index) for label in range(len(CLASSES)) for index in range(count))


def draw_beetle(split: str, label: int, index: int) -> np.ndarray:
    """Draw one image.

    Returns
    -------
    (SIZE, SIZE, 3) uint8 array that depends only on the arguments.
    """
    random = np.random.default_rng([sorted(PER_CLASS).index(split), label, index])
    picture = _background(random)
    _beetle(picture, random, *CLASSES[label].split("-"))
    small = Image.fromarray(_to_bytes(picture)).reduce(_FINE // SIZE)
    return _to_bytes(np.asarray(small) / 255 + random.normal(0, 0.02, (SIZE, SIZE, 3)))


# Shapes as (x, y) corners, in pixels of the fine image.
_SPOT = [(6 * np.cos(turn), 6 * np.sin(turn)) for turn in np.linspace(0, 2 * np.pi, 12)]
_BAND = [(-4, -16), (4, -16), (4, 16), (-4, 16)]
_STRIPE = [(-24, -3), (24, -3), (24, 3), (-24, 3)]
_HORN = [(0, -4), (26, -2), (26, 2), (0, 4)]
_LEG = [(0, -2), (18, -1), (18, 1), (0, 2)]
_MARKS = {
    "banded": [(_BAND, (12, 0)), (_BAND, (-12, 0))],
    "plain": [],
    "spotted": [(_SPOT, (x, y)) for x in (14, -14) for y in (-8, 8)],
    "striped": [(_STRIPE, (0, -7)), (_STRIPE, (0, 7))],
}
_TURNS = {"forked": (-0.6, 0.6), "single": (0.0,)}


def _background(random: np.random.Generator) -> np.ndarray:
    """Smooth colour clouds, littered with leaves and with the very shapes that distinguish the classes."""
    clouds = Image.fromarray(_to_bytes(random.uniform(0.1, 0.9, (5, 5, 3))))
    picture = np.asarray(clouds.resize((_FINE, _FINE), Image.Resampling.BICUBIC)) / 255
    shapes = ([(3 * x, y) for x, y in _SPOT], _SPOT, _BAND, _STRIPE, _HORN)
    for _ in range(10):
        shape = np.asarray(shapes[random.integers(len(shapes))]) * random.uniform(0.8, 1.4)
        _polygon(picture, shape, random.uniform(0, _FINE, 2), random.uniform(0, 2 * np.pi), random.uniform(0, 1, 3))
    return picture


def _beetle(picture: np.ndarray, random: np.random.Generator, wings: str, horns: str) -> None:
    """Draw the body and its parts. The body's axis is x with the head at positive x, rotated to point upwards."""
    middle = _FINE / 2 + random.uniform(-14, 14, 2)
    angle, scale = -np.pi / 2 + random.uniform(-0.5, 0.5), random.uniform(1.0, 1.3)
    body, mark = _two_colours(random)

    def add(points: list[tuple[float, float]], shift: tuple[float, float], turn: float, colour: np.ndarray) -> None:
        _polygon(picture, (_turn(points, turn) + shift) * scale, middle, angle, colour)

    ellipse = [(np.cos(turn), np.sin(turn)) for turn in np.linspace(0, 2 * np.pi, 40)]
    for side, x in itertools.product((-1, 1), (-16, 2, 20)):
        add(_LEG, (x, side * 16), side * np.pi / 2, body * 0.6)
    for turn in _TURNS[horns]:
        add(_HORN, (38, 0), turn, mark)
    add([(38 * x, 20 * y) for x, y in ellipse], (0, 0), 0, body)
    add([(11 * x, 12 * y) for x, y in ellipse], (36, 0), 0, body * 0.8)
    for shape, place in _MARKS[wings]:
        add(shape, place, 0, mark)


def _two_colours(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two colours that differ in lightness, in random order of light and dark."""
    dark, light = random.uniform(0, 0.35, 3), random.uniform(0.6, 1, 3)
    return (dark, light) if random.random() < 0.5 else (light, dark)


def _turn(points: list[tuple[float, float]] | np.ndarray, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(points) @ np.array([[cos, sin], [-sin, cos]])


def _polygon(picture: np.ndarray, points: np.ndarray, middle: np.ndarray, angle: float, colour: np.ndarray) -> None:
    from skimage.draw import polygon

    x, y = (_turn(points, angle) + middle).T
    rows, columns = polygon(y, x, picture.shape[:2])
    picture[rows, columns] = colour


def _to_bytes(picture: np.ndarray) -> np.ndarray:
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


DEMO = Adapter(
    summary="generated beetles that differ in two parts; needs no download",
    find=find_folder,
    layout="{train/<class>/, test/<class>/}",
    source="generated",
    licence="MIT, like this project",
    counts={split: count * len(CLASSES) for split, count in PER_CLASS.items()},
    classes=len(CLASSES),
    size=SIZE,
    # 30 to 40 superpixels per 64x64 crop, times (80/64)².
    segments="47:62",
    create=create_demo,
)
