"""The embedded demo set: beetles on clutter. Needs no download, always comes out the same.

All beetles share one body; colours, pose and background say nothing about the class. The class is a combination of
three small parts (horns, wing pattern, tail), and the background is littered with the same shapes, so a classifier
has to find the parts *on the beetle*: fine-grained recognition in small.
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import draw
from skimage.transform import resize

from preprocess.datasets.base import Adapter, Listing
from preprocess.datasets.folder import find_folder

SIZE = 80
PER_CLASS = {"train": 80, "test": 40}
_HORNS = ("forked", "plain")
_WINGS = ("banded", "spotted")
_TAILS = ("long", "split")
CLASSES = tuple("-".join(parts) for parts in itertools.product(_HORNS, _WINGS, _TAILS))
_FINE = 2 * SIZE  # drawn at twice the size, then halved: smooth edges


def find_demo(root: Path) -> Listing:
    """List the generated set: :func:`create_demo` makes it."""
    return find_folder(root)


def create_demo(root: Path) -> None:
    """Write the set as PNG files under ``root/train`` and ``root/test``; nothing is left after a break."""
    aside = root.with_name(f".{root.name}.{os.getpid()}.tmp")
    try:
        for split, label, index in demo_samples():
            path = aside / split / CLASSES[label] / f"{index:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw_beetle(split, label, index)).save(path)
        root.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(root)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def demo_samples() -> Iterator[tuple[str, int, int]]:
    """Yield (split, label, index) of every picture."""
    for split, count in PER_CLASS.items():
        yield from ((split, label, index) for label in range(len(CLASSES)) for index in range(count))


def draw_beetle(split: str, label: int, index: int) -> np.ndarray:
    """Draw one picture.

    Returns
    -------
    (SIZE, SIZE, 3) uint8 array, a function of the arguments alone.
    """
    random = np.random.default_rng([sorted(PER_CLASS).index(split), label, index])
    picture = _background(random)
    _beetle(picture, random, CLASSES[label].split("-"))
    picture = resize(picture, (SIZE, SIZE), anti_aliasing=True)
    picture += random.normal(0, 0.02, picture.shape)
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def _background(random: np.random.Generator) -> np.ndarray:
    """Smooth colour clouds, littered with leaves and with the very shapes that distinguish the classes."""
    picture = resize(random.uniform(0.1, 0.9, (5, 5, 3)), (_FINE, _FINE), order=3, mode="reflect")
    for _ in range(14):
        middle, angle, size = random.uniform(0, _FINE, 2), random.uniform(0, 2 * np.pi), random.uniform(8, 22)
        leaf = [(size * np.cos(turn), 0.4 * size * np.sin(turn)) for turn in np.linspace(0, 2 * np.pi, 12)]
        shape = (leaf, _BAND, _SPOT, _PRONG)[random.integers(4)]
        scale = 1.0 if shape is leaf else size / 8
        _polygon(picture, np.asarray(shape) * scale, middle, angle, random.uniform(0, 1, 3))
    return picture


_BAND = [(-3, -13), (3, -13), (3, 13), (-3, 13)]
_SPOT = [(5 * np.sin(turn), 5 * np.cos(turn)) for turn in np.linspace(0, 2 * np.pi, 10)]
_PRONG = [(0, -2.5), (20, -1), (20, 1), (0, 2.5)]


def _beetle(picture: np.ndarray, random: np.random.Generator, parts: list[str]) -> None:
    """Draw the body and its three parts; the body's axis is x, the head at positive x."""
    horns, wings, tail = parts
    middle = _FINE / 2 + random.uniform(-20, 20, 2)
    angle, scale = random.uniform(0, 2 * np.pi), random.uniform(0.85, 1.25)
    body, mark = _two_colours(random)

    def add(points: list[tuple[float, float]], shift: tuple[float, float], turn: float, colour: np.ndarray) -> None:
        cos, sin = np.cos(turn), np.sin(turn)
        local = np.asarray(points) @ np.array([[cos, sin], [-sin, cos]]) + shift
        _polygon(picture, local * scale, middle, angle, colour)

    ellipse = [(np.cos(turn), np.sin(turn)) for turn in np.linspace(0, 2 * np.pi, 40)]
    for side in (-1, 1):
        for x in (-16, 2, 20):
            add(_PRONG, (x, side * 14), side * np.pi / 2, body * 0.6)
    for turn in {"forked": (-0.6, 0.6), "plain": (0.0,)}[horns]:
        add(_PRONG, (40, 0), turn, mark)
    for turn in {"split": (np.pi - 0.5, np.pi + 0.5), "long": (np.pi,)}[tail]:
        add(_PRONG, (-36, 0), turn, mark)
    add([(40 * x, 20 * y) for x, y in ellipse], (0, 0), 0, body)
    add([(11 * x, 12 * y) for x, y in ellipse], (36, 0), 0, body * 0.8)
    if wings == "banded":
        add(_BAND, (8, 0), 0, mark)
        add(_BAND, (-14, 0), 0, mark)
    else:
        for x, side in itertools.product((10, -14), (-1, 1)):
            add(_SPOT, (x, side * 8), 0, mark)


def _two_colours(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two colours that differ in lightness, in random order of light and dark."""
    dark, light = random.uniform(0, 0.35, 3), random.uniform(0.6, 1, 3)
    return (dark, light) if random.random() < 0.5 else (light, dark)


def _polygon(picture: np.ndarray, points: np.ndarray, middle: np.ndarray, angle: float, colour: np.ndarray) -> None:
    cos, sin = np.cos(angle), np.sin(angle)
    turned = points @ np.array([[cos, sin], [-sin, cos]]) + middle
    rows, columns = draw.polygon(turned[:, 1], turned[:, 0], picture.shape[:2])
    picture[rows, columns] = colour


DEMO = Adapter(
    summary="generated beetles, 8 classes that differ in small parts; needs no download",
    find=find_demo,
    size=SIZE,
    # 30 to 40 superpixels on the 64x64 crop, times (80/64)².
    segments="47:62",
    create=create_demo,
)
