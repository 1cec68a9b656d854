"""Crops: which part of a stored image is shown, and whether it is mirrored. Both loaders use these draws."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lgcoamix.settings.sections import DataSettings

_ATTEMPTS = 10
DRAWS = 3 + 2 * _ATTEMPTS  # uniform numbers per sample: flip, top, left, then area and ratio for each attempt

Window = tuple[int, int, int, int, bool]  # top, left, height, width, flip


@dataclass(frozen=True)
class Windows:
    """One window for each of B samples: to be cropped, resized to the input size, then mirrored.

    Parameters
    ----------
    top, left, height, width : (B,) int64 arrays, in stored pixels; only a window that is not resized may extend
        beyond its image.
    flip : (B,) bool array: whether to mirror left and right.
    """

    top: np.ndarray
    left: np.ndarray
    height: np.ndarray
    width: np.ndarray
    flip: np.ndarray

    def __len__(self) -> int:
        return len(self.flip)

    def __getitem__(self, index: int) -> Window:
        """Return top, left, height, width and flip of one sample."""
        numbers = (int(values[index]) for values in (self.top, self.left, self.height, self.width))
        return *numbers, bool(self.flip[index])

    def __iter__(self) -> Iterator[Window]:
        parts = (self.top, self.left, self.height, self.width, self.flip)
        return zip(*(values.tolist() for values in parts), strict=True)


@dataclass(frozen=True)
class View:
    """How every image is cropped in a pass over the data.

    Parameters
    ----------
    settings : kind of window.
    train : random windows and mirroring; False: the evaluation protocol.

    Raises
    ------
    ValueError : an argument of another kind.

    Examples
    --------
    >>> from lgcoamix import DataSettings, View
    >>> view = View(DataSettings(image_size=12, test="center"), train=False)
    >>> view.windows([(16, 16)], uniforms=None)[0]  # top, left, height, width, flip
    (2, 2, 12, 12, False)
    """

    settings: DataSettings
    train: bool

    def __post_init__(self) -> None:
        if not isinstance(self.settings, DataSettings) or not isinstance(self.train, bool):
            raise ValueError(f"a view must be as View(DataSettings(image_size=64), train=True), got {self!r:.200}")

    @property
    def size(self) -> int:
        """Side of the crop after resizing, in pixels."""
        return self.settings.image_size

    @property
    def resizes(self) -> bool:
        """Whether every window is resized to the input size."""
        return self.settings.crop == "resized" if self.train else self.settings.test == "resize"

    @property
    def border(self) -> int:
        """How far a window may extend beyond its image, in pixels."""
        return self.settings.border if self.train else 0

    def windows(self, sizes: Sequence[tuple[int, int]], uniforms: np.ndarray) -> Windows:
        """Choose one window per image; see :func:`draw_windows`."""
        return draw_windows(self.settings, sizes, uniforms) if self.train else fixed_windows(self.settings, sizes)


def draw_windows(
    settings: DataSettings, sizes: Sequence[tuple[int, int]] | np.ndarray, uniforms: np.ndarray
) -> Windows:
    """Choose training windows: random crops and flips.

    Parameters
    ----------
    settings : kind of window.
    sizes : (height, width) of each stored image.
    uniforms : (B, DRAWS) float64 array of draws in [0, 1).
    """
    sizes = np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
    if settings.crop == "resized":
        sides = _resized_sides(settings, sizes, uniforms[:, 3:])
    else:
        sides = np.full_like(sizes, settings.image_size)
    room = sizes + 2 * settings.border
    corners = np.floor(uniforms[:, 1:3] * (room - sides + 1)).astype(np.int64) - settings.border
    return Windows(corners[:, 0], corners[:, 1], sides[:, 0], sides[:, 1], uniforms[:, 0] < settings.flip)


def fixed_windows(settings: DataSettings, sizes: Sequence[tuple[int, int]] | np.ndarray) -> Windows:
    """Choose evaluation windows: the full image, or its centre. Nothing is random."""
    sizes = np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
    sides = sizes if settings.test == "resize" else np.full_like(sizes, settings.image_size)
    corners = (sizes - sides) // 2
    return Windows(corners[:, 0], corners[:, 1], sides[:, 0], sides[:, 1], np.zeros(len(sizes), dtype=bool))


def _resized_sides(settings: DataSettings, sizes: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Choose (B, 2) heights and widths: area and ratio are drawn until the window fits, at most ten times.

    If none fits, take the largest window of an allowed ratio.
    """
    low, high = settings.scale
    least, most = np.log(settings.ratio)
    areas = (low + (high - low) * uniforms[:, 0::2]) * sizes.prod(axis=1, keepdims=True)
    ratios = np.exp(least + (most - least) * uniforms[:, 1::2])
    tries = np.rint(np.stack([np.sqrt(areas / ratios), np.sqrt(areas * ratios)], axis=2)).astype(np.int64)
    fits = ((tries > 0) & (tries <= sizes[:, None])).all(axis=2)
    chosen = tries[np.arange(len(tries)), fits.argmax(axis=1)]
    shape = np.clip(sizes[:, 1] / sizes[:, 0], *settings.ratio)
    largest = np.stack([np.minimum(sizes[:, 0], np.rint(sizes[:, 1] / shape)), np.rint(sizes[:, 0] * shape)], axis=1)
    largest = np.clip(largest, 1, sizes).astype(np.int64)
    return np.where(fits.any(axis=1)[:, None], chosen, largest)
