"""The settings that decide the content of a store: images, scales, map columns."""

import re
import reprlib
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version

import numpy as np
from rich.filesize import decimal

from preprocess.datasets import Adapter
from preprocess.errors import BuildError, SettingError
from preprocess.store.shard import Form
from preprocess.superpixels import ALGORITHMS, choose_scales, describe_counts, parse_segments
from preprocess.superpixels.scales import Scale, column_name, superpixels_name

_MOST_RAW_BYTES = 8_000_000_000
_MOST_SCALES = 256


@dataclass(frozen=True)
class MapColumn:
    """Everything that decides the maps of one column, apart from the stored pixels."""

    algorithm: str  # name in ``ALGORITHMS``
    compactness: float | None  # as for :func:`preprocess.superpixels.slic`; None for an algorithm without one
    segments: int  # requested segment count
    dtype: str  # dtype of the ids; its highest value is the sentinel and never an id

    @property
    def name(self) -> str:
        """For example ``slic-c10-36``."""
        return column_name(self.algorithm, self.compactness, self.segments)

    def recipe(self) -> dict:
        """Return what identical maps share, including the scikit-image version, which may change labels."""
        return {
            "algorithm": self.algorithm,
            "compactness": self.compactness,
            "segments": self.segments,
            "scikit-image": version("scikit-image"),
        }


@dataclass(frozen=True)
class BuildSettings:
    """Content and encoding of a store."""

    dataset: str  # name of the adapter
    scales: tuple[Scale, ...]  # segment counts and draw weights
    size: int | None = 256  # side of the stored square, or its short side, in pixels; None if images keep their sizes
    resize: str = "squash"  # ``squash``, ``short`` or ``none`` (:func:`preprocess.images.fit`)
    algorithm: str = "slic"  # name in ``ALGORITHMS``
    compactness: float | None = 10.0
    codec: str = "raw"  # ``raw`` pixels, ``jpeg`` or ``png``; images of varied sizes cannot be raw
    quality: int = 95  # JPEG quality, 1 to 100
    banner: int = 0  # number of pixel rows cropped from the bottom of every source image
    shard_size: int | None = None  # samples in a shard; None chooses one for each split
    asked: str = ""  # short form of the counts, for the name of these superpixels; empty to list them

    @property
    def uniform(self) -> bool:
        """Whether all images have the same size."""
        return self.resize == "squash"

    @property
    def columns(self) -> tuple[MapColumn, ...]:
        """One map column for each scale."""
        return tuple(
            MapColumn(self.algorithm, self.compactness, scale.segments, self._dtype(scale)) for scale in self.scales
        )

    def _dtype(self, scale: Scale) -> str:
        """Return the dtype of all maps of one scale, before any is computed."""
        if not self.uniform:
            return "uint16"
        bound = ALGORITHMS[self.algorithm].largest_id((self.size, self.size), scale.segments)
        if bound >= np.iinfo(np.uint16).max:
            raise BuildError(
                f"{scale.segments} segments may have ids up to {bound}, more than 16 bits hold; request fewer"
            )
        return "uint8" if bound < np.iinfo(np.uint8).max else "uint16"

    def form(self, column: MapColumn | None = None) -> Form:
        """Return the form of a shard of images, or of the maps of a column."""
        size = self.size if self.uniform else None
        return Form(self.codec, size) if column is None else Form(None, size, column.dtype)

    def image_recipe(self) -> dict:
        """Return everything that decides the stored pixels, apart from the source files."""
        jpeg = {"quality": self.quality} if self.codec == "jpeg" else {}
        banner = {"banner": self.banner} if self.banner else {}
        return {
            "size": self.size,
            "resize": self.resize,
            "codec": self.codec,
            **jpeg,
            **banner,
            "pillow": version("pillow"),
        }

    def superpixel_set(self) -> dict:
        """Return one set of scales for training to draw from, as the index lists it."""
        name = superpixels_name(self.algorithm, self.compactness)
        return {
            "name": f"{name}-{self.asked or ','.join(str(scale.segments) for scale in self.scales)}",
            "algorithm": self.algorithm,
            "compactness": self.compactness,
            "scales": [
                {**asdict(scale), "column": column.name}
                for scale, column in zip(self.scales, self.columns, strict=True)
            ],
        }


def choose_settings(
    dataset: str,
    adapter: Adapter,
    *,
    size: int | None = None,
    resize: str | None = None,
    segments: str | None = None,
    scales: str = "4",
    compactness: float | None = None,
    algorithm: str = "slic",
    codec: str | None = None,
    quality: int = 95,
    shard_size: int | None = None,
) -> BuildSettings:
    """Make settings of what a user asks for; None takes the default of the data set.

    Parameters
    ----------
    dataset : name of the data set in the store.
    adapter : its defaults.
    segments, scales : as the options of ``build``.
    codec : may be ``auto``: see :func:`settle_codec`.

    Raises
    ------
    SettingError : a value is not possible, alone or beside the others; it names the setting.
    """
    resize = resize or adapter.resize
    uses_compactness = ALGORITHMS[algorithm].uses_compactness
    if compactness is not None and not uses_compactness:
        raise SettingError("compactness", f"{algorithm} has no compactness")
    if resize == "none" and size is not None:
        raise SettingError(
            "size", "has no effect with --resize none, which keeps image sizes; add --resize short or squash"
        )
    if resize != "squash" and codec == "raw":
        raise SettingError("codec", f"--resize {resize} requires jpeg or png")
    if codec is None and adapter.codec == "raw" and resize != "squash":
        codec = "auto"  # the data set's raw needs one size
    side = size or adapter.size
    counts, chosen = _choose_scales(segments or adapter.segments, scales, side)
    return BuildSettings(
        dataset=dataset,
        scales=chosen,
        size=None if resize == "none" else side,
        resize=resize,
        algorithm=algorithm,
        compactness=(compactness or adapter.compactness) if uses_compactness else None,
        codec=codec or adapter.codec,
        quality=quality,
        banner=adapter.banner,
        shard_size=shard_size,
        asked=describe_counts(counts, chosen),
    )


def settle_codec(settings: BuildSettings, images: int, stored: str | None) -> tuple[BuildSettings, str]:
    """Replace the codec ``auto`` by one; it depends on the data set alone, so that a build can resume anywhere.

    Parameters
    ----------
    images : number of images in the data set.
    stored : codec of the store that exists already; None if there is none.

    Returns
    -------
    Settings, and why the codec was chosen; empty if it was asked for.
    """
    if settings.codec != "auto":
        return settings, ""
    if stored is not None:
        return replace(settings, codec=stored), ""
    side = settings.size or 0
    total = 3 * side * side * images
    codec = "raw" if settings.uniform and total <= _MOST_RAW_BYTES else "jpeg"
    why = (
        f"the {images:,} images of the data set take {decimal(total)} raw"
        if settings.uniform
        else "the images differ in size"
    )
    return replace(settings, codec=codec), f"--codec auto: {codec}, because {why}"


def _choose_scales(segments: str, scales: str, size: int) -> tuple[range | tuple[int, ...], tuple[Scale, ...]]:
    try:
        counts = parse_segments(segments)
    except ValueError as error:
        raise SettingError("segments", str(error)) from None
    if counts[-1] > size * size:
        raise SettingError("segments", f"{counts[-1]} segments exceed the {size * size} pixels of an image")
    if scales != "all" and not re.fullmatch("[1-9][0-9]{0,8}", scales):
        raise SettingError("scales", f"expected a positive integer or 'all', got {reprlib.repr(scales)}")
    chosen = choose_scales(counts, (size, size), None if scales == "all" else int(scales))
    if len(chosen) > _MOST_SCALES:
        raise SettingError(
            "scales" if isinstance(counts, range) else "segments",
            f"{len(chosen)} maps for every image, at most {_MOST_SCALES} can be stored; ask for fewer",
        )
    return counts, chosen
