"""SLIC superpixels (Achanta et al., 2012, doi:10.1109/TPAMI.2012.120), faster, with scikit-image's labels.

:mod:`preprocess.superpixels.slic_kernel` holds the compiled part and explains why its labels are exact. Calls outside
the proven range are handed over to scikit-image, so the labels always equal those of ``skimage.segmentation.slic``.
"""

import math
import platform
import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from numbers import Real
from typing import Any

import numpy as np

from preprocess.extras import required
from preprocess.superpixels.algorithm import Algorithm
from preprocess.superpixels.scales import seed_grid

# The error bounds of the kernel are proven for these ranges only.
_COMPACTNESS = (1e-3, 1e5)
_MOST_PIXELS = 2**23
_MOST_SEEDS = 2**15 - 1
_LEAST_WINDOW = 4  # windows of fewer pixels cover so little of a tile that the plain loops are faster
_LEAST, _MOST = 0.5, 3  # sizes of connected components: times the mean seed area
# scikit-image versions with the same loops; test_slic_identity.py compares the kernel with the installed one.
_TESTED = ("0.25", "0.26")
# Where scikit-image's wheels round every product and every sum, as the kernel does, and the labels have been compared.
# The wheels for macOS on arm64 ("arm64") fuse the square of each colour difference with their sum. Those for Linux
# ("aarch64") round alike, but nobody has compared the labels there.
_PROCESSORS = ("x86_64", "amd64")


def slic(
    image: np.ndarray,
    n_segments: int = 100,
    compactness: float = 10.0,
    max_num_iter: int = 10,
    sigma: float | Iterable[float] = 0,
    spacing: Iterable[float] | None = None,
    convert2lab: bool | None = None,
    enforce_connectivity: bool = True,
    min_size_factor: float = 0.5,
    max_size_factor: float = 3,
    slic_zero: bool = False,
    start_label: int = 0,
    mask: np.ndarray | None = None,
    *,
    channel_axis: int | None = -1,
) -> np.ndarray:
    """Segment an image into superpixels of similar colour.

    A call that is written for ``skimage.segmentation.slic`` works unchanged, with the same labels, errors and warnings.
    One default differs: ids start from 0 here and from 1 there.

    Parameters
    ----------
    image : (H, W, 3) uint8 array, RGB, whose channels may be another axis. Other images (float, grey, volumes) are
        handed over to scikit-image.
    n_segments : target number of superpixels, at least 1; SLIC may return fewer or more.
    compactness : weight of spatial against colour distance, positive. Larger values give squarer superpixels.
    max_num_iter : number of k-means iterations.
    sigma, spacing, convert2lab, min_size_factor, max_size_factor, mask : as for scikit-image, which computes the labels
        wherever one of these has another value than its default.
    enforce_connectivity : give every connected component its own id, and merge small ones.
    slic_zero : adapt the compactness to each superpixel (SLICO).
    start_label : the first id, 0 or 1.
    channel_axis : the axis of ``image`` that holds the channels; None for a grey image.

    Returns
    -------
    (H, W) integer array of ids from ``start_label``, equal to that of ``skimage.segmentation.slic``.

    Raises
    ------
    Exception : what scikit-image raises for the same arguments.

    Examples
    --------
    >>> import numpy as np
    >>> import skimage
    >>> from preprocess import Store, slic
    >>> image = Store("data/cub.h5").images("train", [0])[0]
    >>> np.array_equal(slic(image, 4), skimage.segmentation.slic(image, 4, start_label=0))
    True
    """
    if (
        mask is None
        and spacing is None
        and (convert2lab is None or convert2lab is True)
        and _is_number(sigma, 0)
        and _is_number(min_size_factor, _LEAST)
        and _is_number(max_size_factor, _MOST)
        and isinstance(start_label, int)
        and start_label in (0, 1)
        and _is_plain(rgb := _channels_last(image, channel_axis), compactness, max_num_iter)
        and _is_count(n_segments)
        and (grid := _grid(rgb.shape[:2], n_segments, float(compactness)))
    ):
        ids = np.empty(rgb.shape[:2], np.intp)
        colours = _Colours(rgb, compactness)
        _by_kernel(colours, grid, max_num_iter, bool(slic_zero), bool(enforce_connectivity), ids)
        ids += start_label
        return ids
    return _by_library(
        image,
        n_segments,
        compactness,
        max_num_iter,
        sigma,
        spacing,
        convert2lab,
        enforce_connectivity,
        min_size_factor,
        max_size_factor,
        slic_zero,
        start_label,
        mask,
        channel_axis=channel_axis,
    )


def slico(image: np.ndarray, n_segments: int, compactness: float = 10.0) -> np.ndarray:
    """Segment an image with SLICO: :func:`slic` whose compactness adapts to each superpixel.

    Parameters
    ----------
    image, n_segments : as for :func:`slic`.
    compactness : initial compactness of every superpixel.

    Returns
    -------
    (H, W) integer array of ids from 0.

    Raises
    ------
    ValueError : as for :func:`slic_multiscale`.

    Examples
    --------
    >>> from preprocess import Store, slico
    >>> image = Store("data/cub.h5").images("train", [0])[0]
    >>> slico(image, n_segments=4).shape
    (16, 16)
    """
    return slic_multiscale(image, (n_segments,), compactness, slic_zero=True)[0]


def slic_multiscale(
    image: np.ndarray,
    segments: Iterable[int],
    compactness: float = 10.0,
    max_num_iter: int = 10,
    slic_zero: bool = False,
    enforce_connectivity: bool = True,
) -> np.ndarray:
    """Segment one image at several counts, sharing the work that does not depend on the count.

    Parameters
    ----------
    segments : S target numbers of superpixels; the other parameters are those of :func:`slic`.

    Returns
    -------
    (S, H, W) integer array; entry s equals ``slic(image, segments[s], ...)``.

    Raises
    ------
    ValueError : ``segments`` is empty, or scikit-image raises for the input: no channels, no pixels, a count or a
        compactness of 0.

    Examples
    --------
    >>> import numpy as np
    >>> from preprocess import Store, slic, slic_multiscale
    >>> image = Store("data/cub.h5").images("train", [0])[0]
    >>> np.array_equal(slic_multiscale(image, (4, 9))[1], slic(image, 9))
    True
    """
    segments = tuple(segments)
    if not segments:
        raise ValueError("segments must hold at least one count, got none")
    grids, options = [None] * len(segments), (max_num_iter, slic_zero, enforce_connectivity)
    if _is_plain(image, compactness, max_num_iter):
        grids = [_grid(image.shape[:2], count, float(compactness)) if _is_count(count) else None for count in segments]
    if not any(grids):
        return np.stack([_by_library_or_value_error(image, count, compactness, *options) for count in segments])
    colours = _Colours(image, compactness)
    maps = np.empty((len(segments), *image.shape[:2]), np.intp)
    for ids, count, grid in zip(maps, segments, grids, strict=True):
        if grid is None:
            ids[...] = _by_library_or_value_error(image, count, compactness, *options)
        else:
            _by_kernel(colours, grid, *options, ids)
    return maps


def _is_plain(image: np.ndarray, compactness: float, max_num_iter: int) -> bool:
    """Whether the kernel's bounds hold at any count."""
    return (
        _is_known_platform()
        and isinstance(image, np.ndarray)
        and not isinstance(image, np.ma.MaskedArray)
        and image.dtype == np.uint8
        and image.ndim == 3
        and image.shape[2] == 3
        and 0 < image.size <= 3 * _MOST_PIXELS
        and isinstance(compactness, int | float | np.float32 | np.integer)
        and _COMPACTNESS[0] <= compactness <= _COMPACTNESS[1]
        and isinstance(max_num_iter, int)
        and max_num_iter >= 1
    )


@lru_cache(maxsize=1)
def _is_known_platform() -> bool:
    if platform.machine().lower() not in _PROCESSORS:
        return False
    installed = version("scikit-image")
    if not installed.startswith(tuple(f"{tested}." for tested in _TESTED)):
        warnings.warn(
            f"the compiled SLIC is tested with scikit-image {' and '.join(_TESTED)}, not {installed}; "
            "using scikit-image's own SLIC, which is about ten times slower",
            stacklevel=2,
        )
        return False
    return True


def _is_count(count: object) -> bool:
    return isinstance(count, int | np.integer) and bool(count >= 1)


def _is_number(value: object, expected: float) -> bool:
    return isinstance(value, int | float) and value == expected


def _channels_last(image: Any, axis: Any) -> Any:
    """Move the channels of a 3D image to the last axis; None if it is no such image."""
    if isinstance(image, np.ndarray) and image.ndim == 3 and isinstance(axis, int) and -3 <= axis < 3:
        return image if axis in (-1, 2) else np.moveaxis(image, axis, -1)
    return None


def _by_library(*given: Any, **options: Any) -> np.ndarray:
    with required("preprocess.slic"):
        from skimage import segmentation

    return segmentation.slic(*given, **options)


def _by_library_or_value_error(
    image: np.ndarray, count: int, compactness: float, max_num_iter: int, zero: bool, connect: bool
) -> np.ndarray:
    got = (
        f"{getattr(image, 'shape', type(image).__name__)} {getattr(image, 'dtype', '')}, n_segments {count!r} and "
        f"compactness {compactness!r}"
    )
    if isinstance(count, Real) and count <= 0:
        raise ValueError(f"expected n_segments of at least 1, got {got}")
    try:
        return _by_library(
            image,
            count,
            compactness,
            max_num_iter,
            slic_zero=zero,
            enforce_connectivity=connect,
            start_label=0,
            channel_axis=-1,
        )
    except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError) as error:
        raise ValueError(
            "expected a non-empty image of shape (H, W, 3), n_segments of at least 1 and a positive compactness, "
            f"got {got} (scikit-image: {type(error).__name__}: {error})"
        ) from error


@dataclass(frozen=True)
class _Grid:
    """The part of SLIC that does not depend on the pixels."""

    # int32, whose sums are the labels after the first iteration. All cluster colours are still 0, so the nearest seed
    # wins; among equally near seeds, the first. The last values go on to the end of a block of the kernel.
    row: np.ndarray
    column: np.ndarray
    seeds: int  # number of clusters
    # Half size of a search window. scikit-image builds two grids: one for the requested count, whose step is the unit
    # of distance, and one for the actual number of seeds. Two steps of the latter are the window.
    window_y: int
    window_x: int
    weight: float  # factor to a squared spatial distance: 1 / step^2
    doubt: float  # see the kernel


@lru_cache(maxsize=16)
def _grid(shape: tuple[int, int], count: int, compactness: float) -> _Grid | None:
    """Place the seeds as scikit-image does; None if the kernel's bounds do not hold."""
    with required("preprocess.slic"):
        from skimage.util import regular_grid

        from preprocess.superpixels.slic_kernel import BLOCK

    slices = regular_grid((1, *shape), count)
    # scikit-image keeps the step, and its square, in single precision.
    step = np.float32(max(float(axis.step or 1) for axis in slices))
    weight = 1.0 / float(step * step)
    ys, xs = (np.arange(length)[axis] for length, axis in zip(shape, slices[1:], strict=True))
    seeds = len(ys) * len(xs)
    if seeds > _MOST_SEEDS:
        return None
    window_y, window_x = (2 * int(axis.step or 1) for axis in regular_grid((1, *shape), seeds)[1:])
    (row, far_y), (column, far_x) = _nearest(shape[0], ys), _nearest(shape[1], xs)
    pixels, most = math.prod(shape), 128.0 / compactness
    doubt = 2 * most * (pixels * 2.0**-52 + 2.0**-44) + 2.0**-48
    largest = 3 * most**2 + weight * (far_y**2 + far_x**2)
    if far_y > window_y or far_x > window_x or weight < 2.0**-50 * largest:
        return None
    row, column = (np.pad(near, (0, -len(near) % BLOCK), "edge").astype(np.int32) for near in (row * len(xs), column))
    return _Grid(row, column, seeds, window_y, window_x, weight, doubt)


def _nearest(length: int, seeds: np.ndarray) -> tuple[np.ndarray, int]:
    """Nearest seed of every position (the first if several are equally near), and the largest distance."""
    positions = np.arange(length)
    nearest = np.searchsorted(seeds[:-1] + seeds[1:], 2 * positions)  # compared with twice the midpoints
    return nearest, int(np.abs(positions - seeds[nearest]).max())


class _Workspace(threading.local):
    """Arrays for one image, which each thread reuses for the next image of the same shape.

    Allocating them for every image would take a fifth of the time, because the system clears each page.
    """

    shape: tuple[int, ...] = ()

    def fit(self, shape: tuple[int, ...]) -> None:
        if self.shape != shape:
            with required("preprocess.slic"):
                from preprocess.superpixels.slic_kernel import AREA, BLOCK, SIDES, TILES, Tiles

            blocks = -(-shape[0] // BLOCK) * -(-shape[1] // BLOCK)
            self.tiles = Tiles(
                np.empty((blocks, TILES, 3 * AREA), np.int64),
                np.empty((blocks, TILES, 3 * AREA), np.float32),
                np.empty((blocks, SIDES)),
            )
            self.labels, self.spare = np.empty((2, blocks, TILES, AREA), np.int32)
            self.shape = shape


_WORKSPACE = _Workspace()


class _Colours:
    """What depends on image and compactness only: scaled Lab colours, nearly or exactly.

    The tiles belong to the workspace; the next image overwrites them.
    """

    def __init__(self, image: np.ndarray, compactness: float) -> None:
        with required("preprocess.slic"):
            from preprocess.superpixels.slic_kernel import colour_tiles

        self._image, self._compactness = np.require(image, requirements=["C", "W"]), compactness
        self._table = _linear_light(int(image.min()), int(image.max()))
        self.lab = np.empty((0, *image.shape[:2]))
        _WORKSPACE.fit(image.shape)
        self.tiles = _WORKSPACE.tiles
        # No sum of the colours of an image overflows; see also _to_fixed of the kernel.
        most = 128.0 / compactness
        self.scale = 2.0 ** min(62 - math.ceil(math.log2(image.size // 3 * most)), 50 - math.ceil(math.log2(most)))
        matrix, ratio = _xyz_over_white(), float(1.0 / compactness)
        if not colour_tiles(self._image, self._table, matrix, ratio, self.scale, self.tiles):
            self.be_exact()

    def be_exact(self) -> None:
        """Compute the planes ``lab``, (3, H, W), bit for bit as scikit-image does, and the tiles from them."""
        with required("preprocess.slic"):
            from skimage.color.colorconv import xyz_from_rgb, xyz_tristimulus_values

            from preprocess.superpixels.slic_kernel import cut_tiles, lab_planes

        if len(self.lab):
            return
        # scikit-image stretches the values to [0, 1] and converts them to CIELAB. The steps up to the gamma curve are a
        # table of 256 values. Matrix product and cube root must be numpy's: their rounding depends on the processor.
        xyz = self._table[self._image][None] @ xyz_from_rgb.T
        xyz /= xyz_tristimulus_values(illuminant="D65", observer="2", dtype=xyz.dtype)
        self.lab = np.empty((3, *self._image.shape[:2]))
        lab_planes(xyz[0], np.cbrt(xyz[0]), float(1.0 / self._compactness), self.lab)
        cut_tiles(self.lab, self.scale, self.tiles)


@lru_cache(maxsize=1)
def _xyz_over_white() -> np.ndarray:
    with required("preprocess.slic"):
        from skimage.color.colorconv import xyz_from_rgb, xyz_tristimulus_values

    return xyz_from_rgb / xyz_tristimulus_values(illuminant="D65", observer="2")[:, None]


@lru_cache(maxsize=256)
def _linear_light(low: int, high: int) -> np.ndarray:
    values = np.multiply(np.arange(256, dtype=np.uint8), 1.0 / 255, dtype=np.float64)
    values -= values[low]
    if high != low:
        values /= values[high]
    curved = values > 0.04045
    values[curved] = np.power((values[curved] + 0.055) / 1.055, 2.4)
    values[~curved] /= 12.92
    return values


def _by_kernel(
    colours: _Colours,
    grid: _Grid,
    max_num_iter: int,
    slic_zero: bool,
    enforce_connectivity: bool,
    ids: np.ndarray,
) -> None:
    """Write one map to ``ids``."""
    with required("preprocess.slic"):
        from preprocess.superpixels.slic_kernel import cluster_plainly, connect

    if slic_zero or min(grid.window_y, grid.window_x) < _LEAST_WINDOW:
        colours.be_exact()
        height, width = ids.shape
        first = (grid.row[:height, None] + grid.column[:width]).astype(np.int16)
        window = grid.window_y, grid.window_x
        labels = cluster_plainly(colours.lab, first, grid.seeds, *window, grid.weight, max_num_iter, slic_zero)
    else:
        labels = np.empty(ids.shape, np.int16)
        _by_tiles(colours, grid, max_num_iter - 1, labels)
    if enforce_connectivity:
        size = labels.size / grid.seeds
        connect(labels, int(_LEAST * size), int(_MOST * size), ids)
    else:
        ids[...] = labels


def _by_tiles(colours: _Colours, grid: _Grid, iterations: int, labels: np.ndarray) -> None:
    """Run k-means with near colours, and from the first iteration that they do not decide, with exact ones."""
    from preprocess.superpixels.slic_kernel import cluster, to_raster, to_tiles

    now, spare = _WORKSPACE.labels, _WORKSPACE.spare
    to_tiles(grid.row, grid.column, now)
    fixed = grid.seeds, grid.window_y, grid.window_x, grid.weight
    done = cluster(colours.tiles, colours.lab, now, spare, *fixed, iterations, grid.doubt, colours.scale)
    now, spare = (spare, now) if done % 2 else (now, spare)
    if done < iterations:
        colours.be_exact()
        more = cluster(colours.tiles, colours.lab, now, spare, *fixed, iterations - done, grid.doubt, colours.scale)
        now = spare if more % 2 else now
    to_raster(now, labels)


def largest_id(shape: tuple[int, int], n_segments: int) -> int:
    """Upper bound on the ids of any connected map.

    scikit-image merges components smaller than half the mean seed area. At most H·W divided by that size remain, plus
    one without a neighbour to merge with.
    """
    seeds = math.prod(
        len(range(start, length, step))
        for (start, step), length in zip(seed_grid(shape, n_segments), shape, strict=True)
    )
    pixels = math.prod(shape)
    return pixels // max(1, int(_LEAST * pixels / seeds))


SLIC = Algorithm(slic, largest_id, leaves_the_lock=True, run_multiscale=slic_multiscale)
SLICO = Algorithm(slico, largest_id, leaves_the_lock=True, run_multiscale=partial(slic_multiscale, slic_zero=True))
