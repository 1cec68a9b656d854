"""Image files as inputs of a network, prepared exactly like the test images of its store."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from lgcoamix.data.dataset import Index
from lgcoamix.data.windows import fixed_windows
from lgcoamix.settings.sections import DataSettings
from preprocess.datasets.tree import images_in
from preprocess.errors import ImageError
from preprocess.images import LARGEST_FILE, decode, encode, fit
from preprocess.inputs import read_regular


@dataclass(frozen=True)
class FileBatch:
    """A batch of B image files."""

    places: tuple[int, ...]  # positions of the files in the list
    reasons: tuple[str | None, ...]  # why a file cannot be used, or None
    images: torch.Tensor  # (n, 3, S, S) uint8: the n usable files, in order


class ImageFiles(Dataset):
    """Image files treated like a run's test images: decoded, resized and coded as in the store, then cropped.

    Parameters
    ----------
    paths : the files; unusable ones are reported and do not stop the others.
    images : how the images of the store were made: ``images`` in its index.
    data : settings of the run.
    """

    def __init__(self, paths: Sequence[Path], images: Mapping[str, Any], data: DataSettings) -> None:
        self.paths, self.images, self.data = tuple(paths), dict(images), data

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, indices: Sequence[Index]) -> FileBatch:
        """Read files; an index is a position, or a pair (epoch, position)."""
        from lgcoamix.data.transforms import show_window  # as in dataset.py

        positions = tuple(index[1] if isinstance(index, tuple) else index for index in indices)
        size, shown, reasons = self.data.image_size, [], []
        for position in positions:
            try:
                stored = stored_pixels(self.paths[position], self.images)
            except OSError as error:
                reasons.append(f"cannot be read: {error.strerror or error}")
            except ImageError as error:
                reasons.append(str(error))
            else:
                window = fixed_windows(self.data, [stored.shape[:2]])[0]
                shown.append(show_window(stored, window, size))
                reasons.append(None)
        pixels = np.stack(shown) if shown else np.empty((0, size, size, 3), np.uint8)
        return FileBatch(positions, tuple(reasons), torch.from_numpy(pixels).permute(0, 3, 1, 2))


def stored_pixels(path: Path, images: Mapping[str, Any]) -> np.ndarray:
    """Compute the pixels that a store would hold for an image file.

    Parameters
    ----------
    images : ``images`` in the store's index: size, resize, codec, and quality and banner where they apply.

    Returns
    -------
    (H, W, 3) uint8 array.

    Raises
    ------
    ImageError : the file is not a usable image.
    OSError : the file cannot be read, is not a regular file or is too large to be an image.
    """
    data, banner = read_regular(path, LARGEST_FILE), images.get("banner", 0)
    image = decode(data, banner)
    size, resize = images["size"], images["resize"]
    if images["codec"] != "jpeg":  # raw pixels and PNG are lossless
        return fit(image, size, resize)
    coded, _ = encode(image, b"" if banner else data, size, resize, "jpeg", images["quality"])
    return np.asarray(decode(coded))


def find_images(paths: Iterable[Path]) -> list[Path]:
    """List the given files, and all images below the given folders, each once.

    Raises
    ------
    OSError, DatasetError : as for :func:`preprocess.datasets.tree.walk`.
    """
    found: dict[str, Path] = {}
    for path in paths:
        # Path.is_dir raises where access is denied, and one path must not stop the others.
        for image in images_in(path) if os.path.isdir(path) else [path]:  # noqa: PTH112
            found.setdefault(os.path.abspath(image), image)  # noqa: PTH100 - resolves "..", keeps links
    return list(found.values())
