"""What is raced over: photographs with superpixel maps in our store, and the same bytes for every peer."""

import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from preprocess.store import Store

# Images and maps as they are stored. Only raw and jpeg are ours; plain takes most space and no decoding at all.
FORMS = {
    "raw": "raw pixels, deflated maps",
    "jpeg": "JPEG, deflated maps",
    "plain": "raw pixels, raw maps",
}
SIZE, SHOWN, BATCH = 256, 224, 64
_CLASSES = 17
_PROBES = ((0, 0), (50, 200), (111, 7), (223, 90), (180, 180), (30, 120))  # pixels of a crop, looked at first


def build(home: Path, pictures: np.ndarray) -> None:
    """Build our stores of (n, SIZE, SIZE, 3) uint8 pictures: HOME/raw/ours and HOME/jpeg/ours."""
    for number, picture in enumerate(pictures):
        path = home / "png" / "train" / f"class{number % _CLASSES:02d}" / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture[..., ::-1])
    build = [sys.executable, "-m", "preprocess", "build", "folder", "--root", str(home / "png"), "--size", str(SIZE)]
    for codec in ("raw", "jpeg"):
        out = home / codec / "ours" / "store.h5"
        subprocess.run(
            [*build, "--codec", codec, "--segments", "40", "--out", str(out)], check=True, capture_output=True
        )


@dataclass(frozen=True)
class Samples:
    """The samples of a form: pairs of bytes, with a label.

    Parameters
    ----------
    home : where our stores are.
    form : of FORMS.
    """

    home: Path
    form: str

    @property
    def store(self) -> Store:
        return Store(self.home / ("jpeg" if self.form == "jpeg" else "raw") / "ours" / "store.h5")

    def __iter__(self) -> Iterator[tuple[bytes, bytes, int]]:
        store = self.store
        for number, label in enumerate(store.labels("train").tolist()):
            image = store.codes if self.form == "jpeg" else store.images
            ids = store.maps("train", store.scales[0].segments, [number])[0].tobytes()
            # Level 6 as in our store. Of 256 x 256 ids: 2.9 kB in 82 us, as PNG 3.2 kB in 205 us.
            packed = ids if self.form == "plain" else zlib.compress(ids, 6)
            yield bytes(image("train", [number])[0]), packed, label


def decode_image(form: str, code: bytes | memoryview) -> np.ndarray:
    """Image of a sample: (SIZE, SIZE, 3) uint8 RGB."""
    flat = np.frombuffer(code, np.uint8)
    # Decoded to RGB at once; no orientation is looked for, of which the files say nothing.
    return (
        cv2.imdecode(flat, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
        if form == "jpeg"
        else flat.reshape(SIZE, SIZE, 3)
    )


def decode_ids(form: str, code: bytes | memoryview) -> np.ndarray:
    """Map of a sample: (SIZE, SIZE) uint8."""
    flat = code if form == "plain" else zlib.decompress(code, bufsize=SIZE * SIZE)
    return np.frombuffer(flat, np.uint8).reshape(SIZE, SIZE)


@dataclass(frozen=True)
class Check:
    """Finds what a peer shows among the stored pictures.

    Parameters
    ----------
    pictures : (n, SIZE, SIZE, 3) uint8, decoded.
    maps : (n, SIZE, SIZE) uint8.
    labels : (n,) int64.
    """

    pictures: np.ndarray
    maps: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, samples: Samples) -> "Check":
        """What our store gives."""
        store = samples.store
        labels = store.labels("train")
        every = range(len(labels))
        return cls(store.images("train", every), store.maps("train", store.scales[0].segments, every), labels)

    def __call__(self, images: np.ndarray, maps: np.ndarray, labels: np.ndarray) -> None:
        """Check some samples of a batch, and the labels of its epoch.

        Parameters
        ----------
        images, maps : (B, 3, SHOWN, SHOWN) and (B, SHOWN, SHOWN) uint8.
        labels : (n,) of all samples in the order of the epoch, those of the batch first.

        Raises
        ------
        ValueError : a crop and its map are not one window of one picture of the class, windows or flips are always the
            same, or an epoch shows other samples than all of them once.
        """
        if not np.array_equal(np.sort(labels), np.sort(self.labels)):
            raise ValueError(f"expected each of {len(self.labels)} samples once in an epoch, got {len(labels)} samples")
        windows = [self._find(*sample) for sample in zip(images, maps, labels[: len(images)], strict=True)]
        for name, values in zip(("tops", "lefts", "flips"), zip(*windows, strict=True), strict=True):
            if len(set(values)) == 1:
                raise ValueError(f"expected random {name}, got {values[0]} in all of {len(windows)} samples")

    def _find(self, image: np.ndarray, ids: np.ndarray, label: int) -> tuple[int, int, bool]:
        """Find the window of a crop and its map: top, left, flip."""
        image, room = image.transpose(1, 2, 0), SIZE - SHOWN + 1
        for number in np.flatnonzero(self.labels == label):
            for flip, crop, cut in ((False, image, ids), (True, image[:, ::-1], ids[:, ::-1])):
                fits = np.ones((room, room), bool)
                for y, x in _PROBES:
                    fits &= (self.pictures[number, y : y + room, x : x + room] == crop[y, x]).all(axis=2)
                for top, left in np.argwhere(fits).tolist():
                    window = np.s_[number, top : top + SHOWN, left : left + SHOWN]
                    if np.array_equal(self.pictures[window], crop) and np.array_equal(self.maps[window], cut):
                        return top, left, flip
        raise ValueError(f"a crop of class {label} and its map are no window of any picture of the class")
