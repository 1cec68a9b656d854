"""Live maps: DataLoader workers segment every crop, as the published code does, and read no stored maps."""

from collections.abc import Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np

from lgcoamix.data.augment import Augment
from lgcoamix.data.dataset import Draws, SuperpixelDataset
from lgcoamix.data.windows import View, Window
from lgcoamix.errors import RunError
from preprocess.store import Store


class LiveDataset(SuperpixelDataset):
    """The samples of a :class:`SuperpixelDataset`, but each crop is segmented instead of cropping the stored map.

    Images, windows and drawn scales are the same. Algorithm and compactness are those of the store's chosen
    superpixels; the store need not hold their maps.

    Parameters
    ----------
    store, split, view, seed, subset, augment : see :class:`SuperpixelDataset`; without view and augmentation, live maps
        equal the stored ones.

    Raises
    ------
    ValueError : the images have different sizes, and the view does not resize them.
    RunError : this program does not have the algorithm.

    Notes
    -----
    The requested number of segments is that of the scale times the window's share of the stored image's area, rounded,
    at least 1: superpixels are about as large as the stored ones. If a window extends beyond the image, only the part
    inside counts and is segmented. A map is a function of image, window and scale. With ``augment``, the augmented crop
    is segmented, all of it, and pixels that come from outside the image then lose their ids: the superpixels are those
    of what the network sees.

    Examples
    --------
    >>> from lgcoamix import DataSettings, LiveDataset, View
    >>> view = View(DataSettings(image_size=12, crop="random"), train=True)
    >>> batch = LiveDataset("data/cub.h5", "train", view, seed=0).__getitems__([(0, 0), (0, 1)])
    >>> batch.images.shape, batch.maps.shape
    (torch.Size([2, 3, 12, 12]), torch.Size([2, 12, 12]))
    """

    def __init__(
        self,
        store: Store | str | PathLike[str],
        split: str = "train",
        view: View | None = None,
        seed: int = 0,
        subset: np.ndarray | None = None,
        augment: Augment | str | Path | None = None,
    ) -> None:
        from preprocess.superpixels import ALGORITHMS

        super().__init__(store, split, view, seed, maps=True, subset=subset, augment=augment)
        if self.store.superpixels.algorithm not in ALGORITHMS:
            raise RunError(
                f"{self.store.path} names the superpixel algorithm {self.store.superpixels.algorithm!r}, which this "
                f"program does not have ({', '.join(ALGORITHMS)}); train on the stored maps"
            )
        if not self.store.uniform and not (view and view.resizes):
            raise ValueError(
                f"the images of {self.store.path} have different sizes; live maps of them need data.crop=resized and "
                "data.test=resize"
            )
        self._cut(np.zeros((8, 8, 3), np.uint8), 1)  # here, not in a worker, a package is missing that segments

    @cached_property
    def count(self) -> int:
        """K_half: the algorithm's bound on the ids, over every shape and number of segments that can occur.

        Live maps cannot be counted in advance. For SLIC the bound is about twice the segments: it merges only pieces
        smaller than half of the mean area.
        """
        from preprocess.superpixels import ALGORITHMS

        largest_id = ALGORITHMS[self.store.superpixels.algorithm].largest_id
        asked = set().union(*(_askable(self.store.size, self.view, scale.segments) for scale in self.store.scales))
        if self.augment is not None and self.view is not None and not self.view.resizes:  # windows with their border
            side, size = self.view.size, self.store.size
            asked |= {((side, side), _share(scale.segments, side * side, (size, size))) for scale in self.store.scales}
        return 1 + max(largest_id(shape, segments) for shape, segments in asked)

    def shown(self, draws: Draws) -> tuple[np.ndarray, list[np.ndarray]]:
        """Read and crop images, and segment each crop."""
        sizes = self.store.sizes(self.split, draws.samples).tolist()
        if self.view is None:
            images, windows = self.store.images(self.split, draws.samples), [(0, 0, *size, False) for size in sizes]
        else:
            windows = list(self.view.windows(sizes, draws.uniforms))
            images, _ = self.show(self.store.each_image(self.split, draws.samples), None, windows)
        segments = [self.store.scales[scale].segments for scale in draws.scales]
        if self.augment is None:
            return images, [self._segment(images[i], sizes[i], windows[i], segments[i]) for i in range(len(images))]
        return self._augmented(images, sizes, windows, segments, draws)

    def _augmented(
        self,
        images: np.ndarray,
        sizes: Sequence[tuple[int, int]],
        windows: Sequence[Window],
        segments: Sequence[int],
        draws: Draws,
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Augment crops, then segment all of each; what comes from outside the image gets no id."""
        outside = []
        for image, size, window in zip(images, sizes, windows, strict=True):
            outside.append(np.ones(image.shape[:2], np.uint8))
            inside, area = _inside(size, window)
            outside[-1][inside] = 0 if area else 1
        images, outside = self.augment.batch(images, outside, 1, draws.augment)
        dtype, maps = np.min_scalar_type(self.count), []
        for image, size, window, wanted, masked in zip(images, sizes, windows, segments, outside, strict=True):
            ids = self._cut(image, _share(wanted, window[2] * window[3], size)).astype(dtype)
            maps.append(np.where(masked == 0, ids, np.iinfo(dtype).max).astype(dtype))
        return images, maps

    def _segment(self, image: np.ndarray, size: tuple[int, int], window: Window, segments: int) -> np.ndarray:
        """Segment the (H, W, 3) uint8 crop of an image of this size; only a window inside the image is resized.

        Returns (H, W) ids in the smallest dtype that holds ``count``; its highest value marks pixels outside the image.
        """
        inside, area = _inside(size, window)
        dtype = np.min_scalar_type(self.count)
        ids = np.full(image.shape[:2], np.iinfo(dtype).max, dtype)
        if area:
            ids[inside] = self._cut(np.ascontiguousarray(image[inside]), _share(segments, area, size))
        return ids

    def _cut(self, image: np.ndarray, segments: int) -> np.ndarray:
        # Imported here: stored maps need no algorithm.
        from preprocess.superpixels import ALGORITHMS

        superpixels = self.store.superpixels
        ids = ALGORITHMS[superpixels.algorithm].segment(image, (segments,), superpixels.compactness)[0]
        if not 0 <= ids.min() <= ids.max() < self.count:
            raise RunError(
                f"{superpixels.algorithm} returned ids {ids.min()} to {ids.max()} for {segments} segments of a "
                f"{image.shape[0]}x{image.shape[1]} image, but its largest_id promises ids below {self.count}; "
                "fix largest_id"
            )
        return ids


def _inside(size: tuple[int, int], window: Window) -> tuple[tuple[slice, slice], int]:
    """Which part of a crop shows the image, and the number of stored pixels there."""
    top, left, height, width, flip = window
    rows, columns = (max(0, -top), min(height, size[0] - top)), (max(0, -left), min(width, size[1] - left))
    if flip:
        columns = width - columns[1], width - columns[0]
    area = max(0, rows[1] - rows[0]) * max(0, columns[1] - columns[0])
    return (np.s_[:, :] if area == height * width else np.s_[slice(*rows), slice(*columns)]), area


def _share(segments: int, area: int, size: tuple[int, int]) -> int:
    """Number of segments to request for a part of a stored image."""
    return max(1, round(segments * area / (size[0] * size[1])))


def _askable(size: int | None, view: View | None, segments: int) -> set[tuple[tuple[int, int], int]]:
    """Every (shape, number of segments) that a window of this view can request."""
    if view is None:
        return {((size, size), segments)}
    side = view.size
    if view.resizes:
        return {((side, side), count) for count in range(1, segments + 1)}
    inside = range(max(1, min(size, side - view.border)), min(size, side) + 1)
    return {((height, width), _share(segments, height * width, (size, size))) for height in inside for width in inside}
