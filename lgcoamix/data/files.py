"""Image files, brought to the network's input by the way that a store's test images took."""

import os
import stat
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
from preprocess.datasets.folder import images_in
from preprocess.errors import ImageError
from preprocess.images import decode, decode_without_banner, encode, fit


@dataclass(frozen=True)
class FileBatch:
    """Some image files.

    Parameters
    ----------
    places : (B,) numbers of the files.
    reasons : for each file why it cannot be used, or None.
    images : (n, 3, S, S) uint8 tensor of the n others, in their order.
    """

    places: tuple[int, ...]
    reasons: tuple[str | None, ...]
    images: torch.Tensor


class ImageFiles(Dataset):
    """Image files as a run's test images: decoded, stored, and shown through the test window.

    Parameters
    ----------
    paths : of the files; those that cannot be used are told from the others, and stop nothing.
    images : how the images of the store were made: ``images`` of its index.
    data : settings of the run.
    """

    def __init__(self, paths: Sequence[Path], images: Mapping[str, Any], data: DataSettings) -> None:
        self.paths, self.images, self.data = tuple(paths), dict(images), data

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, indices: Sequence[Index]) -> FileBatch:
        """Read files; an index is a place, or a pair (epoch, place)."""
        from lgcoamix.data.transforms import show_window  # as in dataset.py

        places = tuple(index[1] if isinstance(index, tuple) else index for index in indices)
        size, shown, reasons = self.data.image_size, [], []
        for place in places:
            try:
                stored = stored_pixels(self.paths[place], self.images)
            except OSError as error:
                reasons.append(f"cannot be read: {error.strerror or error}")
            except ImageError as error:
                reasons.append(str(error))
            else:
                window = fixed_windows(self.data, [stored.shape[:2]])[0]
                shown.append(show_window(stored, window, size))
                reasons.append(None)
        pixels = np.stack(shown) if shown else np.empty((0, size, size, 3), np.uint8)
        return FileBatch(places, tuple(reasons), torch.from_numpy(pixels).permute(0, 3, 1, 2))


def stored_pixels(path: Path, images: Mapping[str, Any]) -> np.ndarray:
    """What a store would give for an image file.

    Parameters
    ----------
    path : of the file.
    images : ``images`` of the store's index: size, resize, codec, and quality and banner where they matter.

    Returns
    -------
    (H, W, 3) uint8 array.

    Raises
    ------
    ImageError : not usable as an image.
    OSError : not readable as a file.
    """
    data, banner = _read_bytes(path), images.get("banner", 0)
    image = decode_without_banner(data, banner)
    size, resize = images["size"], images["resize"]
    if images["codec"] != "jpeg":  # raw pixels and PNG lose nothing
        return fit(image, size, resize)
    coded, _ = encode(image, b"" if banner else data, size, resize, "jpeg", images["quality"])
    return np.asarray(decode(coded))


def find_images(paths: Iterable[Path]) -> list[Path]:
    """The given files, and all image files below the given folders by their names' ends, each once.

    Raises
    ------
    OSError : a folder cannot be read.
    """
    found: dict[str, Path] = {}
    for path in paths:
        # Not the method of Path: it raises where the system does not let us look, and one path must not stop others.
        for image in images_in(path) if os.path.isdir(path) else [path]:  # noqa: PTH112
            found.setdefault(os.path.abspath(image), image)  # noqa: PTH100 - links are kept apart, ".." is resolved
    return list(found.values())


def _read_bytes(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        raise ImageError("not a regular file")  # a pipe or a device may never end
    return path.read_bytes()
